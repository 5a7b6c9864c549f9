//! How a process ended, in words.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::sys::signal::Signal;

/// How Envoy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Exited {
        /// Zero if all was well.
        code: i32,
    },
    /// By a signal.
    Killed {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core file.
        dumped: bool,
        /// Whether the agent sent it.
        by_the_agent: bool,
    },
    /// Before it began, and why.
    NotStarted(String),
}

impl Ending {
    /// The same, if it was by a signal that the agent sent.
    pub(super) fn by_the_agent(self) -> Self {
        match self {
            Self::Killed { signal, dumped, .. } => {
                Self::Killed { signal, dumped, by_the_agent: true }
            }
            other @ (Self::Exited { .. } | Self::NotStarted(_)) => other,
        }
    }
}

impl From<ExitStatus> for Ending {
    fn from(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => {
                Self::Killed { signal, dumped: status.core_dumped(), by_the_agent: false }
            }
            None => Self::Exited { code: status.code().unwrap_or_default() },
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (signal, dumped, by_the_agent) = match self {
            Self::Exited { code } => return write!(f, "exited with code {code}"),
            Self::NotStarted(error) => return write!(f, "not started: {error}"),
            Self::Killed { signal, dumped, by_the_agent } => (*signal, *dumped, *by_the_agent),
        };
        match Signal::try_from(signal) {
            Ok(signal) => write!(f, "killed by {signal}")?,
            Err(_unnamed) => write!(f, "killed by signal {signal}")?,
        }
        if dumped {
            f.write_str(", core dumped")?;
        }
        if signal == Signal::SIGKILL as i32 && !by_the_agent {
            f.write_str(
                ", not by the agent; if the machine ran out of memory, the kernel log says so",
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_told_in_words() {
        let killed = |signal| Ending::from(ExitStatus::from_raw(signal));
        let cases = [
            (Ending::from(ExitStatus::from_raw(0)), "exited with code 0"),
            (Ending::from(ExitStatus::from_raw(7 << 8)), "exited with code 7"),
            (killed(15), "killed by SIGTERM"),
            (killed(11 | 0x80), "killed by SIGSEGV, core dumped"),
            (killed(40), "killed by signal 40"),
            (
                killed(9),
                "killed by SIGKILL, not by the agent; if the machine ran out of memory, the kernel log says so",
            ),
            (killed(9).by_the_agent(), "killed by SIGKILL"),
            (Ending::NotStarted("no such file".into()), "not started: no such file"),
        ];

        for (ending, expected) in cases {
            assert_eq!(ending.to_string(), expected);
        }
    }
}
