//! A stock Envoy is spared the filters that only Istio's build has, and everything else works.

use std::{collections::BTreeSet, fs, ops::Range};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    filters::{ALPN, HTTP_EXCHANGE, NETWORK_EXCHANGE, STATS, dress},
    free,
    istiod::{Flavour, Reach, Seen, State},
    service::{Secrets, Service},
    wait::wait_for,
};
use hawser_proto::{
    envoy::{
        envoy::config::{cluster::v3::Cluster, core::v3::Metadata},
        google::protobuf::{Struct, Value, value::Kind},
    },
    type_url::{CLUSTER, LISTENER},
};

use crate::{
    last_good::{said_by_status, stat, switched_off},
    outages::watched::{Watched, delta},
    rig::Rig,
};

/// What no stock Envoy has, of what istiod sends.
const ISTIOS: [&str; 4] = [ALPN, HTTP_EXCHANGE, NETWORK_EXCHANGE, STATS];
/// So many clusters that a push of them is longer than what is gathered before it passes.
const MANY: usize = 4_000;
/// These are 70 MB.
const LARGE: Range<usize> = 1_000..2_100;
const PIECE: usize = 64_000;
/// What a push may add to the memory of the agent, above what its start has needed.
const MOST_KIB: usize = 12_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_envoy_takes_all_that_istiod_sends_in_delta() -> Result<()> {
    spared(Flavour::Delta, "envoy.compat=auto").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_envoy_takes_all_that_istiod_sends_in_sotw() -> Result<()> {
    spared(Flavour::SotW, "envoy.compat=auto").await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_where_it_is_said_to_be_stock_in_delta() -> Result<()> {
    spared(Flavour::Delta, "envoy.compat=stock").await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_where_it_is_said_to_be_stock_in_sotw() -> Result<()> {
    spared(Flavour::SotW, "envoy.compat=stock").await
}

async fn spared(flavour: Flavour, compat: &str) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    change(&rig, |_| ())?;
    let watched = Watched::on(rig, flavour, &[compat]).await?;
    took_everything(&watched).await?;
    listed(&watched).await?;

    // istiod says all of it again, and nothing of that is news.
    watched.rig.mesh.istiod.world().push_again();
    watched.hears("pushed-again").await?;
    took_everything(&watched).await?;
    listed(&watched).await?;

    let watched = Watched::on(switched_off(watched).await?, flavour, &[compat]).await?;
    let relay = watched.status("/relay").await?;
    ensure!(relay["stale"]["of"].is_number() && relay["joined"] == 0, "{relay}");
    watched.has("pushed-again").await?;
    took_everything(&watched).await?;
    watched.rig.mesh.istiod.reach(Reach::Up).await?;
    watched.joined().await?;
    watched.hears("after-the-boot").await?;
    took_everything(&watched).await?;
    listed(&watched).await
}

/// In the status once, and in the journal once.
async fn listed(watched: &Watched) -> Result<()> {
    let lacks = watched.status("/relay/lacks").await?;
    let listed = lacks.as_array().context("no list")?;
    let types: BTreeSet<_> =
        listed.iter().filter_map(|one| one["type_url"].as_str()).filter_map(short).collect();
    let istios: BTreeSet<_> = ISTIOS.into_iter().filter_map(short).collect();
    ensure!(types == istios, "{lacks}");
    ensure!(listed.iter().all(|one| one["passes"] == false), "{lacks}");
    let told = said_by_status(&watched.rig).await?;
    let many = format!("{} extensions left out that this Envoy cannot load", listed.len());
    ensure!(told.contains(&many), "{many}: {told}");
    let log = fs::read_to_string(watched.agent.log())?;
    let log = log.rsplit_once("hawser starts").map_or("", |(_, since)| since);
    for one in listed {
        let [place, name, kind] = ["place", "name", "type_url"].map(|of| one[of].as_str());
        let (place, name) = (place.context("no place")?, name.context("no name")?);
        let kind = kind.context("no type")?;
        let whole = format!("place={place:?} name={name:?} type_url={kind:?}");
        let lines = log.lines().filter(|line| line.contains("left out") && line.contains(&whole));
        ensure!(lines.count() == 1, "{whole} is not told once: {log}");
    }
    Ok(())
}

fn short(type_url: &str) -> Option<&str> {
    type_url.rsplit('/').next()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_said_to_be_istios_everything_passes_and_is_refused_in_delta() -> Result<()> {
    untouched(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_said_to_be_istios_everything_passes_and_is_refused_in_sotw() -> Result<()> {
    untouched(Flavour::SotW).await
}

/// A stock Envoy cannot take it: that shows that it has been given all of it.
async fn untouched(flavour: Flavour) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    change(&rig, |_| ())?;
    let flags = ["--set", delta(flavour), "--set", "envoy.compat=istio"];
    let agent = rig.vm.start_with(&flags, &[]).await?;

    let both =
        |seen: &Seen| [CLUSTER, LISTENER].iter().all(|type_url| !seen.nacks(type_url).is_empty());
    let refused = rig.mesh.istiod.until("Envoy's refusals", both).await;
    let seen = refused.with_context(|| agent.tail())?;
    for (type_url, filter) in [(CLUSTER, "metadata_exchange"), (LISTENER, "istio.")] {
        let nacks = seen.nacks(type_url);
        ensure!(nacks.iter().any(|(_, text)| text.contains(filter)), "{type_url}: {nacks:?}");
    }
    let relay = rig.status().await?["relay"].take();
    ensure!(relay["lacks"].as_array().is_some_and(Vec::is_empty), "{relay}");
    let told = said_by_status(&rig).await?;
    ensure!(told.contains("refuses "), "{told}");
    Ok(())
}

// The pushes that are rewritten while they pass.

#[tokio::test(flavor = "multi_thread")]
async fn of_thousands_of_clusters_each_is_spared_in_delta() -> Result<()> {
    thousands(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_thousands_of_clusters_each_is_spared_in_sotw() -> Result<()> {
    thousands(Flavour::SotW).await
}

async fn thousands(flavour: Flavour) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    change(&rig, |_| ())?;
    let watched = Watched::on(rig, flavour, &[]).await?;

    change(&watched.rig, |state| {
        for number in 0..MANY {
            let name = format!("outbound|80||service-{number}.demo.svc.cluster.local");
            state.put(&Cluster { name, ..Cluster::default() });
        }
    })?;

    for number in [0, MANY - 1] {
        watched.has(&format!("outbound|80||service-{number}.demo.svc.cluster.local")).await?;
    }
    took_everything(&watched).await?;
    let watched = Watched::on(switched_off(watched).await?, flavour, &[]).await?;
    watched.has(&format!("outbound|80||service-{}.demo.svc.cluster.local", MANY - 1)).await?;
    took_everything(&watched).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_70_mb_is_spared_as_a_small_one_is_in_delta() -> Result<()> {
    large(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_70_mb_is_spared_as_a_small_one_is_in_sotw() -> Result<()> {
    large(Flavour::SotW).await
}

/// Something is left out of each of its clusters, and its memory does not grow with it.
async fn large(flavour: Flavour) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    change(&rig, |_| ())?;
    let watched = Watched::on(rig, flavour, &[]).await?;
    let before = stat(&watched.rig, "cluster_manager.cds.update_success").await?;

    let idle = resident(&watched, "VmRSS:")?;
    change(&watched.rig, |state| LARGE.for_each(|number| state.put(&heavy(number))))?;

    wait_for("Envoy to take it", async || {
        let now = stat(&watched.rig, "cluster_manager.cds.update_success").await?;
        ensure!(now > before, "not yet");
        Ok(())
    })
    .await
    .with_context(|| watched.agent.tail())?;
    let grown = resident(&watched, "VmHWM:")?.saturating_sub(idle);
    ensure!(grown <= MOST_KIB, "the agent has grown by {grown} KiB");
    watched.has(&heavy(LARGE.end - 1).name).await?;
    took_everything(&watched).await
}

/// A cluster of which there is much to say.
fn heavy(number: usize) -> Cluster {
    let text = Value { kind: Some(Kind::StringValue(number.to_string().repeat(PIECE / 4))) };
    let fields = [("ballast".to_owned(), text)].into();
    let filter_metadata = [("hawser".to_owned(), Struct { fields })].into();
    let metadata = Some(Metadata { filter_metadata, ..Metadata::default() });
    // All have four digits.
    let name = format!("outbound|80||{number}.demo.svc.cluster.local");
    Cluster { name, metadata, ..Cluster::default() }
}

/// What the agent has in memory, in KiB.
fn resident(watched: &Watched, what: &str) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", watched.agent.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {what}"))?.parse()?)
}

/// Changes what istiod has, and gives it the filters that it has by default.
fn change(rig: &Rig, edit: impl FnOnce(&mut State)) -> Result<()> {
    let inbound = free::vip()?;
    let mut dressed = Ok(());
    rig.mesh.istiod.world().change(|state| {
        // From the beginning, so that no filter is there twice.
        Service::publish(std::slice::from_ref(&rig.mesh.service), Secrets::Agent, state);
        edit(state);
        dressed = dress(state, inbound);
    });
    dressed
}

/// Envoy has refused nothing, and requests pass.
async fn took_everything(watched: &Watched) -> Result<()> {
    wait_for("Envoy to have taken everything", async || {
        let types = watched.status("/relay/types").await?;
        for type_url in [CLUSTER, LISTENER] {
            let seen = &types[type_url];
            let version = |of: &str| &seen[of]["version"];
            ensure!(version("sent").is_string(), "{seen}");
            ensure!(version("sent") == version("accepted"), "{seen}");
        }
        Ok(())
    })
    .await
    .with_context(|| watched.agent.tail())?;
    let types = watched.status("/relay/types").await?;
    let seen = types.as_object().context("no types")?;
    ensure!(seen.values().all(|seen| seen["rejections"] == 0), "{types}");
    for manager in ["cluster_manager.cds", "listener_manager.lds"] {
        let refused = stat(&watched.rig, &format!("{manager}.update_rejected")).await?;
        let taken = stat(&watched.rig, &format!("{manager}.update_success")).await?;
        ensure!(refused == 0 && taken > 0, "{manager}: {refused} refused, {taken} taken");
    }
    let reply = watched.rig.request().await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
    Ok(())
}
