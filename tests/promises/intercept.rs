//! Rules go in when Envoy listens and come out when they are to, whoever is killed meanwhile, and
//! nothing else on the host is touched.

mod adopting;
mod host;
mod pilot;
mod trail;
mod unit;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::machine::wait_for;
use host::{Host, PATIENCE};

/// What others have on a host.
const FOREIGN: [&[&str]; 5] = [
    &[
        "nft",
        "add table inet foreign; add chain inet foreign in { type filter hook input priority 5; }; \
       add rule inet foreign in tcp dport 9 counter accept",
    ],
    &[
        "nft",
        "add table ip nat; add chain ip nat out { type nat hook output priority -100; }; \
       add rule ip nat out tcp dport 9 redirect to :10",
    ],
    &["ip", "rule", "add", "pref", "15006", "fwmark", "0x539", "lookup", "134"],
    &["ip", "route", "add", "local", "default", "dev", "lo", "table", "134"],
    &["ip", "address", "add", "fd77::1/128", "dev", "lo"],
];

#[test]
fn rules_come_with_envoy_go_with_the_guard_and_leave_everything_else_as_it_was() -> Result<()> {
    for mode in ["mode = \"redirect\"", "mode = \"tproxy\"\nipv6 = true"] {
        let host = Host::new(mode)?;
        FOREIGN.iter().try_for_each(|command| host.succeed(command).map(drop))?;
        let before = host.everything()?;

        let guard = host.guard()?;
        host.phase("waiting")?;
        ensure!(host.everything()? == before, "something is loaded before Envoy listens");
        ensure!(host.reaches()? == "past");
        let _agent = host.agent()?;
        let envoy = host.envoy()?;
        host.says("everything", |state| state["gates"]["dns"] == true)?;
        ensure!(host.reaches()? == "envoy");
        if mode.contains("redirect") {
            ensure!(host.is_reached()? == "envoy");
        }
        let shown = host.intercept(&["show"])?;
        ensure!(shown.contains("redirects out, in, names"), "{shown}");
        ensure!(host.intercept(&["diff"])?.contains("are those that the settings mean"));

        guard.stop()?;
        ensure!(host.everything()? == before, "{}\nbefore:\n{before}", host.everything()?);
        ensure!(host.reaches()? == "past");
        drop(envoy);
    }
    Ok(())
}

#[test]
fn a_hundred_guards_that_end_and_a_hundred_that_are_killed_leave_nothing() -> Result<()> {
    let host = Host::new("mode = \"tproxy\"\nipv6 = true")?;
    FOREIGN.iter().try_for_each(|command| host.succeed(command).map(drop))?;
    let before = host.everything()?;
    let _envoy = host.envoy()?;

    for round in 0..100 {
        let killed = host.guard()?;
        // Each dies a little later in its life than the one before.
        let name = ["guard.lock", "addresses", "ruleset", "state"][round % 4];
        wait_for(name, PATIENCE, || Ok(host.kept(name).exists().then_some(())))?;
        killed.die();
        let stopped = host.guard()?;
        host.says("the next one", |state| {
            state["pid"] == stopped.pid() && state["gates"]["outbound"] == true
        })?;
        stopped.stop().with_context(|| host.log())?;
        ensure!(host.everything()? == before, "round {round}:\n{}", host.everything()?);
    }
    Ok(())
}

#[test]
fn what_happens_without_envoy_is_what_the_policy_says() -> Result<()> {
    // The phase at first, who answers then; and in the end.
    let cases = [
        ("open", [("lifted", "past", "nobody"), ("lifted", "past", "nobody")]),
        ("hold", [("holding", "nobody", "nobody"), ("lifted", "past", "nobody")]),
        ("closed", [("holding", "nobody", "nobody"), ("holding", "nobody", "nobody")]),
    ];
    for (policy, steps) in cases {
        let host = Host::new(&format!("on_failure = \"{policy}\"\nhold = \"3s\""))?;
        let guard = host.guard()?;
        let envoy = host.envoy()?;
        host.phase("redirecting")?;
        ensure!(host.reaches()? == "envoy", "{policy}");
        drop(envoy);
        for (phase, out, inward) in steps {
            host.phase(phase).context(policy)?;
            ensure!(host.reaches()? == out, "{policy}, {phase}: {}", host.reaches()?);
            ensure!(host.is_reached()? == inward, "{policy}, {phase}");
        }
        let inbound = host.gate("inbound")?;
        ensure!((inbound == "tcp") == (policy != "open"), "{policy}: {inbound}");
        let _envoy = host.envoy()?;
        host.phase("redirecting").context(policy)?;
        wait_for("Envoy", PATIENCE, || Ok((host.reaches()? == "envoy").then_some(())))?;
        guard.stop()?;
    }
    Ok(())
}

#[test]
fn a_guard_that_dies_opens_no_hole_and_the_next_one_goes_on() -> Result<()> {
    let host = Host::new("")?;
    let envoy = host.envoy()?;
    let guard = host.guard()?;
    host.phase("redirecting")?;
    guard.die();
    ensure!(host.reaches()? == "envoy", "the kernel goes on");
    let mut second = host.guard()?;
    let pid = second.pid();
    host.says("the next one", |state| state["phase"] == "redirecting" && state["pid"] == pid)?;
    ensure!(host.reaches()? == "envoy");
    // While there is one, there is no other; and what there is it looks after.
    ensure!(host.guard()?.ended()?.code() == Some(75));
    ensure!(host.hawser(&["clear"])?.status.success());
    host.phase("reverted")?;
    ensure!(host.reaches()? == "past");
    host.intercept(&["apply"])?;
    host.phase("redirecting")?;
    ensure!(host.reaches()? == "envoy");
    second.signal(Signal::SIGTERM)?;
    ensure!(second.ended()?.success());
    drop(envoy);
    Ok(())
}

