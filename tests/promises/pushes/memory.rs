//! Memory of a process, by what the kernel says.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::wait::wait_for;

/// Bytes that are resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Memory(usize);

/// What the unit of the agent lets it have (MemoryMax=).
pub(crate) fn of_the_unit() -> Result<Memory> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/hawser.service");
    let unit = fs::read_to_string(path).context("read the unit")?;
    let most = unit.lines().find_map(|line| line.strip_prefix("MemoryMax="));
    let most = most.and_then(|most| most.strip_suffix('M')).context("no MemoryMax in MB")?;
    Ok(Memory(most.parse::<usize>()? << 20))
}

impl Memory {
    /// What it needs when it has nothing to do: waits until that does not change. What it had
    /// before is forgotten.
    pub(crate) async fn idle(pid: i32) -> Result<Self> {
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
    pub(crate) fn peak(pid: i32) -> Result<Self> {
        Self::field(pid, "VmHWM:")
    }

    /// By how much that is more.
    pub(crate) fn over(self, idle: Self) -> usize {
        self.0.saturating_sub(idle.0)
    }

    /// The most of its own that it has had: the pages of its program can be had again, and of a
    /// program with all that a debugger wants they are many.
    pub(crate) fn own_peak(pid: i32) -> Result<Self> {
        let (peak, of_files) = (Self::peak(pid)?, Self::field(pid, "RssFile:")?);
        Ok(Self(peak.over(of_files)))
    }

    /// As many of it.
    pub(crate) fn times(self, many: usize) -> Self {
        Self(self.0 * many)
    }

    fn field(pid: i32, name: &str) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: usize = kib.with_context(|| format!("no {name} in {status}"))?.parse()?;
        Ok(Self(kib * 1024))
    }
}
