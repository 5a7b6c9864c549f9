//! How long sources are waited for, by how long whoever scrapes waits.

use std::time::Duration;

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// For one source, while it could speak.
    pub(crate) each: Duration,
    /// For all, until the answer ends with what there is.
    pub(crate) all: Duration,
}

impl Times {
    /// By `X-Prometheus-Scrape-Timeout-Seconds`, of which something is left for the way back; else
    /// `each` for a source.
    ///
    /// One that is waited for in vain leaves time to pass on what others say.
    pub(crate) fn of(header: Option<&str>, each: Duration) -> Self {
        let said = header.and_then(|text| text.trim().parse::<f64>().ok());
        let said = said.filter(|seconds| *seconds > 0.0);
        match said.map(|seconds| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))) {
            Some(limit) => Self { each: limit * 3 / 4, all: limit * 9 / 10 },
            None => Self { each, all: LONGEST.max(each) },
        }
    }
}

/// How long an answer may take in any case.
pub(crate) const LONGEST: Duration = Duration::from_secs(55);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_leaves_time_for_the_others() {
        let second = Duration::from_secs;
        let table = [
            (Some("10"), 7_500, 9_000),
            (Some(" 2.0 "), 1_500, 1_800),
            (Some("0.1"), 75, 90),
            (Some("1e9"), 41_250, 49_500),
            (None, 8_000, 55_000),
            (Some("0"), 8_000, 55_000),
            (Some("-1"), 8_000, 55_000),
            (Some("NaN"), 8_000, 55_000),
            (Some("soon"), 8_000, 55_000),
        ];
        for (said, each, all) in table {
            let [each, all] = [each, all].map(Duration::from_millis);
            assert_eq!(Times::of(said, second(8)), Times { each, all }, "{said:?}");
        }
    }
}
