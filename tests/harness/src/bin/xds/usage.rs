//! What a process has used, by what the kernel says.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Time on a processor, of every thread by its number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu(BTreeMap<String, u64>);

impl Cpu {
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("list threads")?;
        let used = tasks.filter_map(Result::ok).filter_map(|task| {
            // A thread may end between the two.
            let used = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let used = used.split_whitespace().next()?.parse().ok()?;
            Some((task.file_name().to_string_lossy().into_owned(), used))
        });
        Ok(Self(used.collect()))
    }

    /// What was used since; a thread that has ended is not counted.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, used)| {
            used.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(used.sum())
    }
}

/// Memory in MB of a million bytes: what a process has, and the most that it had.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

impl Memory {
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read memory")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024.0 / 1e6)
        };
        let now = field("VmRSS:").context("no VmRSS")?;
        let peak = field("VmHWM:").context("no VmHWM")?;
        Ok(Self { now, peak: peak.max(now) })
    }

    /// From now on, the peak is that of what comes.
    pub(crate) fn forget_peak(pid: i32) -> Result<()> {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the peak of memory")
    }
}
