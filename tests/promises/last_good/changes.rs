//! What changed at istiod while the machine was off arrives when both are back.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    http1::{self, Reply},
    istiod::{Flavour, Reach, State},
    service::{Secrets, Service},
    traffic::Traffic,
    wait::wait_for,
};
use hawser_proto::type_url::{CLUSTER, LISTENER, ROUTE};
use hawser_wire::write;
use http::Method;
use tokio::net::TcpStream;

use super::{ONE_SERVICE, has_taken, stat, switched_off};
use crate::{outages::watched::Watched, rig::Rig};

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_machine_was_off_arrives_with_istiod_in_delta() -> Result<()> {
    catches_up(Flavour::Delta, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_machine_was_off_arrives_with_istiod_in_sotw() -> Result<()> {
    catches_up(Flavour::SotW, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_changed_only_that_arrives_from_an_istiod_that_knows_versions() -> Result<()> {
    catches_up(Flavour::Delta, true).await
}

/// One service stays, one comes, one changes and one goes.
async fn catches_up(flavour: Flavour, knows_versions: bool) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    rig.mesh.istiod.honours_versions(knows_versions);
    let stays = rig.mesh.service.clone();
    let other = |name| Service::new(name, "demo", rig.mesh.hello.addr()).map(of_hello);
    let (comes, changes, goes) = (other("comes")?, other("changes")?, other("goes")?);
    publish(&rig, &[&stays, &changes, &goes], |_| {});
    let before = Watched::on(rig, flavour, &[]).await?;
    has_taken(&before.rig, 3 * ONE_SERVICE).await?;
    for service in [&stays, &changes, &goes] {
        ensure!(ask(service).await?.status == 200, "{} before", service.name);
    }

    let rig = switched_off(before).await?;
    publish(&rig, &[&stays, &comes, &changes], |state| {
        change(state, &changes);
        // Envoy does not work with a changed cluster before it is sent endpoints once more, which
        // an istiod that knows versions has no reason to do.
        if !knows_versions {
            change_cluster(state, &changes);
        }
    });
    let watched = Watched::on(rig, flavour, &[]).await?;
    for service in [&stays, &changes, &goes] {
        let reply = ask(service).await?;
        ensure!(reply.status == 200 && !reply.headers.contains_key(CHANGED), "{}", service.name);
    }
    ensure!(ask(&comes).await.is_err(), "a service that nobody has told of");
    let mut before = Vec::new();
    for name in BUILT {
        before.push(stat(&watched.rig, name).await?);
    }
    let traffic = Traffic::start(&stays, 2);
    watched.rig.mesh.istiod.reach(Reach::Up).await?;

    arrived(&comes, &changes, &goes).await.with_context(|| watched.agent.tail())?;
    watched.joined().await?;
    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    // One of each, and nothing else.
    for (name, before) in BUILT.iter().zip(before) {
        let more = u64::from(!knows_versions || !name.ends_with("cluster_modified"));
        wait_for(name, async || {
            let now = stat(&watched.rig, name).await?;
            ensure!(now == before + more, "{before} became {now}");
            Ok(())
        })
        .await?;
    }
    // And the next boot has that.
    has_taken(&watched.rig, 3 * ONE_SERVICE).await?;
    let rig = switched_off(watched).await?;
    let _watched = Watched::on(rig, flavour, &[]).await?;
    arrived(&comes, &changes, &goes).await
}

async fn arrived(comes: &Service, changes: &Service, goes: &Service) -> Result<()> {
    wait_for("what has changed", async || {
        ensure!(ask(comes).await?.status == 200, "not come yet");
        let reply = ask(changes).await?;
        ensure!(reply.status == 200, "{}", reply.status);
        ensure!(reply.headers.contains_key(CHANGED), "not changed yet");
        ensure!(TcpStream::connect(goes.vip).await.is_err(), "not gone yet");
        Ok(())
    })
    .await
}

/// The same workload is behind all of them.
fn of_hello(service: Service) -> Service {
    Service { service_account: "hello".to_owned(), ..service }
}

/// Makes them all there is.
fn publish(rig: &Rig, services: &[&Service], change: impl FnOnce(&mut State)) {
    let all: Vec<Service> = services.iter().map(|one| (*one).clone()).collect();
    rig.mesh.istiod.world().change(|state| {
        Service::publish(&all, Secrets::Agent, state);
        change(state);
    });
}

/// Gives listener and routes of a service another `stat_prefix`, and one more of
/// `response_headers_to_add`.
fn change(state: &mut State, service: &Service) {
    add(state, LISTENER, &service.vip.ip().to_string(), 28, b"changed");
    let (mut pair, mut header) = (Vec::new(), Vec::new());
    write::bytes(&mut pair, 1, CHANGED.as_bytes());
    write::bytes(&mut pair, 2, b"yes");
    write::bytes(&mut header, 1, &pair);
    add(state, ROUTE, &service.host(), 4, &header);
}

/// Gives its cluster a `connect_timeout` of 11 s.
fn change_cluster(state: &mut State, service: &Service) {
    add(state, CLUSTER, &service.host(), 4, &[0x08, 11]);
}

/// Adds a field to the resource whose name has that in it: it may stand anywhere, so it stands at
/// the end.
fn add(state: &mut State, type_url: &str, name: &str, field: u32, value: &[u8]) {
    let all = state.all(type_url).into_iter();
    for (name, mut resource) in all.filter(|(known, _)| known.contains(name)) {
        write::bytes(&mut resource.value, field, value);
        state.put_raw(type_url, &name, resource);
    }
}

async fn ask(service: &Service) -> Result<Reply> {
    let host = format!("{}:{}", service.host(), service.vip.port());
    http1::call(service.vip, &Method::GET, "/here", &[("host", &host)]).await
}

/// The header that the routes of a service add when they have changed.
const CHANGED: &str = "x-changed";
/// What Envoy counts of its work.
const BUILT: [&str; 6] = [
    "listener_manager.listener_added",
    "listener_manager.listener_modified",
    "listener_manager.listener_removed",
    "cluster_manager.cluster_added",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
];
