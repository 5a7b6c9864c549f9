//! What a process and all that it has started use, by what the kernel says; and where they run.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Time on a processor, of every thread by its number.
#[derive(Debug, Clone, Default)]
pub struct Cpu(BTreeMap<i32, u64>);

impl Cpu {
    /// Of a process and all below it, until now.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: i32) -> Result<Self> {
        let used = threads(pid)?.into_iter().filter_map(|thread| {
            // A thread may end between the two.
            let used = fs::read_to_string(format!("/proc/{thread}/schedstat")).ok()?;
            Some((thread, used.split_whitespace().next()?.parse().ok()?))
        });
        Ok(Self(used.collect()))
    }

    /// What was used since; a thread that has ended is not counted.
    #[must_use]
    pub fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, used)| {
            used.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(used.sum())
    }
}

/// Memory in MB of a million bytes: what a process has, and the most that it had.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// What it has.
    pub now: f64,
    /// The most that it had.
    pub peak: f64,
}

impl Memory {
    /// Of a process and all below it.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: i32) -> Result<Self> {
        let mut sum = Self::default();
        for pid in family(pid)? {
            let status =
                fs::read_to_string(format!("/proc/{pid}/status")).context("read memory")?;
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
                Some(kib * 1024.0 / 1e6)
            };
            // A process that has just ended has none.
            let now = field("VmRSS:").unwrap_or_default();
            sum.now += now;
            sum.peak += field("VmHWM:").unwrap_or_default().max(now);
        }
        Ok(sum)
    }

    /// From now on, the peak is that of what comes.
    ///
    /// # Errors
    /// When the kernel does not let us.
    #[expect(clippy::disallowed_methods, reason = "no file, a switch of the kernel's")]
    pub fn forget_peak(pid: i32) -> Result<()> {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the peak of memory")
    }
}

/// Keeps a process and all below it on one processor, or lets them go anywhere.
///
/// # Errors
/// When there is no such process or no such processor.
pub fn pin(pid: i32, cpu: Option<usize>) -> Result<()> {
    let mut set = CpuSet::new();
    for each in 0..CpuSet::count() {
        if cpu.is_none_or(|cpu| cpu == each) {
            set.set(each)?;
        }
    }
    for thread in threads(pid)? {
        // A thread may end meanwhile.
        let _gone = sched_setaffinity(Pid::from_raw(thread), &set);
    }
    Ok(())
}

/// Every thread of a process and of all below it.
fn threads(pid: i32) -> Result<Vec<i32>> {
    let mut threads = Vec::new();
    for pid in family(pid)? {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        let number = |name: std::ffi::OsString| name.to_str()?.parse::<i32>().ok();
        threads.extend(tasks.filter_map(Result::ok).filter_map(|task| number(task.file_name())));
    }
    Ok(threads)
}

/// A process and all below it.
fn family(pid: i32) -> Result<Vec<i32>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("list processes")?.filter_map(Result::ok) {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // A name may hold anything, but what follows the last bracket is numbers.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse::<i32>().ok()) {
            parents.insert(child, parent);
        }
    }
    anyhow::ensure!(parents.contains_key(&pid), "no process {pid}");
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = parents.iter().filter(|&(_, of)| *of == parent).map(|(child, _)| *child);
        family.extend(children);
        next += 1;
    }
    Ok(family)
}
