//! What was kept for one node is never what another one is given.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    bundle::Bundle,
    istiod::{Flavour, Reach},
    mesh::{GROUP, NAMESPACE},
};

use super::books;
use crate::{
    last_good::{ONE_SERVICE, has_taken, waits},
    outages::watched::delta,
    rig::Rig,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_another_account_is_not_given_what_was_kept_in_delta() -> Result<()> {
    another_account(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_another_account_is_not_given_what_was_kept_in_sotw() -> Result<()> {
    another_account(Flavour::SotW).await
}

/// Not even if somebody puts it where the other one looks.
async fn another_account(flavour: Flavour) -> Result<()> {
    let mut rig = Rig::with_envoy().await?;
    rig.mesh.istiod.workload_group(NAMESPACE, GROUP, "");
    let flags = ["--set", delta(flavour)];
    takes_and_ends(&rig, &flags).await?;
    let first = books(&rig)?;
    let bundle = Bundle::new(&rig.mesh.istiod, NAMESPACE, "db", GROUP)?;
    bundle.write(&rig.file("other"))?;
    rig.vm.join_with(&rig.file("other"), &["--replace"]).await?;
    // Its certificate comes while there is no Envoy yet.
    rig.vm.envoy = None;
    rig.vm.start_with(&flags, &[]).await?.terminate().await?;
    rig.bring_envoy().await?;

    let mut agent = boots_and_waits(&rig, &flags).await?;

    let identity = rig.status().await?["identity"]["spiffe_id"].take();
    ensure!(identity.as_str().is_some_and(|id| id.ends_with("/sa/db")), "{identity}");
    agent.terminate().await?;
    rig.mesh.istiod.reach(Reach::Up).await?;
    takes_and_ends(&rig, &flags).await?;
    let (first, mut others) = (first.first().context("no book")?, books(&rig)?);
    others.retain(|book| book != first);
    ensure!(others.len() == 1, "not a book of its own: {others:?}");
    fs::remove_dir_all(&others[0])?;
    fs::rename(first, &others[0])?;

    let agent = boots_and_waits(&rig, &flags).await?;

    ensure!(agent.tail().contains("it is of another node or type"), "{}", agent.tail());
    rig.mesh.istiod.reach(Reach::Up).await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;
    has_taken(&rig, ONE_SERVICE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_another_name_is_not_given_what_was_kept_in_delta() -> Result<()> {
    another_name(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_another_name_is_not_given_what_was_kept_in_sotw() -> Result<()> {
    another_name(Flavour::SotW).await
}

/// And when it has its own name again, what was kept is still there.
async fn another_name(flavour: Flavour) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let flags = ["--set", delta(flavour)];
    takes_and_ends(&rig, &flags).await?;

    let other = ["--set", delta(flavour), "--set", "node.name=other"];
    boots_and_waits(&rig, &other).await?.terminate().await?;

    let agent = rig.vm.start_with(&flags, &[]).await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;
    ensure!(rig.request().await?.status == 200, "{}", agent.tail());
    Ok(())
}

/// With istiod: Envoy takes what there is, and it is kept.
async fn takes_and_ends(rig: &Rig, flags: &[&str]) -> Result<()> {
    let mut agent = rig.vm.start_with(flags, &[]).await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;
    has_taken(rig, ONE_SERVICE).await.with_context(|| agent.tail())?;
    agent.terminate().await?;
    Ok(())
}

/// Without istiod: there is nothing for Envoy.
async fn boots_and_waits(rig: &Rig, flags: &[&str]) -> Result<Agent> {
    rig.mesh.istiod.reach(Reach::Down).await?;
    let agent = rig.vm.start_with(flags, &[]).await?;
    waits(rig).await.with_context(|| agent.tail())?;
    Ok(agent)
}
