//! Pushes that are none, or not whole: Envoy does not see them, and keeps what it has.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    istiod::{Cut, Flavour, Garbage},
    wait::wait_for,
};
use hawser_proto::type_url::CLUSTER;

use super::{MB, ballast, taken};
use crate::outages::watched::Watched;

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_kept_from_envoy_and_told_once_in_delta() -> Result<()> {
    garbage(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_kept_from_envoy_and_told_once_in_sotw() -> Result<()> {
    garbage(Flavour::SotW).await
}

async fn garbage(flavour: Flavour) -> Result<()> {
    let watched = Watched::up(flavour, &[]).await?;
    watched.joined().await?;
    let unreadable = "a response cannot be read";
    let all = [
        (Garbage::Random(200), unreadable),
        (Garbage::Random(300_000), unreadable),
        (Garbage::Longer(64), "ended"),
        (Garbage::Shorter(64), ""),
        (Garbage::Compressed, "compressed"),
        (Garbage::Flag(7), ""),
        (Garbage::Huge, "2147483648"),
    ];
    for (garbage, told) in all {
        let what = format!("{garbage:?}");
        comes(&watched, garbage, told).await.with_context(|| what.clone())?;
    }

    let log = std::fs::read_to_string(watched.agent.log())?;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("istiod sends garbage")).collect();
    ensure!(lines.len() == 1, "{lines:#?}");
    watched.noticed_nothing().await?;
    watched.hears("after-the-garbage").await
}

/// Garbage comes on the stream that there is and on the next ones, until it is over.
async fn comes(watched: &Watched, garbage: Garbage, told: &str) -> Result<()> {
    let istiod = &watched.rig.mesh.istiod;
    let unreadable = watched.status("/relay/unreadable").await?.as_u64().context("no count")?;
    // There istiod ends the stream, and as it should.
    let counts = !matches!(garbage, Garbage::Longer(_));
    istiod.faults(|faults| faults.garbage = Some(garbage));

    istiod.world().push_again();

    wait_for("the status to say so", async || {
        let relay = watched.status("/relay").await?;
        let counted = relay["unreadable"].as_u64() > Some(unreadable);
        let trouble = relay["trouble"].as_str().unwrap_or_default();
        ensure!(!trouble.is_empty() && trouble.contains(told), "{trouble:?} in {relay}");
        ensure!(counted || !counts, "not counted: {relay}");
        Ok(())
    })
    .await?;
    ensure!(watched.rig.request().await?.status == 200, "requests pass");

    istiod.faults(|faults| faults.garbage = None);
    watched.joined().await?;
    watched.noticed_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_cut_anywhere_costs_nothing_in_delta() -> Result<()> {
    cuts(Flavour::Delta, "envoy.compat=istio").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_cut_anywhere_costs_nothing_in_sotw() -> Result<()> {
    cuts(Flavour::SotW, "envoy.compat=istio").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_be_made_fit_that_is_cut_anywhere_costs_nothing() -> Result<()> {
    cuts(Flavour::Delta, "envoy.compat=auto").await
}

/// istiod dies at several places of a push of 5 MB, and the next one gives it whole.
async fn cuts(flavour: Flavour, compat: &str) -> Result<()> {
    let watched = Watched::up(flavour, &[compat]).await?;
    watched.joined().await?;
    let istiod = &watched.rig.mesh.istiod;
    let offsets = [0, 1, 100, 70_000, 262_145, 1_000_000, 3_333_333, 5 * MB - 1];
    for (round, offset) in (1..).zip(offsets) {
        istiod.faults(|faults| faults.cut = Some(cut(CLUSTER, offset)));

        istiod.world().change(|state| state.ballast_of(ballast(5 * MB, 50_000, round)));

        istiod.until("the cut", |seen| seen.cuts as u64 == round).await?;
        let whole = async {
            taken(&watched).await?;
            watched.joined().await?;
            watched.lost_nothing().await
        };
        whole.await.with_context(|| format!("cut after {offset} bytes"))?;
    }
    watched.has("ballast-99").await?;
    let seen = istiod.seen();
    ensure!(seen.nacks(CLUSTER).is_empty(), "istiod is told of it: {:?}", seen.nacks(CLUSTER));
    ensure!(seen.crashes == 0, "istiod was brought down by a refusal");
    let refused = &watched.status("/relay/types").await?[CLUSTER]["rejections"];
    ensure!(*refused == 0, "{refused} refusals are told that nobody can do anything about");
    Ok(())
}

/// istiod dies so many bytes into the next response of a type.
pub(super) fn cut(type_url: &str, after: usize) -> Cut {
    Cut { type_url: type_url.to_owned(), after }
}
