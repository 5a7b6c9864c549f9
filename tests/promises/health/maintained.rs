//! Maintenance: out of the mesh until somebody says otherwise.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{istiod::Seen, wait::wait_for};
use serde_json::Value;

use super::{ready, started, unprobed, unwell, well};
use crate::rig::{Rig, said};

const SETTINGS: [&str; 2] = ["health.report=true", "health.period=500ms"];
const ON: [&str; 4] = ["maintenance", "on", "--reason", "new kernel"];

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_in_maintenance_stays_out_of_the_mesh_over_restarts_until_it_is_back()
-> Result<()> {
    let rig = unprobed().await?;
    let mut agent = started(&rig, &SETTINGS).await?;
    well(&rig).await.with_context(|| agent.tail())?;

    let output = rig.vm.hawser(&ON).await?;
    ensure!(output.status.code() == Some(0), "{}", said(&output));
    ensure!(
        said(&output).contains("until `hawser maintenance off`: new kernel"),
        "{}",
        said(&output)
    );
    ensure!(said(&output).contains("istiod is told"), "{}", said(&output));
    unwell(&rig, "this machine is in maintenance: new kernel").await?;
    is_out(&rig).await?;

    for killed in [false, true] {
        let streams = rig.mesh.istiod.seen().health.len();
        match killed {
            true => drop(agent.kill().await?),
            false => drop(agent.terminate().await?),
        }
        let flags = SETTINGS.map(|setting| ["--set", setting]).concat();
        agent = rig.vm.start_with(&flags, &[]).await?;
        // Envoy's own status port says no, which is what it is asked for.
        let told = |seen: &Seen| seen.health.len() > streams;
        rig.mesh.istiod.until("the next agent's report", told).await?;
        unwell(&rig, "this machine is in maintenance: new kernel").await?;
        is_out(&rig).await?;
    }

    let output = rig.vm.hawser(&["maintenance", "off"]).await?;
    ensure!(
        output.status.code() == Some(0) && said(&output) == "no maintenance\n",
        "{}",
        said(&output)
    );
    well(&rig).await.with_context(|| agent.tail())?;
    rig.envoy_ready().await?;
    ensure!(!rig.file("var/lib/hawser/maintenance").exists());
    let log = agent.tail();
    ensure!(log.contains("maintenance is over"), "{log}");
    Ok(())
}

/// Whoever asks hears of it.
async fn is_out(rig: &Rig) -> Result<()> {
    let reply = ready(rig).await?;
    ensure!(reply.status == 503, "{}", reply.body);
    ensure!(reply.body.contains("in maintenance: new kernel"), "{}", reply.body);
    let shown = rig.vm.hawser(&["maintenance", "show"]).await?;
    ensure!(shown.status.success() && said(&shown).contains("new kernel"), "{}", said(&shown));
    let status = rig.status().await?;
    ensure!(status["maintenance"]["reason"] == "new kernel", "{status}");
    ensure!(status["state"] == "maintenance", "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_with_a_time_ends_by_itself() -> Result<()> {
    let rig = unprobed().await?;
    let agent = started(&rig, &SETTINGS).await?;
    well(&rig).await.with_context(|| agent.tail())?;

    rig.vm.hawser(&["maintenance", "on", "--for", "3s"]).await?;
    unwell(&rig, "this machine is in maintenance").await?;

    well(&rig).await.with_context(|| agent.tail())?;
    let shown = rig.vm.hawser(&["maintenance", "show", "--json"]).await?;
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    ensure!(shown["maintenance"].is_null() && shown["deaf"].is_null(), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_mesh_does_not_ask_it_is_said_and_what_to_do() -> Result<()> {
    let rig = Rig::joined().await?;
    let output = rig.vm.hawser(&ON).await?;
    ensure!(output.status.code() == Some(3), "without an agent: {}", said(&output));
    let _agent = rig.vm.start().await?;

    let output = rig.vm.hawser(&ON).await?;

    ensure!(output.status.code() == Some(1), "{}", said(&output));
    for part in ["the mesh does not ask", "report = true", "systemctl stop hawser"] {
        ensure!(said(&output).contains(part), "{}", said(&output));
    }
    let reply = ready(&rig).await?;
    ensure!(reply.status == 503 && reply.body.contains("new kernel"), "{}", reply.body);
    ensure!(rig.mesh.istiod.seen().health.is_empty(), "{:?}", rig.mesh.istiod.seen().health);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_istiod_that_does_not_answer_is_told_when_it_does() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start_with(&["--set", "health.report=true"], &[]).await?;

    // There is no Envoy, and so no stream of its.
    let output = rig.vm.hawser(&ON).await?;

    ensure!(output.status.code() == Some(75), "{}", said(&output));
    ensure!(said(&output).contains("it is told when it does"), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_told_and_keeps_no_machine_out() -> Result<()> {
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    rig.vm.hawser(&ON).await?;
    agent.kill().await?;
    hawser_state::write_file(&rig.file("var/lib/hawser/maintenance"), 0o600, b"on")?;

    let agent = rig.vm.start().await?;

    wait_for("what is wrong", async || {
        let log = agent.tail();
        ensure!(log.contains("state file set aside") && log.contains("maintenance"), "{log}");
        Ok(())
    })
    .await?;
    let shown = rig.vm.hawser(&["maintenance", "show"]).await?;
    ensure!(said(&shown) == "no maintenance\n", "{}", said(&shown));
    Ok(())
}