#[test]
fn an_agent_that_dies_has_its_questions_taken_away_within_seconds() -> Result<()> {
    let host = Host::new("")?;
    let _envoy = host.envoy()?;
    let guard = host.guard()?;
    host.phase("redirecting")?;
    ensure!(host.gate("dns")?.is_empty(), "nobody answers");
    let agent = host.agent()?;
    host.says("questions to be redirected", |state| state["gates"]["dns"] == true)?;
    ensure!(host.gate("dns")?.contains("tcp") && host.gate("dns")?.contains("udp"));
    drop(agent);
    host.says("questions not to be any more", |state| state["gates"]["dns"] == false)?;
    ensure!(host.gate("dns")?.is_empty());
    ensure!(host.gate("outbound")? == "tcp", "and nothing else");

    // And if whoever vouches for it dies too, the kernel does it.
    let _agent = host.agent()?;
    host.says("questions to be redirected again", |state| state["gates"]["dns"] == true)?;
    guard.die();
    wait_for("the kernel to shut the gate", Duration::from_secs(15), || {
        Ok(host.gate("dns")?.is_empty().then_some(()))
    })
}

#[test]
fn a_trial_ends_by_itself_even_if_everything_of_ours_is_dead() -> Result<()> {
    // Long enough for the commands of a slow machine.
    const TRIAL: &str = "8s";
    let host = Host::new("")?;
    let _envoy = host.envoy()?;

    // By hand, without a guard.
    let said = host.intercept(&["apply", "--confirm", TRIAL])?;
    ensure!(said.contains("`hawser intercept confirm`"), "{said}");
    ensure!(host.reaches()? == "envoy");
    wait_for("the trial to end", PATIENCE, || Ok((host.reaches()? == "past").then_some(())))?;
    ensure!(host.hawser(&["confirm"])?.status.code() == Some(1), "too late");
    host.intercept(&["apply", "--confirm", "60s"])?;
    host.intercept(&["confirm"])?;
    ensure!(host.gate("outbound")? == "tcp", "{}", host.gate("outbound")?);
    host.intercept(&["clear"])?;

    // With one, which is killed in the middle of it; the next one respects it as well.
    let guard = host.guard()?;
    host.phase("redirecting")?;
    host.intercept(&["apply", "--confirm", TRIAL])?;
    ensure!(host.gate("outbound")?.contains("timeout"), "{}", host.gate("outbound")?);
    guard.die();
    wait_for("the trial to end", PATIENCE, || Ok((host.reaches()? == "past").then_some(())))?;
    let guard = host.guard()?;
    host.phase("reverted")?;
    ensure!(host.reaches()? == "past");

    // Confirmed, it stays.
    host.intercept(&["apply", "--confirm", "60s"])?;
    host.intercept(&["confirm"])?;
    ensure!(host.gate("outbound")? == "tcp", "{}", host.gate("outbound")?);
    guard.stop()
}

#[test]
fn rules_that_somebody_removes_or_changes_are_put_back_and_counted() -> Result<()> {
    let host = Host::new("mode = \"tproxy\"\nipv6 = true")?;
    let _envoy = host.envoy()?;
    let guard = host.guard()?;
    host.phase("redirecting")?;
    let harms: [&[&str]; 5] = [
        &["nft", "flush", "ruleset"],
        &["nft", "flush chain inet hawser prerouting"],
        &["nft", "flush set inet hawser outbound"],
        &["ip", "rule", "del", "pref", "15006"],
        &["ip", "address", "del", "::6/128", "dev", "lo"],
    ];
    let loaded = host.succeed(&["nft", "-s", "list", "ruleset"])?;
    for (count, harm) in harms.into_iter().enumerate() {
        host.succeed(harm)?;
        let state =
            host.says("a repair", |state| state["repairs"].as_u64() == Some(count as u64 + 1));
        state.with_context(|| format!("{harm:?}"))?;
        wait_for("the rules", PATIENCE, || {
            Ok((host.succeed(&["nft", "-s", "list", "ruleset"])? == loaded).then_some(()))
        })
        .with_context(|| format!("{harm:?}"))?;
        ensure!(host.reaches()? == "envoy");
    }
    ensure!(host.intercept(&["show"])?.contains("put back 5 times"));
    guard.stop()
}

#[test]
fn settings_are_read_again_and_wrong_ones_change_nothing() -> Result<()> {
    let host = Host::new("")?;
    let _envoy = host.envoy()?;
    let guard = host.guard()?;
    host.phase("redirecting")?;

    host.settings("exclude_outbound_ports = \"8080\"")?;
    ensure!(host.hawser(&["diff"])?.status.code() == Some(1), "something differs");
    guard.signal(Signal::SIGHUP)?;
    wait_for("the new settings", PATIENCE, || Ok((host.reaches()? == "past").then_some(())))?;
    host.settings("exclude_outbound_ports = \"none\"")?;
    guard.signal(Signal::SIGHUP)?;
    host.says("it to complain", |state| {
        state["warnings"].to_string().contains("settings are wrong")
    })?;
    ensure!(host.hawser(&["apply"])?.status.code() == Some(78));
    ensure!(host.reaches()? == "past", "those before hold");
    host.settings("enabled = false")?;
    guard.signal(Signal::SIGHUP)?;
    host.phase("off")?;
    ensure!(!host.everything()?.contains("hawser"));
    guard.stop()?;

    // At the start, they are final.
    host.settings("on_failure = \"never\"")?;
    ensure!(host.guard()?.ended()?.code() == Some(78));
    Ok(())
}
