//! Lines out of a stream of pieces: whole ones, without `# EOF` and without those that are empty.
//!
//! Holds what has begun of a line, and no more. A line that never ends is refused rather than held.

use bytes::Bytes;

/// Cuts pieces into what may be passed on.
#[derive(Debug, Default)]
pub struct Lines {
    /// A line whose end has not come.
    begun: Vec<u8>,
}

/// A line is longer than any of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {LONGEST} bytes")]
pub struct TooLong;

/// The longest line of which the beginning is held.
pub const LONGEST: usize = 64 * 1024;

impl Lines {
    /// Passes on what is whole by now, and stays if it can be: nothing is copied but lines that lie
    /// in two pieces.
    pub fn take(&mut self, piece: &Bytes, mut pass: impl FnMut(Bytes)) -> Result<(), TooLong> {
        let mut rest = piece.clone();
        if !self.begun.is_empty() {
            let Some(end) = rest.iter().position(|octet| *octet == b'\n') else {
                return self.hold(&rest);
            };
            self.hold(&rest.split_to(end + 1))?;
            let line = std::mem::take(&mut self.begun);
            if stays(&line) {
                pass(line.into());
            }
        }
        let last = rest.iter().rposition(|octet| *octet == b'\n');
        let whole = rest.split_to(last.map_or(0, |last| last + 1));
        runs(&whole, pass);
        self.hold(&rest)
    }

    /// The last line, if it had no end: it is given one.
    pub fn end(mut self) -> Option<Bytes> {
        self.begun.push(b'\n');
        stays(&self.begun).then(|| self.begun.into())
    }

    fn hold(&mut self, more: &[u8]) -> Result<(), TooLong> {
        if self.begun.len() + more.len() > LONGEST {
            return Err(TooLong);
        }
        self.begun.extend_from_slice(more);
        Ok(())
    }
}

/// Passes on whole lines, as few pieces as there can be.
fn runs(whole: &Bytes, mut pass: impl FnMut(Bytes)) {
    let (mut from, mut at) = (0, 0);
    for line in whole.split_inclusive(|octet| *octet == b'\n') {
        let next = at + line.len();
        if !stays(line) {
            if from < at {
                pass(whole.slice(from..at));
            }
            from = next;
        }
        at = next;
    }
    if from < at {
        pass(whole.slice(from..at));
    }
}

/// OpenMetrics has no empty lines, and one end.
fn stays(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    !line.is_empty() && line != b"# EOF"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is passed on of pieces.
    fn passed(pieces: &[&[u8]]) -> Result<Vec<u8>, TooLong> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.take(&Bytes::copy_from_slice(piece), |run| all.extend_from_slice(&run))?;
        }
        all.extend(lines.end().unwrap_or_default());
        Ok(all)
    }

    #[test]
    fn whole_lines_pass_and_ends_do_not() {
        let table: [(&[&str], &str); 11] = [
            (&[], ""),
            (&["a 1\nb 2\n"], "a 1\nb 2\n"),
            (&["a 1\nb 2"], "a 1\nb 2\n"),
            (&["a 1\n# EOF\n"], "a 1\n"),
            (&["a 1\n# EOF"], "a 1\n"),
            (&["a 1\n# E", "OF", "\n"], "a 1\n"),
            (&["a 1\r\n# EOF\r\n"], "a 1\r\n"),
            (&["a 1\n# EOF\nb 2\n\n \nc 3\n"], "a 1\nb 2\nc 3\n"),
            (&["# EOFs are at ends\n"], "# EOFs are at ends\n"),
            (&["a{b=\"# EOF\"} 1\n"], "a{b=\"# EOF\"} 1\n"),
            (&["", "a", "", " 1", "\n", "b 2\nc", " 3\n"], "a 1\nb 2\nc 3\n"),
        ];
        for (pieces, expected) in table {
            let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(passed(&pieces).unwrap(), expected.as_bytes(), "{pieces:?}");
        }
    }

    #[test]
    fn a_line_that_does_not_end_is_not_held_on() {
        let half = vec![b'a'; LONGEST / 2 + 1];
        assert_eq!(passed(&[&half, &half]), Err(TooLong));
        assert_eq!(passed(&[&half, b"\n", &half]).unwrap().len(), LONGEST + 4);
    }

    #[test]
    fn what_was_whole_before_a_line_broke_off_has_passed() {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let piece = Bytes::from_static(b"a 1\nb_bucket{le=\"0.");
        lines.take(&piece, |run| all.extend_from_slice(&run)).unwrap();
        assert_eq!(all, b"a 1\n");
    }

    proptest! {
        #[test]
        fn where_pieces_end_makes_no_difference(
            text in "([a-b#] ?|# EOF|\r?\n){0,40}",
            cuts in proptest::collection::vec(0_usize..80, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let lines = bytes.split_inclusive(|octet| *octet == b'\n').filter(|line| stays(line));
            let mut expected = lines.collect::<Vec<_>>().concat();
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                expected.push(b'\n');
            }
            prop_assert_eq!(passed(&pieces).unwrap(), expected);
        }
    }
}
