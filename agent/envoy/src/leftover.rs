//! An Envoy that an agent has left behind because it was killed: it holds the ports that the next
//! one needs, and nobody leads it.
//!
//! It is known by its command line, which names the bootstrap file of this agent and no other, and
//! by its user.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tokio::time::{Instant, sleep};
use tracing::warn;

/// Ends every process of ours that was started with exactly these arguments.
pub(crate) async fn end(arguments: &[OsString], patience: Duration) {
    for pid in found(arguments) {
        warn!(pid = pid.as_raw(), "ending an envoy that a killed agent has left behind");
        let late = Instant::now() + patience;
        let mut signal = Signal::SIGTERM;
        // Looked at again each time: by then the number may be somebody else's.
        while is_it(pid, arguments) {
            if Instant::now() >= late {
                signal = Signal::SIGKILL;
            }
            if kill(pid, signal).is_err() {
                break;
            }
            sleep(STEP).await;
        }
    }
}

fn found(arguments: &[OsString]) -> Vec<Pid> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let number = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some(Pid::from_raw(number))
    });
    numbers.filter(|pid| is_it(*pid, arguments)).collect()
}

fn is_it(pid: Pid, arguments: &[OsString]) -> bool {
    let of = Path::new("/proc").join(pid.to_string());
    let ours = fs::metadata(&of).is_ok_and(|of| of.uid() == geteuid().as_raw());
    // A process that has ended and was not waited for has an empty command line.
    ours && fs::read(of.join("cmdline")).is_ok_and(|line| is_started_with(&line, arguments))
}

/// The first word is the program, wherever it was started from.
fn is_started_with(line: &[u8], arguments: &[OsString]) -> bool {
    let words = line.strip_suffix(b"\0").unwrap_or(line).split(|byte| *byte == 0).skip(1);
    !arguments.is_empty()
        && words.map(OsStr::from_bytes).eq(arguments.iter().map(OsString::as_os_str))
}

const STEP: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_command_line_is_taken_for_a_leftover() {
        let ours: Vec<OsString> = ["-c", "/run/hawser/envoy.json"].map(OsString::from).into();
        let table: [(&[u8], bool); 6] = [
            (b"envoy\0-c\0/run/hawser/envoy.json\0", true),
            (b"/opt/envoy\0-c\0/run/hawser/envoy.json\0", true),
            (b"envoy\0-c\0/run/other/envoy.json\0", false),
            (b"envoy\0-c\0/run/hawser/envoy.json\0-l\0info\0", false),
            (b"envoy\0", false),
            (b"", false),
        ];
        for (line, expected) in table {
            assert_eq!(is_started_with(line, &ours), expected, "{line:?}");
        }
        assert!(!is_started_with(b"envoy\0", &[]));
    }

    #[tokio::test]
    async fn a_leftover_is_gone_afterwards_and_others_are_not() {
        let start = |mark: &str| {
            let script = ["-c", "while :; do sleep 1; done", mark];
            let child = std::process::Command::new("sh").args(script).spawn().unwrap();
            (child, script.map(OsString::from))
        };
        let mark = |name: &str| format!("{name}-{}", std::process::id());
        let (mut left, arguments) = start(&mark("left"));
        let (mut other, _) = start(&mark("other"));
        // The child is `sh` only after its exec.
        while found(&arguments).is_empty() {
            sleep(STEP).await;
        }

        end(&arguments, Duration::from_secs(5)).await;

        assert!(!left.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
