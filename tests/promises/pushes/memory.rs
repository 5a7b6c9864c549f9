//! Memory of a process, by what the kernel says.

use std::{fs, io::Write as _};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::wait::wait_for;

/// Bytes that are resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory(usize);

impl Memory {
    /// What it needs when it has nothing to do: waits until that does not change. What it had
    /// before is forgotten.
    pub(super) async fn idle(pid: i32) -> Result<Self> {
        let mut last = Self(0);
        let idle = wait_for("memory at rest", async || {
            let now = Self::field(pid, "VmRSS:")?;
            let before = std::mem::replace(&mut last, now);
            ensure!(before == now, "{before:?} became {now:?}");
            Ok(now)
        })
        .await?;
        let peak = fs::File::create(format!("/proc/{pid}/clear_refs"));
        peak.and_then(|mut peak| peak.write_all(b"5")).context("reset the peak of memory")?;
        Ok(idle)
    }

    /// The most that it has had since it was idle.
    pub(super) fn peak(pid: i32) -> Result<Self> {
        Self::field(pid, "VmHWM:")
    }

    /// By how much that is more.
    pub(super) fn over(self, idle: Self) -> usize {
        self.0.saturating_sub(idle.0)
    }

    fn field(pid: i32, name: &str) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: usize = kib.with_context(|| format!("no {name} in {status}"))?.parse()?;
        Ok(Self(kib * 1024))
    }
}
