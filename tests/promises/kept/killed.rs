//! An agent that is killed while pushes come: the next one serves, of each type, one of them as a
//! whole, and none that Envoy refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    istiod::{Flavour, Reach, Seen},
    wait::wait_for,
};
use hawser_proto::{
    envoy::envoy::config::{cluster::v3::Cluster, core::v3::Metadata},
    envoy::google::protobuf::{Any, Duration as Timeout, Struct, Value, value::Kind},
    type_url::{CLUSTER, ROUTE},
};
use hawser_wire::write;

use super::Chance;
use crate::{
    last_good::{ONE_SERVICE, ask, has_taken},
    outages::watched::Watched,
    rig::Rig,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_while_pushes_come_has_kept_one_of_them_whole_in_delta()
-> Result<()> {
    killed(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_while_pushes_come_has_kept_one_of_them_whole_in_sotw() -> Result<()>
{
    killed(Flavour::SotW).await
}

/// It takes a while: each death is followed by a boot, without istiod at first.
async fn killed(flavour: Flavour) -> Result<()> {
    let mut chance = Chance::new();
    let seed = chance.seed;
    let mut pushes = Pushes::default();
    let rig = Rig::with_envoy().await?;
    pushes.next(&rig);
    let mut watched = Watched::on(rig, flavour, &[]).await?;
    has_taken(&watched.rig, ONE_SERVICE + CLUSTERS).await?;
    // A machine that has never kept any names is not ready without istiod.
    let names = watched.rig.vm.root().join("var/lib/hawser/names");
    wait_for("names to be kept", async || Ok(std::fs::metadata(&names)?)).await?;
    let mut known = [0, 0];
    for death in 0..DEATHS {
        let istiod = &watched.rig.mesh.istiod;
        for _ in 0..chance.below(5) {
            pushes.next(&watched.rig);
            let version = istiod.world().version();
            let sent = |seen: &Seen| {
                let last = seen.answered.iter().rev().find(|one| one.type_url == CLUSTER);
                last.is_some_and(|last| last.version == version)
            };
            istiod.until("a push", sent).await?;
        }
        pushes.next(&watched.rig);
        // Not to wait for anything: any moment will do, and this is one.
        tokio::time::sleep(Duration::from_micros(chance.below(60_000))).await;
        watched.agent.kill().await?;
        let Watched { agent, rig, .. } = watched;
        // Its Envoy too: it must not answer for the next one.
        drop(agent);
        rig.mesh.istiod.reach(Reach::Down).await?;

        watched = Watched::on(rig, flavour, &[]).await?;

        let what = || format!("seed {seed}, death {death}, {known:?} before");
        let serves =
            [clusters(&watched.rig).await.with_context(what)?, routes(&watched.rig).await?];
        ensure!(pushes.good.contains(&serves[0]), "{}: refused {serves:?}", what());
        for (serves, known) in serves.iter().zip(known) {
            ensure!(*serves >= known && *serves <= pushes.last, "{}: {serves}", what());
        }
        known = serves;
        watched.rig.mesh.istiod.reach(Reach::Up).await?;
        watched.joined().await?;
    }
    ensure!(known.iter().all(|number| *number > 1), "nothing was ever kept: {known:?}");
    Ok(())
}

/// What istiod sends, with a number in all of it.
#[derive(Debug, Default)]
struct Pushes {
    last: u64,
    /// Those of which Envoy takes the clusters.
    good: BTreeSet<u64>,
    /// The routes without a number.
    routes: BTreeMap<String, Any>,
}

impl Pushes {
    /// Envoy refuses the clusters of every third one.
    fn next(&mut self, rig: &Rig) {
        self.last += 1;
        let (number, good) = (self.last, !self.last.is_multiple_of(3));
        if good {
            self.good.insert(number);
        }
        rig.mesh.istiod.world().change(|state| {
            if self.routes.is_empty() {
                self.routes = state.all(ROUTE);
            }
            (0..CLUSTERS).for_each(|which| state.put(&cluster(which, number)));
            for name in ["refused", "garbage"] {
                state.remove(CLUSTER, name);
            }
            if !good && number.is_multiple_of(2) {
                state.garbage(CLUSTER);
            } else if !good {
                // Envoy refuses no time at all.
                let (name, connect_timeout) = ("refused".to_owned(), Some(Timeout::default()));
                state.put(&Cluster { name, connect_timeout, ..Cluster::default() });
            }
            for (name, mut routes) in self.routes.clone() {
                // A header more in `response_headers_to_add`.
                let (mut pair, mut header) = (Vec::new(), Vec::new());
                write::bytes(&mut pair, 1, NUMBER.as_bytes());
                write::bytes(&mut pair, 2, number.to_string().as_bytes());
                write::bytes(&mut header, 1, &pair);
                write::bytes(&mut routes.value, 4, &header);
                state.put_raw(ROUTE, &name, routes);
            }
        });
    }
}

/// One that nobody uses, with its number, and large enough that a push takes its time.
fn cluster(which: u64, number: u64) -> Cluster {
    let text = Value { kind: Some(Kind::StringValue("ballast ".repeat(2048))) };
    let fields = [("ballast".to_owned(), text)].into();
    let filter_metadata = [("hawser".to_owned(), Struct { fields })].into();
    Cluster {
        name: format!("numbered-{which}"),
        alt_stat_name: number.to_string(),
        metadata: Some(Metadata { filter_metadata, ..Metadata::default() }),
        ..Cluster::default()
    }
}

/// The number that all clusters have that Envoy works with.
async fn clusters(rig: &Rig) -> Result<u64> {
    let dump = ask(rig, "/config_dump?resource=dynamic_active_clusters").await?;
    let dump: serde_json::Value = serde_json::from_str(&dump)?;
    let all = dump["configs"].as_array().context("no clusters")?;
    let numbered = all.iter().map(|one| &one["cluster"]);
    let numbered = numbered
        .filter(|one| one["name"].as_str().is_some_and(|name| name.starts_with("numbered-")));
    let numbers: Vec<_> = numbered.filter_map(|one| one["alt_stat_name"].as_str()).collect();
    ensure!(numbers.len() as u64 == CLUSTERS, "not all clusters are there: {numbers:?}");
    let first = numbers.first().context("no clusters")?;
    ensure!(numbers.iter().all(|number| number == first), "parts of several pushes: {numbers:?}");
    Ok(first.parse()?)
}

/// The number that the routes have.
async fn routes(rig: &Rig) -> Result<u64> {
    let reply = rig.request().await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
    Ok(reply.headers.get(NUMBER).context("no number")?.parse()?)
}

const DEATHS: usize = 20;
/// Together larger than what is held back until it is whole.
const CLUSTERS: u64 = 20;
const NUMBER: &str = "x-number";
