//! An Envoy that reads its configuration from files, and what several parts of it look like.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{made, put_json};
use crate::envoy::Envoy;
use crate::free;
use crate::wait::wait_for;

/// A running Envoy with the files that it follows.
#[derive(Debug)]
pub(super) struct Filed {
    dir: PathBuf,
    admin: SocketAddr,
    envoy: Option<Envoy>,
    version: u64,
}

impl Filed {
    /// Starts it with these clusters and listeners.
    pub(super) async fn start(dir: &Path, given: Given) -> Result<Self> {
        let admin = (Ipv4Addr::LOCALHOST, free::port(Ipv4Addr::LOCALHOST.into())?).into();
        let mut filed = Self { dir: made(dir)?, admin, envoy: None, version: 0 };
        filed.write(&given)?;
        filed.up().await?;
        Ok(filed)
    }

    /// Starts it again with what it had.
    pub(super) async fn up(&mut self) -> Result<()> {
        let source = |name: &str| {
            let path = self.dir.join(name);
            json!({"path_config_source": {"path": path}, "initial_fetch_timeout": "0s"})
        };
        let bootstrap = json!({
            "admin": {"address": address(self.admin)},
            "node": {"id": "eastwest", "cluster": "eastwest"},
            "dynamic_resources": {"cds_config": source(CLUSTERS), "lds_config": source(LISTENERS)},
        });
        let args = ["--file-flush-interval-msec", "20", "--drain-time-s", "1"];
        self.envoy = Some(Envoy::start_with(&bootstrap, self.admin, &self.dir, &args).await?);
        self.settled().await
    }

    /// Kills it, and waits until it is gone.
    pub(super) async fn down(&mut self) -> Result<()> {
        match self.envoy.take() {
            Some(envoy) => envoy.kill().await,
            None => Ok(()),
        }
    }

    pub(super) fn envoy(&self) -> Option<&Envoy> {
        self.envoy.as_ref()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives it others, and waits until it has them.
    pub(super) async fn give(&mut self, given: Given) -> Result<()> {
        self.write(&given)?;
        self.settled().await
    }

    /// Clusters go first: a listener may lead to a new one.
    fn write(&mut self, given: &Given) -> Result<()> {
        self.version += 1;
        let version = self.version.to_string();
        for (name, resources) in [(CLUSTERS, &given.clusters), (LISTENERS, &given.listeners)] {
            let all = json!({"version_info": version, "resources": resources});
            put_json(&self.dir.join(name), &all)?;
        }
        Ok(())
    }

    async fn settled(&self) -> Result<()> {
        let Some(envoy) = &self.envoy else { return Ok(()) };
        let version = self.version;
        wait_for("Envoy to take its files", async || {
            let ready = envoy.get("/ready").await?;
            ensure!(ready.status == 200, "not ready: {}", ready.body);
            let stats = envoy.get("/stats?filter=(lds|cds)%5C.(version_text|update_rej)").await?;
            let told = stats.body.matches(&format!("version_text: \"{version}\"")).count();
            ensure!(told == 2, "see {}: {}", self.dir.join("envoy.log").display(), stats.body);
            Ok(())
        })
        .await
    }
}

/// All that an Envoy is given.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) clusters: Vec<Value>,
    pub(super) listeners: Vec<Value>,
}

pub(super) fn address(addr: SocketAddr) -> Value {
    json!({"socket_address": {"address": addr.ip(), "port_value": addr.port()}})
}

/// A cluster of one address.
pub(super) fn cluster(name: &str, addr: SocketAddr) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(addr)}}]}],
        },
    })
}

/// A listener that looks into handshakes, with a log of its connections.
pub(super) fn listener(name: &str, addr: SocketAddr, chains: &[Value], log: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": address(addr),
        "listener_filters": [named(
            "envoy.filters.listener.tls_inspector",
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            json!({}),
        )],
        "filter_chains": chains,
        "access_log": [log],
    })
}

/// A filter, or anything else that has a name and a typed configuration.
pub(super) fn named(name: &str, kind: &str, mut config: Value) -> Value {
    if let Some(fields) = config.as_object_mut() {
        fields.insert("@type".to_owned(), json!(format!("type.googleapis.com/{kind}")));
    }
    json!({"name": name, "typed_config": config})
}

pub(super) fn tcp_proxy(cluster: &str) -> Value {
    named(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        json!({"stat_prefix": cluster, "cluster": cluster}),
    )
}

/// A log of JSON lines.
pub(super) fn json_log(path: &Path, fields: &Value) -> Value {
    named(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        json!({"path": path, "log_format": {"json_format": fields}}),
    )
}

const CLUSTERS: &str = "clusters.json";
const LISTENERS: &str = "listeners.json";
