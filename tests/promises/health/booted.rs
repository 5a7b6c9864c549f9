//! Units of systemd, asked from inside the hardened unit; and a drained Envoy that comes back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    machine::{Machine, wait_for},
    package::{Joined, package},
};

#[test]
fn the_hardened_agent_knows_how_units_are_and_an_operator_drains_and_comes_back() -> Result<()> {
    let package = package("health")?;
    let vm = Joined::boot("health", &[&package])?;
    let machine = &vm.machine;
    machine.succeed(&["dpkg", "-i", package.to_str().context("UTF-8")?])?;
    machine.succeed(&[
        "sh",
        "-c",
        &format!("printf '{SHOP}' >/run/systemd/system/shop.service"),
    ])?;
    machine.succeed(&["systemctl", "daemon-reload"])?;
    for line in ["units = \"shop, dbus.service\"", "period = \"1s\""] {
        let key = line.split(' ').next().context("a key")?;
        let set = format!("/^\\[health\\]/,/^\\[/s/^# *{key} = .*/{line}/");
        machine.succeed(&["sed", "-i", &set, "/etc/hawser/hawser.toml"])?;
    }
    machine.succeed(&["systemctl", "start", "shop"])?;
    // Not waited for: nothing is redirected here.
    machine.succeed(&["hawser", "join", "--no-start", "/srv/mesh/bundle"])?;
    machine.succeed(&["systemctl", "start", "hawser"])?;

    let user = machine.succeed(&["ps", "-o", "user=", "-p", vm.pid("hawser")?.trim()])?;
    ensure!(user.trim() == "istio-proxy", "{user}");
    is(machine, "")?;
    machine.succeed(&["systemctl", "stop", "shop"])?;
    is(machine, "shop.service is not running")?;
    machine.succeed(&["systemctl", "start", "shop"])?;
    is(machine, "")?;
    machine.succeed(&["systemctl", "kill", "-s", "KILL", "shop"])?;
    is(machine, "shop.service has failed (signal)")?;
    machine.succeed(&["systemctl", "restart", "shop"])?;
    is(machine, "")?;
    drains_and_comes_back(&vm)
}

fn drains_and_comes_back(vm: &Joined) -> Result<()> {
    let machine = &vm.machine;
    let envoy = vm.pid("hawser-envoy")?;
    let drained = machine.succeed(&["hawser", "drain", "--wait"])?;
    ensure!(drained.contains("istiod is told"), "{drained}");
    ensure!(drained.contains("no connections to this machine"), "{drained}");
    is(machine, "being taken out of the mesh")?;

    let undone = machine.succeed(&["hawser", "drain", "--undo"])?;

    ensure!(undone.contains("hawser-envoy.service is started again"), "{undone}");
    ensure!(vm.pid("hawser-envoy")? != envoy, "the same Envoy: {undone}");
    is(machine, "")
}

/// Waits until istiod is told that the machine is well, or why it is not.
fn is(machine: &Machine, reason: &str) -> Result<()> {
    wait_for(&format!("{reason:?} to be told"), Duration::from_secs(60), || {
        let status = machine.run(&["hawser", "status", "--json"])?;
        let status: Value = serde_json::from_slice(&status.stdout)?;
        let health = &status["health"];
        let as_wanted = match reason {
            "" => health["well"] == true,
            reason => health["reason"].as_str().is_some_and(|told| told.contains(reason)),
        };
        ensure!(as_wanted, "{health}");
        Ok(Some(()))
    })
}

/// A workload that does nothing.
const SHOP: &str = "[Service]\\nExecStart=/bin/sleep infinity\\n";
