//! What systemd is about to do with a unit that ends: whether another process takes its place.
//!
//! A process that is told to end is not told why, and systemd says it to nobody but who asks for
//! the jobs that it is at.

use std::path::Path;
use std::time::Duration;

use crate::program;

/// The guard's unit.
pub const UNIT: &str = "hawser-intercept.service";

const TRIES: usize = 3;
const LIMIT: Duration = Duration::from_secs(5);

/// Whether the unit is stopped to be started again. Where that cannot be told, it is not.
pub async fn is_restarted(unit: &str) -> bool {
    jobs().await.is_some_and(|jobs| has(&jobs, unit, "restart"))
}

/// Whether the unit is stopped, with nothing to follow. Where that cannot be told, it is.
pub async fn is_stopped(unit: &str) -> bool {
    jobs().await.is_none_or(|jobs| has(&jobs, unit, "stop"))
}

async fn jobs() -> Option<String> {
    let systemctl = program::find(Path::new("/"), "systemctl")?;
    let list = ["list-jobs", "--no-legend", "--no-pager", "--full", "--plain"];
    for _ in 0..TRIES {
        // The first one may be hit by the very signal that it is asked about.
        let ran = program::run(&systemctl, &list, "", LIMIT).await;
        if let Some(ran) = ran.ok().filter(|ran| ran.status.success()) {
            return Some(ran.output);
        }
    }
    None
}

/// `123 hawser-intercept.service restart running`.
fn has(jobs: &str, unit: &str, kind: &str) -> bool {
    jobs.lines().any(|job| {
        let mut words = job.split_ascii_whitespace();
        words.nth(1) == Some(unit) && words.next() == Some(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_that_of_the_unit() {
        let jobs = "  812 hawser.service           stop    running\n\
                    813 hawser-intercept.service restart running\n";
        assert!(has(jobs, UNIT, "restart"));
        assert!(!has(jobs, UNIT, "stop"));
        assert!(!has(jobs, "intercept.service", "restart"));
        assert!(!has("No jobs running.\n", UNIT, "stop"));
    }
}
