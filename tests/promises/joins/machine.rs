//! On a booted machine: `join` starts what it has put in its place, and `leave` stops it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{
    machine::{Machine, wait_for},
    package::{Joined, package},
};

#[test]
fn join_starts_and_waits_and_leave_stops_and_takes_away() -> Result<()> {
    let package = package("packages-joins")?;
    let vm = Joined::boot("joins", &[&package])?;
    let machine = &vm.machine;
    machine.succeed(&["dpkg", "-i", package.to_str().context("a path in UTF-8")?])?;
    let says = |words: &[&str], expected: &str| -> Result<()> {
        let said = machine.succeed(words)?;
        ensure!(said.contains(expected), "{words:?}: no {expected:?} in:\n{said}");
        Ok(())
    };
    let bundle = "/srv/mesh/bundle";
    says(&["hawser", "leave", "--yes"], "has not joined a mesh: nothing to do")?;
    let plan = ["hawser", "join", bundle, "--plan"];
    says(&plan, "starts     hawser.service at every boot, and now")?;
    says(&plan, "out: TCP to * goes to Envoy, port 15001")?;
    ensure!(!is(machine, "is-active")? && !is(machine, "is-enabled")?, "a plan starts nothing");

    // This mesh has no listeners for what is redirected.
    let toml = r"sed -i 's/^\[intercept\]$/&\nenabled = false/' /etc/hawser/hawser.toml";
    machine.succeed(&["sh", "-c", toml])?;

    // An image: enabled, and nothing more.
    says(&["hawser", "join", bundle, "--no-start"], "hawser.service starts at the next boot")?;
    ensure!(!is(machine, "is-active")? && is(machine, "is-enabled")?, "nothing is to run");

    // Not started yet, the same bundle starts it; from then on it is no change.
    says(&["hawser", "join", bundle], "\nready\n")?;
    ensure!(is(machine, "is-active")?, "it does not run");
    let (agent, envoy) = (vm.pid("hawser")?, vm.pid("hawser-envoy")?);
    says(&["hawser", "join", bundle], "nothing has changed")?;
    ensure!(vm.pid("hawser")? == agent, "it was restarted");

    // Another one restarts the agent, and an Envoy that would go on as who the machine was.
    let change = "cp -r /srv/mesh/bundle /srv/changed; \
                  sed -i \"s/^ISTIO_META_NETWORK=.*/ISTIO_META_NETWORK='vms'/\" /srv/changed/cluster.env";
    machine.succeed(&["sh", "-c", change])?;
    let changed = ["hawser", "join", "/srv/changed"];
    let said = machine.succeed(&changed)?;
    ensure!(said.contains("~ cluster.env ISTIO_META_NETWORK: '' -> vms"), "{said}");
    ensure!(said.contains("\ntry: hawser dns query "), "{said}");
    ensure!(vm.pid("hawser")? != agent, "it knows nothing of the change");
    ensure!(vm.pid("hawser-envoy")? != envoy, "Envoy is still in another network");

    machine.succeed(&["systemctl", "stop", "hawser"])?;
    says(&changed, "\nready\n")?;

    // Stopped while the agent starts, all of it stops.
    let stuck = "mkdir -p /run/systemd/system/hawser.service.d; \
                 printf '[Service]\\nExecStartPre=sleep infinity\\n' >/run/systemd/system/hawser.service.d/x.conf; \
                 systemctl daemon-reload; systemctl restart --no-block hawser";
    machine.succeed(&["sh", "-c", stuck])?;
    wait_for("an agent that starts", PATIENCE, || {
        let state = machine.succeed(&["systemctl", "show", "hawser", "-P", "SubState"])?;
        Ok((state.trim() == "start-pre").then_some(()))
    })?;
    says(&["systemctl", "is-active", "hawser-envoy"], "active")?;
    machine.succeed(&["systemctl", "stop", "hawser"])?;
    says(&["systemctl", "show", "hawser-envoy", "-P", "ActiveState"], "inactive")?;
    let start = "rm -r /run/systemd/system/hawser.service.d; systemctl daemon-reload";
    machine.succeed(&["sh", "-c", start])?;
    says(&changed, "\nready\n")?;

    says(&["hawser", "leave", "--yes"], "left")?;
    let active = ["systemctl", "list-units", "hawser*", "--no-legend", "--state=active"];
    let active = machine.succeed(&active)?;
    ensure!(active.is_empty(), "runs on: {active}");
    ensure!(!is(machine, "is-enabled")?, "starts at the next boot");
    ensure!(!machine.run(&["nft", "list", "table", "inet", "hawser"])?.status.success());
    ensure!(!machine.run(&["test", "-e", "/etc/hawser/mesh"])?.status.success());
    machine.succeed(&["test", "-s", "/var/lib/hawser/identity"])?;
    says(&["hawser", "leave", "--yes"], "nothing to do")?;
    says(&["hawser", "leave", "--purge", "--yes"], "left, and nothing kept")?;
    ensure!(!machine.run(&["test", "-e", "/var/lib/hawser"])?.status.success());
    Ok(())
}

fn is(machine: &Machine, what: &str) -> Result<bool> {
    Ok(machine.run(&["systemctl", what, "hawser"])?.status.success())
}

const PATIENCE: Duration = Duration::from_secs(60);
