//! What many findings add up to (pure).

use crate::Thresholds;

/// Counts findings, and says when they make a verdict that is not the last one.
#[derive(Debug)]
pub(crate) struct Tally {
    thresholds: Thresholds,
    /// The last verdict: whether the workload is well.
    well: Option<bool>,
    /// How often in a row it was found so.
    last: bool,
    count: u32,
}

impl Tally {
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, well: None, last: false, count: 0 }
    }

    /// Counts one finding. Returns it if it is the one that changes the verdict.
    pub(crate) fn count(&mut self, found: Result<(), String>) -> Option<Result<(), String>> {
        let Thresholds { success, failure } = self.thresholds;
        let (well, threshold) = if found.is_ok() { (true, success) } else { (false, failure) };
        self.count = if self.last == well { self.count.saturating_add(1) } else { 1 };
        self.last = well;
        if self.count < threshold || self.well == Some(well) {
            return None;
        }
        self.well = Some(well);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_found_often_enough_in_a_row_and_is_new_makes_a_verdict() {
        // Findings and verdicts: w(ell), i(ll); nothing new is a dot.
        let cases = [
            (1, 1, "w", "w"),
            (1, 1, "i", "i"),
            (1, 1, "wwww", "w..."),
            (1, 1, "iiii", "i..."),
            (1, 1, "wiwi", "wiwi"),
            (2, 1, "wwi", ".wi"),
            (2, 1, "wiw", ".i."),
            (2, 1, "iwwiww", "i.wi.w"),
            (1, 3, "iii", "..i"),
            (1, 3, "iiwiiwiii", "..w.....i"),
            (3, 2, "wwiwwwiwiiw", ".....w...i."),
            (3, 2, "wwiwwwwwwii", ".....w....i"),
            (0, 0, "wi", "wi"),
        ];

        for (success, failure, findings, expected) in cases {
            let mut tally = Tally::new(Thresholds { success, failure });
            let verdicts: String = findings
                .chars()
                .enumerate()
                .map(|(at, finding)| {
                    let found = if finding == 'w' { Ok(()) } else { Err(at.to_string()) };
                    match tally.count(found) {
                        None => '.',
                        Some(Ok(())) => 'w',
                        Some(Err(reason)) => {
                            assert_eq!(reason, at.to_string(), "the reason is the last one");
                            'i'
                        }
                    }
                })
                .collect();
            assert_eq!(verdicts, expected, "{success} {failure} {findings}");
        }
    }
}
