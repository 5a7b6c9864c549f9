//! On a booted machine, behind the hardened unit: who may look, and what follows a request to quit.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{
    machine::wait_for,
    package::{Joined, package},
    rig::said,
};

#[test]
fn an_agent_that_was_asked_to_quit_is_there_again_and_its_group_may_look() -> Result<()> {
    let package = package("web")?;
    let vm = Joined::boot("web", &[&package])?;
    let machine = &vm.machine;
    machine.succeed(&["dpkg", "-i", package.to_str().context("UTF-8")?])?;
    machine.succeed(&["hawser", "join", "--no-start", "/srv/mesh/bundle"])?;
    machine.succeed(&["systemctl", "start", "hawser", "hawser-envoy"])?;
    let (agent, envoy) = (vm.pid("hawser")?, vm.pid("hawser-envoy")?);

    let told = machine.succeed(&["bash", "-c", QUIT])?;

    ensure!(told.starts_with("HTTP/1.0 200") && told.ends_with("OK"), "{told}");
    wait_for("another agent", Duration::from_secs(60), || {
        let active = machine.run(&["systemctl", "is-active", "hawser"])?;
        Ok((active.status.success() && vm.pid("hawser")? != agent).then_some(()))
    })?;
    let now = vm.pid("hawser-envoy")?;
    ensure!(now == envoy && envoy.trim() != "0", "Envoy was {envoy} and is {now}");

    machine.succeed(&["usermod", "--append", "--groups", "istio-proxy", "games"])?;
    // Something is wrong, since nothing is redirected here; that is an answer too.
    let looks = machine.run(&["runuser", "-u", "games", "--", "hawser", "status", "--json"])?;
    ensure!(said(&looks).starts_with("{\"version\""), "{}", said(&looks));
    let ends = machine.run(&["runuser", "-u", "games", "--", "hawser", "maintenance", "on"])?;
    ensure!(!ends.status.success() && said(&ends).contains("sudo"), "{}", said(&ends));
    let stranger = machine.run(&["runuser", "-u", "daemon", "--", "hawser", "status"])?;
    ensure!(said(&stranger).contains("ermission"), "{}", said(&stranger));
    Ok(())
}

const QUIT: &str = "exec 3<>/dev/tcp/127.0.0.1/15020; \
    printf 'POST /quitquitquit HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
