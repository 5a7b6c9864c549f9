//! The unit on a booted systemd.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    machine::{Machine, wait_for},
    package::{Joined, package},
};

#[test]
fn systemd_keeps_an_envoy_that_outlives_the_agent_and_ends_in_peace() -> Result<()> {
    let package = package("envoy-unit")?;
    let vm = Joined::boot("envoy", &[&package])?;
    let machine = &vm.machine;
    machine.succeed(&["dpkg", "-i", package.to_str().context("UTF-8")?])?;
    // Not waited for: nothing is redirected here.
    machine.succeed(&["hawser", "join", "--no-start", "/srv/mesh/bundle"])?;
    machine.succeed(&["systemctl", "start", "hawser"])?;
    says(machine, "envoy is ready, ", 1)?;
    is_confined(&vm)?;

    outlives_the_agent(&vm)?;
    comes_back(&vm)?;
    starts_on_the_last_good(&vm)?;
    ends_in_peace(&vm)
}

fn is_confined(vm: &Joined) -> Result<()> {
    let machine = &vm.machine;
    let score = machine.succeed(&["systemd-analyze", "security", "hawser-envoy", "--no-pager"])?;
    let overall = score.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
    let score: f32 =
        overall.split_whitespace().find_map(|word| word.parse().ok()).context("score")?;
    ensure!(score <= 2.0, "{overall}");
    let pid = vm.pid("hawser-envoy")?;
    let status = machine.succeed(&["cat", &format!("/proc/{}/status", pid.trim())])?;
    let capabilities = status.lines().filter(|line| line.starts_with("Cap"));
    for line in capabilities {
        ensure!(line.ends_with("0000000000000000"), "{line}");
    }
    let look = ["nsenter", "-t", pid.trim(), "-m", "ls", "-A"];
    for hidden in ["/var/lib/hawser", "/etc/hawser"] {
        let seen = machine.succeed(&[&look[..], &[hidden]].concat())?;
        ensure!(seen.is_empty(), "{hidden}: {seen}");
    }
    // The limit of this machine may be lower than that of the unit.
    let limits = machine.succeed(&["cat", &format!("/proc/{}/limits", pid.trim())])?;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).context("files")?;
    let files: Vec<&str> = files.split_whitespace().collect();
    ensure!(files[3] == files[4], "{files:?}");
    Ok(())
}

fn outlives_the_agent(vm: &Joined) -> Result<()> {
    let machine = &vm.machine;
    let before = vm.pid("hawser-envoy")?;
    let connection = holds(vm, "first")?;
    machine.succeed(&["systemctl", "restart", "hawser"])?;
    ensure!(vm.pid("hawser-envoy")? == before, "another Envoy after a restart");
    let agent = vm.pid("hawser")?;
    machine.succeed(&["systemctl", "kill", "-s", "KILL", "hawser"])?;
    vm.replaced("hawser", &agent)?;
    ensure!(vm.pid("hawser-envoy")? == before, "another Envoy after a crash");
    ensure!(connection.is_open(machine)?, "the connection was cut");
    Ok(())
}

fn comes_back(vm: &Joined) -> Result<()> {
    let machine = &vm.machine;
    let before = vm.pid("hawser-envoy")?;
    machine.succeed(&["systemctl", "kill", "-s", "KILL", "--kill-who=main", "hawser-envoy"])?;
    vm.replaced("hawser-envoy", &before)?;
    says(machine, "envoy ended (killed) after ", 1)?;
    says(machine, "envoy is ready, ", 2)?;
    let status = machine.run(&["hawser", "status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(status.contains("the one before it ended (killed): killed by SIGKILL"), "{status}");
    let priorities = ["journalctl", "-u", "hawser-envoy", "-p", "err", "-o", "cat"];
    let errors = machine.succeed(&priorities)?;
    ensure!(errors.contains("envoy ended (killed)"), "{errors}");
    ensure!(!errors.contains("envoy is ready"), "{errors}");
    Ok(())
}

fn starts_on_the_last_good(vm: &Joined) -> Result<()> {
    let machine = &vm.machine;
    let spoil = "echo '{\"static_resources\": {\"listeners\": 1}}' >/run/hawser/envoy.json";
    machine.succeed(&["sh", "-c", spoil])?;
    machine.succeed(&["systemctl", "restart", "hawser-envoy"])?;
    says(machine, "started with the last bootstrap that it was ready with", 1)?;
    says(machine, "envoy is ready, ", 3)?;
    let status = machine.run(&["hawser", "status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(status.contains("the newest is no good:"), "{status}");
    Ok(())
}

fn ends_in_peace(vm: &Joined) -> Result<()> {
    let machine = &vm.machine;
    let _connection = holds(vm, "second")?;
    machine.succeed(&["systemctl", "stop", "hawser"])?;
    for unit in ["hawser", "hawser-envoy"] {
        let state = machine.succeed(&["systemctl", "show", unit, "-P", "ActiveState"])?;
        ensure!(state == "inactive\n", "{unit}: {state} {}", journal(machine)?);
    }
    let told = journal(machine)?;
    ensure!(told.contains("drain: 1 connection, 5 s left"), "{told}");
    ensure!(told.contains("drain: time is up, 1 connection cut"), "{told}");
    ensure!(told.contains("envoy ended as told, after "), "{told}");
    Ok(())
}

/// A connection to Envoy that a program on the machine holds.
struct Held {
    log: String,
}

impl Held {
    fn is_open(&self, machine: &Machine) -> Result<bool> {
        Ok(machine.succeed(&["cat", &self.log])? == "open\n")
    }
}

fn holds(vm: &Joined, name: &str) -> Result<Held> {
    let machine = &vm.machine;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promises/envoy_unit/holds.py");
    let program = std::fs::read_to_string(program)?;
    let log = format!("/run/held-{name}");
    let start = ["systemd-run", "-q", "--collect", "python3", "-c", &program, &log];
    machine.succeed(&start)?;
    let held = Held { log };
    wait_for("a connection", Duration::from_secs(30), || {
        Ok(machine.run(&["test", "-s", &held.log])?.status.success().then_some(()))
    })?;
    ensure!(held.is_open(machine)?, "not open");
    Ok(held)
}

fn journal(machine: &Machine) -> Result<String> {
    machine.succeed(&["journalctl", "-u", "hawser-envoy", "-o", "cat", "--no-pager"])
}

/// Waits until the unit's journal has a text so often.
fn says(machine: &Machine, text: &str, times: usize) -> Result<()> {
    wait_for(&format!("{text:?} in the journal"), Duration::from_secs(60), || {
        let told = journal(machine)?;
        ensure!(told.matches(text).count() >= times, "{told}");
        Ok(Some(()))
    })
}
