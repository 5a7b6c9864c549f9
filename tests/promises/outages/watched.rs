//! A machine in the mesh with a real Envoy, and whether Envoy notices what happens to istiod.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use anyhow::{Context as _, Result, bail, ensure};
use hawser_harness::{
    agent::Agent,
    free, http1,
    istiod::{FakeIstiod, Flavour, SERVER_NAME},
    wait::wait_for,
};
use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use http::Method;
use serde_json::Value;

use crate::rig::Rig;

/// Of Envoy's stream to the agent: there is one, and it is never reset nor opened again.
const STREAM: &[&str] = &[
    "cluster.xds-grpc;.upstream_cx_total",
    "cluster.xds-grpc;.upstream_cx_destroy",
    "cluster.xds-grpc;.upstream_cx_connect_fail",
    "cluster.xds-grpc;.upstream_rq_total",
    "cluster.xds-grpc;.upstream_rq_rx_reset",
    "cluster.xds-grpc;.upstream_rq_tx_reset",
];

/// Of what Envoy has: nothing is lost, and nothing is built again.
const WORK: &[&str] = &[
    "listener_manager.listener_added",
    "listener_manager.listener_modified",
    "listener_manager.listener_in_place_updated",
    "listener_manager.listener_removed",
    "cluster_manager.cluster_added",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
];

/// Both, and what they were when all was well.
pub(crate) struct Watched {
    pub(crate) agent: Agent,
    pub(crate) rig: Rig,
    admin: SocketAddr,
    pid: Value,
    stream: Stats,
    work: Stats,
}

type Stats = BTreeMap<String, u64>;

/// What the agent has of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

/// The setting that makes Envoy ask in this form.
pub(crate) fn delta(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Delta => "xds.delta=true",
        Flavour::SotW => "xds.delta=false",
    }
}

/// The settings by which an agent knows these istiods, by their addresses.
pub(crate) fn towards(istiods: &[&FakeIstiod]) -> Vec<String> {
    let addresses: Vec<String> = istiods.iter().map(|one| one.addr().to_string()).collect();
    let addresses = addresses.join(",");
    vec![
        format!("istiod.address={addresses}"),
        format!("istiod.ca_address={addresses}"),
        format!("istiod.server_name={SERVER_NAME}"),
    ]
}

/// An address of this machine that nobody else has: a port of it is nobody's while istiod is down.
pub(crate) fn own_address() -> Result<Ipv4Addr> {
    match free::vip()?.ip() {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(ip) => bail!("{ip} is no IPv4 address"),
    }
}

impl Watched {
    /// A new machine, whose Envoy has what istiod has.
    pub(crate) async fn up(flavour: Flavour, settings: &[&str]) -> Result<Self> {
        Self::on(Rig::with_envoy().await?, flavour, settings).await
    }

    /// The same on a machine that there is.
    pub(crate) async fn on(rig: Rig, flavour: Flavour, settings: &[&str]) -> Result<Self> {
        let settings = [&[delta(flavour)], settings].concat();
        let flags: Vec<&str> = settings.iter().flat_map(|one| ["--set", *one]).collect();
        let agent = rig.vm.start_with(&flags, &[]).await?;
        rig.envoy_ready().await.with_context(|| agent.tail())?;
        let admin = rig.vm.status().await?.envoy.admin;
        let (pid, stream, work) = (Value::Null, Stats::new(), Stats::new());
        let mut watched = Self { agent, rig, admin, pid, stream, work };
        watched.look().await?;
        Ok(watched)
    }

    /// From now on, it is to stay as it is now.
    pub(crate) async fn look(&mut self) -> Result<()> {
        self.pid = self.status("/envoy/pid").await?;
        self.stream = self.stats(STREAM).await?;
        self.work = self.stats(WORK).await?;
        Ok(())
    }

    /// What the agent says of itself at a place.
    pub(crate) async fn status(&self, place: &str) -> Result<Value> {
        let status = self.rig.status().await?;
        status.pointer(place).cloned().with_context(|| format!("no {place} in {status}"))
    }

