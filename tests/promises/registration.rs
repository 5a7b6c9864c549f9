//! A machine is one workload of the mesh: registered by Envoy's stream, for as long as that is
//! there, at the address that it has, and as well as its workload is.

mod moving;
mod wellness;

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use hawser_harness::{
    agent::Agent,
    envoy::Envoy,
    istiod::{FakeIstiod, Flavour, Seen, WorkloadEntry},
    wait::wait_for,
    xds::{self, Options, Place, XdsClient},
};
use hawser_proto::type_url::LISTENER;
use serde_json::Value;

use crate::{outages::watched::delta, rig::Rig};

const RESTARTS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn the_entry_of_a_machine_stays_while_its_agent_comes_and_goes_in_delta() -> Result<()> {
    agent_alone(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entry_of_a_machine_stays_while_its_agent_comes_and_goes_in_sotw() -> Result<()> {
    agent_alone(Flavour::SotW).await
}

/// Envoy lives on. istiod drops the entry of a machine that is away for 10 s.
async fn agent_alone(flavour: Flavour) -> Result<()> {
    let rig = Rig::joined().await?;
    let flags = ["--set", delta(flavour)];
    let mut agent = rig.vm.start_with(&flags, &[]).await?;
    let _envoy = own_envoy(&rig).await?;
    let istiod = &rig.mesh.istiod;
    let (name, _) = only_entry(istiod).await?;

    let restarts = async {
        for number in 0..RESTARTS {
            let streams = istiod.seen().streams.len();
            match number % 2 {
                0 => agent.terminate().await.map(drop)?,
                _ => agent.kill().await.map(drop)?,
            }
            agent = rig.vm.start_with(&flags, &[]).await?;
            let again = |seen: &Seen| connected(seen, streams).is_some();
            istiod.until("Envoy's next stream", again).await.with_context(|| agent.tail())?;
        }
        Ok(agent)
    };
    let agent = never_gone(istiod, restarts).await?;

    let (still, entry) = only_entry(istiod).await?;
    ensure!(still == name && entry.streams.len() == 1, "{still} {entry:?}");
    ensure!(istiod.seen().crashes == 0, "{}", agent.tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_while_the_agent_and_its_envoy_are_started_anew() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let mut agent = rig.serving().await?;
    let istiod = &rig.mesh.istiod;
    let (name, _) = only_entry(istiod).await?;

    let restart = async {
        let streams = istiod.seen().streams.len();
        agent.terminate().await?;
        let agent = rig.serving().await?;
        let again = |seen: &Seen| connected(seen, streams).is_some();
        istiod.until("the next Envoy's stream", again).await.with_context(|| agent.tail())?;
        Ok(agent)
    };
    let _agent = never_gone(istiod, restart).await?;

    let (still, entry) = only_entry(istiod).await?;
    ensure!(still == name && entry.streams.len() == 1, "{still} {entry:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_streams_of_a_machine_are_one_workload_and_the_agents_own_registers_nothing()
-> Result<()> {
    let rig = Rig::with_envoy().await?;
    let agent = rig.serving().await?;
    rig.names_known().await?;
    let istiod = &rig.mesh.istiod;
    let (name, entry) = only_entry(istiod).await?;
    let seen = istiod.seen();
    let live = seen.live();
    ensure!(live.len() == 2, "Envoy's and the agent's own: {live:?}");
    ensure!(live[0].node_id == live[1].node_id, "{} and {}", live[0].node_id, live[1].node_id);
    let registering = |asks: bool| {
        let streams = live.iter().filter(move |one| asks_for_entry(&one.metadata) == asks);
        streams.map(|one| one.id).collect::<Vec<_>>()
    };
    ensure!(registering(true) == entry.streams, "{entry:?} of {:?}", registering(true));
    ensure!(registering(false).len() == 1, "{:?}", registering(false));

    // Another Envoy that says it is this machine, as while one is replaced by the next.
    let twin = twin(&rig).await?;
    let two =
        |seen: &Seen| seen.registry.entries.get(&name).is_some_and(|it| it.streams.len() == 2);
    istiod.until("two streams", two).await.with_context(|| agent.tail())?;
    let (_, entry) = only_entry(istiod).await?;
    ensure!(entry.streams.len() == 2, "{entry:?}");
    drop(twin);
    let one =
        |seen: &Seen| seen.registry.entries.get(&name).is_some_and(|it| it.streams.len() == 1);
    istiod.until("one of them to leave", one).await?;

    let (_, entry) = only_entry(istiod).await?;
    ensure!(entry.connected.is_some() && entry.disconnected.is_none(), "{entry:?}");
    Ok(())
}

/// An Envoy that is not the agent's child, with the agent's bootstrap.
pub(crate) async fn own_envoy(rig: &Rig) -> Result<Envoy> {
    let admin = rig.vm.status().await?.envoy.admin;
    let envoy = Envoy::start(&bootstrap(rig)?, admin, rig.vm.root()).await?;
    rig.envoy_ready().await?;
    Ok(envoy)
}

fn bootstrap(rig: &Rig) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(rig.file("run/hawser/envoy.json"))?)?)
}

/// A client that introduces itself as Envoy does.
pub(crate) async fn twin(rig: &Rig) -> Result<XdsClient> {
    let said = &bootstrap(rig)?["node"];
    let mut node = xds::node(&said["metadata"]);
    node.id = said["id"].as_str().context("no id")?.to_owned();
    let options = Options { node, ..Options::envoy(Flavour::Delta) };
    let client = XdsClient::connect(&Place::Unix(rig.file("run/hawser/xds.sock")), options).await?;
    client.subscribe(LISTENER, &[])?;
    Ok(client)
}

fn asks_for_entry(metadata: &Value) -> bool {
    metadata["AUTO_REGISTER_GROUP"].is_string()
}

/// The live stream that registers the machine, if it is none of the first so many.
fn connected(seen: &Seen, before: usize) -> Option<u64> {
    let later: Vec<u64> = seen.streams.iter().skip(before).map(|stream| stream.id).collect();
    let live = seen.live();
    let registering = live.iter().filter(|stream| asks_for_entry(&stream.metadata));
    registering.map(|stream| stream.id).find(|id| later.contains(id))
}

/// The machine as istiod knows it, when it is there.
pub(crate) async fn only_entry(istiod: &FakeIstiod) -> Result<(String, WorkloadEntry)> {
    let there = |seen: &Seen| {
        let mut entries = seen.registry.entries.values();
        entries.any(|entry| !entry.streams.is_empty())
    };
    let seen = istiod.until("the machine to be registered", there).await?;
    let entries = &seen.registry.entries;
    ensure!(entries.len() == 1, "{entries:?}");
    let entry = entries.iter().next().context("none")?;
    Ok((entry.0.clone(), entry.1.clone()))
}

/// Does something while which the machine must not go from the mesh.
pub(crate) async fn never_gone<T>(
    istiod: &FakeIstiod,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let gone = async {
        // It gives up now and then.
        while istiod.until("no entry", |seen| seen.registry.entries.is_empty()).await.is_err() {}
    };
    tokio::select! {
        () = gone => bail!("istiod has dropped the entry"),
        done = work => done,
    }
}

/// Waits until istiod knows the machine by these entries and no others.
async fn entries(istiod: &FakeIstiod, names: &[&str]) -> Result<()> {
    let these = |seen: &Seen| seen.registry.entries.keys().eq(names.iter());
    let found = istiod.until("the entries", these).await;
    found.map(drop).with_context(|| format!("{:?}", istiod.seen().registry.entries.keys()))
}

/// Waits until the relay is joined to istiod.
async fn joined(rig: &Rig, agent: &Agent) -> Result<()> {
    wait_for("Envoy's stream to be joined", async || {
        let relay = rig.status().await?["relay"].take();
        ensure!(relay["joined"] == 1 && relay["stale"].is_null(), "{relay}");
        Ok(())
    })
    .await
    .with_context(|| agent.tail())
}
