//! A program that speaks xDS itself asks beside Envoy on the same socket, and each is served as
//! what it is.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    istiod::{Flavour, Reach, Seen, Stream},
    traffic::Traffic,
    wait::wait_for,
    xds::{self, Answer, Held, Options, Place, XdsClient},
};
use hawser_proto::{
    envoy::envoy::config::{cluster::v3::Cluster, listener::v3::Listener},
    type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE},
};
use serde_json::Value;

use crate::{
    last_good::{has_taken, switched_off},
    outages::watched::{Watched, is_fresh},
    registration::twin,
    rig::Rig,
};

/// A service is four resources; Envoy has one, and so has the program.
const BOTH: u64 = 8;
/// A cluster that the program refuses, and a listener that Envoy does.
const FOR_ENVOY: &str = "for-envoy";
const FOR_PROGRAM: &str = "for-the-program";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_and_envoy_are_served_side_by_side_in_delta() -> Result<()> {
    side_by_side(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_and_envoy_are_served_side_by_side_in_sotw() -> Result<()> {
    side_by_side(Flavour::SotW).await
}

/// Programs come and go, and so does istiod.
async fn side_by_side(flavour: Flavour) -> Result<()> {
    let watched = Watched::up(flavour, &[]).await?;
    watched.joined().await?;
    let (rig, istiod) = (&watched.rig, &watched.rig.mesh.istiod);
    let envoys = envoys(&istiod.seen())?;
    let traffic = Traffic::start(&rig.mesh.service, 1);

    let program = program(rig).await?;
    asks(rig, &program).await?;

    let seen = istiod.seen();
    let own = programs(&seen)?;
    ensure!(own.flavour == Flavour::SotW, "{:?}", own.flavour);
    ensure!(own.node_id == envoys.node_id, "{} is not {}", own.node_id, envoys.node_id);
    ensure!(own.metadata["NAMESPACE"] == envoys.metadata["NAMESPACE"], "{}", own.metadata);
    ensure!(own.metadata["INSTANCE_IPS"] == envoys.metadata["INSTANCE_IPS"], "{}", own.metadata);
    ensure!(envoys.metadata["GENERATOR"].is_null(), "{}", envoys.metadata);
    ensure!(self::envoys(&seen)?.id == envoys.id, "Envoy's stream is another one");
    let entries: Vec<_> = seen.registry.entries.values().collect();
    ensure!(entries.len() == 1 && entries[0].streams == [envoys.id], "{entries:?}");
    let relay = watched.status("/relay").await?;
    ensure!(relay["streams"] == 2 && relay["programs"] == 1, "{relay}");

    // One that leaves and one that comes are nothing to the others.
    let another = self::program(rig).await?;
    asks(rig, &another).await?;
    drop(program);
    wait_for("the first program to be gone", async || {
        let relay = watched.status("/relay").await?;
        ensure!(relay["programs"] == 1 && relay["streams"] == 2, "{relay}");
        Ok(())
    })
    .await?;
    istiod.restart().await?;
    let both = |seen: &Seen| programs(seen).is_ok() && self::envoys(seen).is_ok();
    istiod.until("both streams again", both).await?;
    joined(&watched).await?;
    watched.hears("for-both").await?;
    another.until("the same", |held| held.names(CLUSTER).contains(&"for-both")).await?;
    ensure!(another.held().ended.is_none(), "{:?}", another.held().ended);
    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    watched.lost_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_an_envoy_is_told_where_to_ask_and_registers_nothing() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    let bootstrap = bootstrap(&rig)?;
    let server = &bootstrap["xds_servers"][0];
    let socket = rig.file("run/hawser/xds.sock");
    ensure!(server["server_uri"] == format!("unix://{}", socket.display()), "{bootstrap}");
    ensure!(server["channel_creds"][0]["type"] == "insecure", "{bootstrap}");
    ensure!(bootstrap["node"]["metadata"]["GENERATOR"] == "grpc", "{bootstrap}");

    let program = program(&rig).await?;
    asks(&rig, &program).await?;

    let seen = rig.mesh.istiod.seen();
    ensure!(seen.registry.entries.is_empty(), "{:?}", seen.registry);
    ensure!(seen.health.is_empty() && seen.health_dropped == 0, "{:?}", seen.health);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_boot_without_istiod_each_is_given_what_it_took_itself_in_delta() -> Result<()> {
    each_its_own(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_boot_without_istiod_each_is_given_what_it_took_itself_in_sotw() -> Result<()> {
    each_its_own(Flavour::SotW).await
}

/// Each of them takes something that the other one refuses.
async fn each_its_own(flavour: Flavour) -> Result<()> {
    let before = Watched::up(flavour, &[]).await?;
    let program = program(&before.rig).await?;
    asks(&before.rig, &program).await?;
    has_taken(&before.rig, BOTH).await?;
    program.answers(CLUSTER, Answer::Nack("not for me".to_owned()))?;
    before.rig.mesh.istiod.world().change(|state| {
        state.put(&Cluster { name: FOR_ENVOY.to_owned(), ..Cluster::default() });
        state.put(&Listener { name: FOR_PROGRAM.to_owned(), ..Listener::default() });
    });
    before.has(FOR_ENVOY).await?;
    let took = program.until("both pushes", took_its_own).await;
    took.with_context(|| format!("{}\n{}", tells(&program.held()), before.agent.tail()))?;
    has_taken_its_own(&before).await?;
    drop(program);

    let watched = Watched::on(switched_off(before).await?, flavour, &[]).await?;

    watched.has(FOR_ENVOY).await?;
    let types = watched.status("/relay/types").await?;
    for type_url in [CLUSTER, LISTENER] {
        ensure!(types[type_url]["rejections"] == 0, "{type_url} refused again: {types}");
    }
    let program = self::program(&watched.rig).await?;
    asks(&watched.rig, &program).await?;
    let held = program.held();
    ensure!(held.names(LISTENER).contains(&FOR_PROGRAM), "{:?}", held.names(LISTENER));
    ensure!(!held.names(CLUSTER).contains(&FOR_ENVOY), "{:?}", held.names(CLUSTER));
    watched.noticed_nothing().await?;

    watched.rig.mesh.istiod.reach(Reach::Up).await?;
    joined(&watched).await?;
    program.until("the rest", |held| held.names(CLUSTER).contains(&FOR_ENVOY)).await?;
    watched.hears("after-the-boot").await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_envoy_that_comes_and_goes_takes_nothing_from_the_first_one_in_delta() -> Result<()>
{
    twin_leaves(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_envoy_that_comes_and_goes_takes_nothing_from_the_first_one_in_sotw() -> Result<()>
{
    twin_leaves(Flavour::SotW).await
}

/// It says that it is the same node. What the first one takes from then on is kept.
async fn twin_leaves(flavour: Flavour) -> Result<()> {
    let before = Watched::up(flavour, &[]).await?;
    has_taken(&before.rig, BOTH / 2).await?;
    let twin = twin(&before.rig).await?;
    twin.until("its listeners", |held| held.responses(LISTENER) > 0).await?;
    drop(twin);
    wait_for("it to be gone", async || {
        let relay = before.status("/relay").await?;
        ensure!(relay["streams"] == 1, "{relay}");
        Ok(())
    })
    .await?;
    before.hears("after-the-twin").await?;
    has_taken(&before.rig, BOTH / 2 + 1).await.with_context(|| before.agent.tail())?;
    before.lost_nothing().await?;

    let watched = Watched::on(switched_off(before).await?, flavour, &[]).await?;

    watched.has("after-the-twin").await?;
    ensure!(watched.rig.request().await?.status == 200, "and it serves");
    Ok(())
}

/// Waits until istiod answers both.
async fn joined(watched: &Watched) -> Result<()> {
    wait_for("both streams to be joined", async || {
        let relay = watched.status("/relay").await?;
        ensure!(relay["joined"] == 2 && is_fresh(&relay), "{relay}");
        Ok(())
    })
    .await
    .with_context(|| watched.agent.tail())
}

/// What a program was given, and what it made of it.
fn tells(held: &Held) -> String {
    let of = |type_url: &str| {
        let kept = held.types.get(type_url)?;
        let (came, refused, given) = (kept.responses, kept.refused, &kept.given);
        Some(format!("{type_url}: {came} came, {refused} refused, {given:?} last"))
    };
    let types: Vec<_> = [CLUSTER, LISTENER].into_iter().filter_map(of).collect();
    format!("the program was given {types:?} of {:?}", held.order)
}

fn took_its_own(held: &Held) -> bool {
    let refused = held.types.get(CLUSTER).is_some_and(|kept| kept.refused > 0);
    refused && held.names(LISTENER).contains(&FOR_PROGRAM)
}

/// Waits until the cluster is kept for Envoy, the listener for the program, and no more.
async fn has_taken_its_own(watched: &Watched) -> Result<()> {
    wait_for("both to be kept", async || {
        let kept = watched.status("/relay/kept/resources").await?;
        ensure!(kept == BOTH + 2, "{kept}");
        let listeners = watched.status("/relay/types").await?[LISTENER].take();
        ensure!(listeners["rejections"] == 1, "{listeners}");
        Ok(())
    })
    .await
    .with_context(|| watched.agent.tail())
}

/// What the agent writes for programs.
fn bootstrap(rig: &Rig) -> Result<Value> {
    let file = rig.file("run/hawser/grpc-bootstrap.json");
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// A program that starts with it: it is who the file says, where the file says.
async fn program(rig: &Rig) -> Result<XdsClient> {
    let bootstrap = bootstrap(rig)?;
    let said = &bootstrap["node"];
    let mut node = xds::node(&said["metadata"]);
    node.id = said["id"].as_str().context("no id")?.to_owned();
    node.cluster = String::new();
    if let Some(metadata) = &mut node.metadata {
        metadata.fields.retain(|name, _| !said["metadata"][name.as_str()].is_null());
    }
    let options = Options { node, ..Options::grpc() };
    let uri = bootstrap["xds_servers"][0]["server_uri"].as_str().context("no server")?;
    let socket = uri.strip_prefix("unix://").context("no socket")?;
    XdsClient::connect(&Place::Unix(socket.into()), options).await
}

/// It asks as gRPC does: for one listener by its name, and for what that leads to.
async fn asks(rig: &Rig, program: &XdsClient) -> Result<()> {
    let service = &rig.mesh.service;
    let (host, port) = (service.host(), service.vip.port());
    let cluster = format!("outbound|{port}||{host}");
    let (listener, routes) = (format!("{}_{port}", service.vip.ip()), format!("{host}:{port}"));
    let steps: [(&str, &[&str]); 4] = [
        (LISTENER, &[&listener, FOR_PROGRAM]),
        (ROUTE, &[&routes]),
        (CLUSTER, &[&cluster, FOR_ENVOY]),
        (ENDPOINT, &[&cluster]),
    ];
    for (type_url, names) in steps {
        program.subscribe(type_url, names)?;
        program.until(names[0], |held| held.names(type_url).contains(&names[0])).await?;
    }
    Ok(())
}

fn programs(seen: &Seen) -> Result<Stream> {
    live(seen, |stream| stream.metadata["GENERATOR"] == "grpc")
}

/// The one that registers the machine.
fn envoys(seen: &Seen) -> Result<Stream> {
    live(seen, |stream| stream.metadata["AUTO_REGISTER_GROUP"].is_string())
}

fn live(seen: &Seen, of: impl Fn(&Stream) -> bool) -> Result<Stream> {
    let streams: Vec<_> = seen.live().into_iter().filter(|stream| of(stream)).collect();
    ensure!(streams.len() == 1, "{} such streams", streams.len());
    streams.first().map(|stream| (*stream).clone()).context("none")
}
