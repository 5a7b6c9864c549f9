//! What Prometheus' own client libraries tell of every process, from what the kernel knows.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use nix::{
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage},
        time::TimeValLike as _,
    },
    time::{ClockId, clock_gettime},
};

use super::{Kind, Registry, Sample};

impl Registry {
    /// Tells of this process, under names that begin with `prefix`.
    pub fn tell_of_process(&self, prefix: &str) {
        let name = |rest: &str| format!("{prefix}process_{rest}");
        let sample = |value| Sample { labels: Vec::new(), value };
        self.read(
            &name("cpu_seconds_total"),
            "Total user and system CPU time spent in seconds.",
            Kind::Counter,
            move || processor_time().map(sample).into_iter().collect(),
        );
        let memory = |rest: &str, help: &str, field: &'static str| {
            self.computed(&name(rest), help, &[], move || kilobytes(&status()?, field));
        };
        memory("resident_memory_bytes", "Resident memory size in bytes.", "VmRSS:");
        memory("virtual_memory_bytes", "Virtual memory size in bytes.", "VmSize:");
        let one = |rest: &str, help: &str, value: fn() -> Option<f64>| {
            self.computed(&name(rest), help, &[], value);
        };
        one("open_fds", "Number of open file descriptors.", open_files);
        one("max_fds", "Maximum number of open file descriptors.", most_files);
        let help = "Start time of the process since unix epoch in seconds.";
        // It does not change, and the clock may.
        if let Some(started) = started() {
            self.gauge(&name("start_time_seconds"), help, &[]).set(started);
        }
    }
}

fn processor_time() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let spent = usage.user_time() + usage.system_time();
    #[expect(clippy::cast_precision_loss, reason = "microseconds of three centuries fit")]
    Some(spent.num_microseconds() as f64 / 1e6)
}

fn status() -> Option<String> {
    fs::read_to_string("/proc/self/status").ok()
}

/// A field of `status`, such as `VmRSS:     1234 kB`, in bytes.
fn kilobytes(status: &str, field: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    let number: f64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(number * 1024.0)
}

fn open_files() -> Option<f64> {
    // That of the directory itself is gone when it is told.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(count).ok().map(f64::from)
}

fn most_files() -> Option<f64> {
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "what does not fit is no limit")]
    Some(most as f64)
}

fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let boot: Duration = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?.into();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(now.checked_sub(boot)?.as_secs_f64() + after_boot(&stat)?)
}

/// How long after the machine's start a process began, by its `stat`.
fn after_boot(stat: &str) -> Option<f64> {
    // The name before it may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: f64 = rest.split_ascii_whitespace().nth(STARTED)?.parse().ok()?;
    Some(ticks / TICKS)
}

/// Behind the name.
const STARTED: usize = 19;
/// A second has so many for programs, on every machine that Linux runs on today.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_understood() {
        let status = "Name:\tx\nVmSize:\t   12345 kB\nVmRSS:\t      12 kB\nVmSwap:\t1 mB\n";
        assert_eq!(kilobytes(status, "VmSize:"), Some(12_345.0 * 1024.0));
        assert_eq!(kilobytes(status, "VmRSS:"), Some(12_288.0));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
        assert_eq!(kilobytes(status, "VmPeak:"), None);
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 9 0 25050 1 2 3";
        assert_eq!(after_boot(stat), Some(250.5));
        assert_eq!(after_boot("7 (a"), None);
    }

    #[test]
    fn this_process_is_told_of() {
        let registry = Registry::default();
        registry.tell_of_process("x_");
        let text = registry.render();
        for name in [
            "cpu_seconds_total",
            "resident_memory_bytes",
            "virtual_memory_bytes",
            "open_fds",
            "max_fds",
            "start_time_seconds",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("x_process_{name} ")));
            let value: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0, "{name}: {value}");
        }
        assert!(text.contains("# TYPE x_process_cpu_seconds_total counter\n"));
    }
}
