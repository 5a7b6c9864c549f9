//! A whole machine with nothing wrong, which is left in peace: before it joins, and when it lives in a
//! mesh. Then real faults on it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Report, Seen};
use crate::{
    machine::wait_for,
    vm::site::{PATIENCE, Site},
};

#[test]
fn a_machine_that_is_well_is_left_in_peace_and_one_that_is_not_is_told_why() -> Result<()> {
    let mut site = Site::build("doctor")?;
    site.succeed(&["dpkg", "-i", &site.package()])?;
    let before = look(&site, &["--preflight", &site.bundle()]).context("before it joins")?;
    // What only a machine has that has joined is not looked for.
    ensure!(before.seen("agent-answers").is_err(), "{:#}", before.json);
    ensure!(before.seen("envoy-ports").is_ok(), "{:#}", before.json);

    site.succeed(&["hawser", "join", &site.bundle()])?;
    site.comes("the whole machine", &["systemctl", "start", "hawser.target"])?;
    site.start("hears.py", &[])?;
    site.talks_both_ways()?;
    let well = look(&site, &[]).context("in the mesh")?;
    let other = ["setpriv", "--reuid=app", "--regid=app", "--clear-groups", "hawser", "doctor"];
    let other = [&other[..], &["--json"]].concat();
    let other = Report::of(&site.machine()?.run(&other)?).context("to somebody else")?;

    let wolves = [wrong(&before)?, wrong(&well)?, wrong(&other)?];
    ensure!(wolves.iter().all(Vec::is_empty), "it cries wolf: {wolves:#?}\n{}", site.told());
    for check in ["dns-host-path", "rules-loaded", "envoy-ready", "agent-sockets", "envoy-files"] {
        well.seen(check)?.ok()?;
    }
    names_what_is_broken(&site)
}

/// Each fault is what an operator, or another program, may have done.
fn names_what_is_broken(site: &Site) -> Result<()> {
    site.succeed(&["nft", "flush", "ruleset"])?;
    let seen = comes(site, "rules-drift", "warning")?;
    seen.warns(&["put back 1 times"], "journalctl -u hawser-intercept")?;

    site.succeed(&["systemctl", "stop", "hawser-envoy"])?;
    look(site, &["--only", "envoy-unit"])?
        .seen("envoy-unit")?
        .failed(&["hawser-envoy is inactive"], "systemctl start hawser-envoy")?;
    comes(site, "rules-open", "failed")?
        .failed(&["Envoy does not listen"], "restart hawser-envoy")?;
    site.succeed(&["systemctl", "start", "hawser-envoy"])?;
    comes(site, "rules-open", "ok")?;

    site.shell(
        "echo 'nameserver 127.0.0.1' >/etc/resolv.conf; echo 'hosts: files' >/etc/nsswitch.conf",
    )?;
    comes(site, "nsswitch", "failed")?.failed(&["no name in DNS"], "hosts: files dns")?;
    comes(site, "dns-host-path", "failed")?;

    site.succeed(&["systemctl", "kill", "-s", "STOP", "hawser"])?;
    let silent = look(site, &["--only", "agent-answers"])?;
    silent.seen("agent-answers")?.failed(&["stands still"], "systemctl restart hawser")?;
    site.succeed(&["systemctl", "kill", "-s", "CONT", "hawser"])?;
    Ok(())
}

/// Waits until a check comes out like this.
fn comes(site: &Site, check: &str, result: &str) -> Result<Seen> {
    let mut last = None;
    let seen = wait_for(check, PATIENCE, || {
        let seen = look(site, &["--only", check])?.seen(check)?;
        let done = seen.0["result"] == result;
        last = Some(seen.0.clone());
        Ok(done.then_some(seen))
    });
    seen.with_context(|| format!("{last:#?}"))
}

fn look(site: &Site, args: &[&str]) -> Result<Report> {
    let command = [&["hawser", "doctor", "--json"][..], args].concat();
    Report::of(&site.machine()?.run(&command)?)
}

/// What failed or warns.
fn wrong(report: &Report) -> Result<Vec<Value>> {
    let all = report.all()?.into_iter().map(|seen| seen.0);
    let wrong = |seen: &Value| seen["result"] == "failed" || seen["result"] == "warning";
    // Nobody sets a container's clock in it, which is so and is said.
    Ok(all.filter(|seen| wrong(seen) && seen["name"] != "ntp").collect())
}
