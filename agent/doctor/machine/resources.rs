//! What the kernel shares out: memory, and open files.

use crate::doctor::{Finding, Patient};

/// There is memory left for what a push of configuration takes.
pub(super) fn memory(patient: &Patient) -> Finding {
    let text = match patient.text(MEMORY) {
        Ok(text) => text,
        Err(error) => return Finding::unknown(patient.unseen(MEMORY, &error)),
    };
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().split(' ').next()?.parse::<u64>().ok()
    };
    let (Some(left), Some(total)) = (kilobytes("MemAvailable"), kilobytes("MemTotal")) else {
        return Finding::unknown(format!("{MEMORY} does not say how much is available"));
    };
    let evidence = format!("{} of {} megabytes are available", left >> 10, total >> 10);
    let remedy = "`ps -eo rss,comm --sort=-rss | head` shows who has it; give the machine more";
    match left {
        left if left < NO_MEMORY => Finding::failed(evidence, remedy)
            .because("the kernel kills what grows next, and Envoy is often what that is"),
        left if left < LITTLE_MEMORY => Finding::warning(evidence, remedy),
        _ => Finding::ok(evidence),
    }
}

/// Neither the machine nor the agent nor Envoy is near to its limit of open files.
pub(super) fn open_files(patient: &Patient) -> Finding {
    let text = match patient.text(OPEN) {
        Ok(text) => text,
        Err(error) => return Finding::unknown(patient.unseen(OPEN, &error)),
    };
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[open, _, most] = numbers.as_slice() else {
        return Finding::unknown(format!("{OPEN} does not say how many there are"));
    };
    if open > most / 10 * 9 {
        return Finding::failed(
            format!("{open} of {most} files are open on the whole machine (fs.file-max)"),
            format!(
                "`sysctl fs.file-max={}`, and the same in /etc/sysctl.d",
                most.saturating_mul(2)
            ),
        );
    }
    let snapshot = patient.snapshot.as_ref();
    let agent = snapshot.map(|snapshot| ("the agent", AGENT, snapshot.pid));
    let envoy = snapshot.and_then(|snapshot| snapshot.envoy.as_ref()?.pid);
    let envoy = envoy.map(|pid| ("Envoy", ENVOY, pid));
    for (who, least, pid) in agent.into_iter().chain(envoy) {
        if let Some(limit) = limit(patient, pid).filter(|limit| *limit < least) {
            return Finding::warning(
                format!("{who} may open {limit} files"),
                format!("`systemctl edit` its unit: `[Service] LimitNOFILE={least}`"),
            )
            .because("each connection takes one, or two where it passes Envoy");
        }
    }
    Finding::ok(format!("{open} are open, of {most}"))
}

/// How many files a process may have open, if that can be seen.
fn limit(patient: &Patient, pid: u32) -> Option<u64> {
    let text = patient.text(&format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

const MEMORY: &str = "/proc/meminfo";
/// In kilobytes.
const NO_MEMORY: u64 = 32 << 10;
const LITTLE_MEMORY: u64 = 128 << 10;
const OPEN: &str = "/proc/sys/fs/file-nr";
/// Of the agent: a few for itself, and one for each program that asks it.
const AGENT: u64 = 1024;
const ENVOY: u64 = 16 * 1024;