    /// Waits until Envoy's stream and the agent's own are joined to istiod, and what Envoy has is
    /// of today.
    pub(crate) async fn joined(&self) -> Result<()> {
        let joined = wait_for("both streams to be joined", async || {
            let status = self.rig.status().await?;
            let relay = &status["relay"];
            ensure!(relay["joined"] == 1 && is_fresh(relay), "{relay}");
            ensure!(status["istiod"]["connected"] == true, "{}", status["istiod"]);
            Ok(())
        });
        joined.await.with_context(|| self.agent.tail())
    }

    /// Waits until Envoy has something that istiod knows only from now on.
    pub(crate) async fn hears(&self, name: &str) -> Result<()> {
        let cluster = Cluster { name: name.to_owned(), ..Cluster::default() };
        self.rig.mesh.istiod.world().change(|state| state.put(&cluster));
        self.has(name).await
    }

    /// Waits until Envoy has a cluster of that name.
    pub(crate) async fn has(&self, name: &str) -> Result<()> {
        let has = wait_for("Envoy to have a cluster", async || {
            let clusters = self.ask("/clusters").await?;
            ensure!(clusters.contains(&format!("{name}::")), "not {name}");
            Ok(())
        });
        has.await.with_context(|| self.agent.tail())
    }

    /// Envoy has noticed nothing: it is the same one, on the same stream, and has built nothing.
    pub(crate) async fn noticed_nothing(&self) -> Result<()> {
        self.stream_stays().await?;
        let work = self.stats(WORK).await?;
        ensure!(work == self.work, "{:?} became {work:?}\n{}", self.work, self.agent.tail());
        Ok(())
    }

    /// Envoy is the same one, on the same stream, and has lost nothing of what it had.
    pub(crate) async fn lost_nothing(&self) -> Result<()> {
        self.stream_stays().await?;
        let work = self.stats(WORK).await?;
        for name in WORK.iter().filter(|name| name.ends_with("removed")) {
            ensure!(work.get(*name) == self.work.get(*name), "{name}: {work:?}");
        }
        ensure!(self.rig.request().await?.status == 200, "and it serves on");
        Ok(())
    }

    async fn stream_stays(&self) -> Result<()> {
        let pid = self.status("/envoy/pid").await?;
        ensure!(pid == self.pid, "Envoy {} became {pid}", self.pid);
        let stream = self.stats(STREAM).await?;
        ensure!(
            stream == self.stream,
            "{:?} became {stream:?}\n{}",
            self.stream,
            self.agent.tail()
        );
        Ok(())
    }

    async fn stats(&self, names: &[&str]) -> Result<Stats> {
        let text = self.ask("/stats").await?;
        let all: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.rsplit_once(": ")).collect();
        let stat = |name: &&str| {
            let value = all.get(name).with_context(|| format!("Envoy has no {name}"))?;
            Ok(((*name).to_owned(), value.parse()?))
        };
        names.iter().map(stat).collect()
    }

    async fn ask(&self, path: &str) -> Result<String> {
        Ok(http1::call(self.admin, &Method::GET, path, &[]).await?.body)
    }

    /// What the agent has of the kernel's, while it is joined.
    pub(crate) async fn footprint(&self) -> Result<Footprint> {
        self.joined().await?;
        let count = |what: &str| -> Result<usize> {
            Ok(fs::read_dir(format!("/proc/{}/{what}", self.agent.pid()))?.count())
        };
        Ok(Footprint { descriptors: count("fd")?, threads: count("task")? })
    }

    /// How many lines its log has.
    pub(crate) fn lines(&self) -> Result<usize> {
        let log = fs::read(self.agent.log()).context("read the log")?;
        Ok(log.iter().filter(|byte| **byte == b'\n').count())
    }
}

/// Whether what Envoy has is of today, but for what it refuses.
pub(crate) fn is_fresh(relay: &Value) -> bool {
    let types = relay["types"].as_object();
    let refuses = types.is_some_and(|types| types.values().any(|seen| seen["refuses"] == true));
    relay["stale"].is_null() || refuses
}
