//! Trouble takes nothing away: what is served stays as it was, what is wrong is named, and when
//! the trouble is over nobody has to do anything.

mod kept;

use std::{
    fs,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    faketime::Faketime,
    istiod::{Reach, Wrong},
    wait::wait_for,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::rig::{Rig, said};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: i64 = 24 * 3600;
const STATE: &str = "var/lib/hawser";
const SHORT: [&str; 2] = ["--set", "identity.ttl=6s"];

// The authority is away.

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_away_at_renewal_leaves_the_old_pair_served() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start_with(&SHORT, &[]).await?;
    let before = identity(&rig).await?;
    rig.mesh.istiod.reach(Reach::Down).await?;

    let away = troubled(&rig).await?;
    ensure!(away["trouble"].as_str().is_some_and(|told| told.contains("reach")), "{away}");
    assert_eq!(away["not_after"], before["not_after"], "the old one is served");
    assert_eq!(away["spiffe_id"], rig.mesh.identity());

    rig.mesh.istiod.reach(Reach::Up).await?;

    let after = well(&rig).await?;
    ensure!(after["not_after"].as_u64() > before["not_after"].as_u64(), "{after}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_away_at_boot_does_not_keep_a_kept_pair_from_being_served()
-> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start().await?.terminate().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;

    let _agent = rig.vm.start().await?;

    let there = identity(&rig).await?;
    assert_eq!(there["spiffe_id"], rig.mesh.identity());
    assert_eq!(there["trouble"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_away_at_the_first_boot_is_named_and_awaited() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let agent = rig.vm.spawn(&[], &[])?;

    let away = troubled(&rig).await?;
    let told = away["trouble"].as_str().unwrap_or_default();
    let port = rig.mesh.istiod.addr().port().to_string();
    ensure!(told.contains("reach the certificate authority") && told.contains(&port), "{told}");
    ensure!(!agent.notified().ready, "ready without an identity");

    rig.mesh.istiod.reach(Reach::Up).await?;

    agent.until("ready with the authority", |told| told.ready).await?;
    well(&rig).await?;
    Ok(())
}

// The authority answers, and wrongly.

#[tokio::test(flavor = "multi_thread")]
async fn no_wrong_answer_takes_the_place_of_a_good_certificate() -> Result<()> {
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    let other = "spiffe://cluster.local/ns/vms/sa/db".to_owned();
    let table = [
        (Wrong::Silence, "does not answer within 10 s"),
        (Wrong::Cut, ""),
        (Wrong::Truncated, ""),
        (Wrong::Undecodable, ""),
        (Wrong::NotPem, "certificate that cannot be used"),
        (Wrong::Empty, "without a certificate chain and its root"),
        (Wrong::Short, "without a certificate chain and its root"),
        (Wrong::Identity(other), "has issued spiffe://cluster.local/ns/vms/sa/db, and this"),
        (Wrong::Key, "certificate that cannot be used"),
        (Wrong::Root, "certificate that cannot be used"),
        (Wrong::NotYetValid(HOUR), " min only: this machine's clock is behind"),
        (Wrong::Expired(HOUR), "has expired 1 h 0 min ago"),
    ];
    for (wrong, expected) in table {
        let (before, stored) = (identity(&rig).await?, fs::read(rig.file(STATE).join("identity"))?);
        rig.mesh.istiod.faults(|faults| faults.ca = Some(wrong.clone()));

        let output = rig.vm.identity(&["renew"]).await?;

        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}: {told}");
        ensure!(told.contains(expected), "{wrong:?} is not named by {expected:?}:\n{told}");
        let during = identity(&rig).await?;
        ensure!(during["trouble"].as_str().is_some_and(|it| it.contains(expected)), "{during}");
        for fact in ["spiffe_id", "not_before", "not_after", "at_rest"] {
            assert_eq!(during[fact], before[fact], "{wrong:?}: {fact}");
        }
        assert_eq!(fs::read(rig.file(STATE).join("identity"))?, stored, "{wrong:?}");

        rig.mesh.istiod.faults(|faults| faults.ca = None);
        renewed(&rig).await.with_context(|| format!("after {wrong:?}"))?;
        well(&rig).await.with_context(|| format!("after {wrong:?}"))?;
    }
    agent.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wrong_answer_becomes_the_first_certificate() -> Result<()> {
    let other = "spiffe://cluster.local/ns/vms/sa/db".to_owned();
    for wrong in [Wrong::Identity(other), Wrong::Root, Wrong::Short, Wrong::Cut] {
        let rig = Rig::joined().await?;
        rig.mesh.istiod.faults(|faults| faults.ca = Some(wrong.clone()));
        let agent = rig.vm.spawn(&[], &[])?;

        let during = troubled(&rig).await?;
        assert_eq!(during["spiffe_id"], Value::Null, "{wrong:?}");
        assert_eq!(during["at_rest"], "nothing yet", "{wrong:?}");
        ensure!(!agent.notified().ready, "{wrong:?}: ready without an identity");

        rig.mesh.istiod.faults(|faults| faults.ca = None);
        renewed(&rig).await.with_context(|| format!("after {wrong:?}"))?;
        agent.until("ready", |told| told.ready).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_failure_is_in_the_log_once_and_its_end_once() -> Result<()> {
    let rig = Rig::joined().await?;
    let agent = rig.vm.start().await?;
    rig.mesh.istiod.faults(|faults| faults.ca = Some(Wrong::Empty));
    let failure = "answers without a certificate chain and its root";
    for _ in 0..3 {
        let output = rig.vm.identity(&["renew"]).await?;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        ensure!(said(&output).contains(failure), "{}", said(&output));
    }
    rig.mesh.istiod.faults(|faults| faults.ca = None);
    well(&rig).await?;

    let output = rig.vm.identity(&["renew"]).await?;

    ensure!(output.status.success(), "{}", said(&output));
    let told = format!("renewed: {}, valid for 23h", rig.mesh.identity());
    let round = format!("renewed: {}, valid for 1d", rig.mesh.identity());
    ensure!(said(&output).contains(&told) || said(&output).contains(&round), "{}", said(&output));
    assert_eq!(in_log(&agent, "no new certificate")?, 1);
    assert_eq!(in_log(&agent, failure)?, 1);
    assert_eq!(in_log(&agent, "certificate obtained again")?, 1);
    Ok(())
}

// Time.

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_slept_through_a_renewal_renews_when_it_wakes() -> Result<()> {
    let rig = Rig::joined().await?;
    let agent = rig.vm.start_with(&["--set", "identity.ttl=8s"], &[]).await?;
    let before = identity(&rig).await?;
    let due = before["renews_at"].as_u64().context("no renewal")?;
    agent.suspend().await?;
    past(SystemTime::UNIX_EPOCH + Duration::from_secs(due + 1)).await?;
    assert_eq!(rig.mesh.istiod.seen().csrs.len(), 1, "it sleeps");

    agent.resume()?;

    rig.mesh.istiod.until("a renewal", |seen| seen.csrs.len() > 1).await?;
    let after = well(&rig).await?;
    ensure!(after["spiffe_id"] == rig.mesh.identity(), "{after}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_at_the_first_boot_is_named_and_healed_by_setting_it() -> Result<()> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    for ahead in [DAY + 600, -DAY, -since_1970.cast_signed()] {
        let mut rig = Rig::joined().await?;
        let clock = Faketime::ahead(ahead)?;
        rig.vm.env = clock.env();
        let agent = rig.vm.spawn(&[], &[])?;

        let told = troubled(&rig).await?["trouble"].to_string();
        ensure!(told.contains("this machine's clock"), "{ahead} s ahead: {told}");
        let waits = rig.waits_for().await?;
        ensure!(waits == json!(["identity"]), "{ahead} s ahead: waits for {waits}");

        clock.set(0)?;
        // The library wakes nobody when the clock is set; the kernel would.
        renewed(&rig).await.with_context(|| format!("{ahead} s ahead"))?;
        agent.until("ready by the right time", |told| told.ready).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_wrong_at_boot_gives_the_kept_pair_back_without_the_authority()
-> Result<()> {
    let mut rig = Rig::joined().await?;
    rig.vm.start().await?.terminate().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    for ahead in [-since_1970.cast_signed(), -DAY, DAY + 600] {
        let clock = Faketime::ahead(ahead)?;
        rig.vm.env = clock.env();
        let mut agent = rig.vm.spawn(&[], &[])?;
        troubled(&rig).await?;
        let waits = rig.waits_for().await?;
        ensure!(waits == json!(["identity"]), "{ahead} s ahead: waits for {waits}");

        clock.set(0)?;
        agent.signal(Signal::SIGUSR1)?;

        wait_for("an identity by the right time", async || {
            let waits = rig.waits_for().await?;
            ensure!(waits == json!([]), "waits for {waits}");
            Ok(())
        })
        .await?;
        assert_eq!(identity(&rig).await?["spiffe_id"], rig.mesh.identity());
        agent.terminate().await?;
    }
    Ok(())
}

async fn identity(rig: &Rig) -> Result<Value> {
    Ok(rig.status().await?["identity"].take())
}

/// What the agent says of the certificate as soon as something is wrong.
async fn troubled(rig: &Rig) -> Result<Value> {
    wait_for("the trouble in the status", async || {
        let identity = identity(rig).await?;
        ensure!(identity["trouble"].is_string(), "no trouble yet: {identity}");
        Ok(identity)
    })
    .await
}

/// The same as soon as nothing is.
async fn well(rig: &Rig) -> Result<Value> {
    wait_for("the end of the trouble", async || {
        let identity = identity(rig).await?;
        ensure!(identity["trouble"].is_null(), "still: {identity}");
        Ok(identity)
    })
    .await
}

async fn renewed(rig: &Rig) -> Result<()> {
    let output = rig.vm.identity(&["renew"]).await?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

async fn past(moment: SystemTime) -> Result<()> {
    wait_for("a moment to pass", async || {
        ensure!(SystemTime::now() > moment, "it is to come");
        Ok(())
    })
    .await
}

/// How often it is in the log.
fn in_log(agent: &Agent, message: &str) -> Result<usize> {
    Ok(fs::read_to_string(agent.log())?.matches(message).count())
}
