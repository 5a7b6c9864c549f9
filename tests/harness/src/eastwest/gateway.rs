//! A gateway: it routes by SNI, and opens nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::resources::{Filed, Given, cluster, json_log, listener, tcp_proxy};
use super::{ALPN, lines};
use crate::free;

/// One gateway, a real Envoy.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    filed: Filed,
}

/// A connection that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Passed {
    /// The name that was asked for in the handshake.
    pub sni: Option<String>,
    /// Envoy's flags, `NR` where nothing led on.
    pub flags: Option<String>,
    /// Where it went.
    pub to: Option<String>,
}

impl Gateway {
    /// Starts on a free port; SNIs, each with where it leads.
    pub(super) async fn start(dir: &Path, places: &[(String, SocketAddr)]) -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, free::port(Ipv4Addr::LOCALHOST.into())?).into();
        let given = given(address, dir, places);
        Ok(Self { address, filed: Filed::start(dir, given).await? })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it: whoever is connected is reset, whoever connects is refused.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<()> {
        self.filed.down().await
    }

    /// Starts it again, where it was and with what it had.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn again(&mut self) -> Result<()> {
        self.filed.up().await
    }

    /// The connections that have ended so far.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn passed(&self) -> Result<Vec<Passed>> {
        lines(&self.filed.dir().join(LOG))
    }

    /// How many connections it holds open, as it says itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn open(&self) -> Result<u64> {
        let envoy = self.filed.envoy().context("it is stopped")?;
        let stats = envoy.get("/stats?filter=^listener%5C.127.*downstream_cx_active").await?;
        let said = stats.body.lines().next().and_then(|line| line.rsplit_once(": "));
        Ok(said.context("it counts nothing")?.1.trim().parse()?)
    }

    pub(super) async fn lead_to(&mut self, places: &[(String, SocketAddr)]) -> Result<()> {
        self.filed.give(given(self.address, self.filed.dir(), places)).await
    }
}

fn given(address: SocketAddr, dir: &Path, places: &[(String, SocketAddr)]) -> Given {
    let chains: Vec<Value> = places.iter().map(|(sni, _)| chain(sni)).collect();
    let fields = json!({
        "sni": "%REQUESTED_SERVER_NAME%", "flags": "%RESPONSE_FLAGS%", "to": "%UPSTREAM_CLUSTER%",
    });
    let log = json_log(&dir.join(LOG), &fields);
    Given {
        clusters: places.iter().map(|(sni, addr)| cluster(sni, *addr)).collect(),
        listeners: vec![listener("auto_passthrough", address, &chains, &log)],
    }
}

/// What no chain matches, Envoy closes.
fn chain(sni: &str) -> Value {
    json!({
        "filter_chain_match": {"server_names": [sni], "application_protocols": ALPN},
        "filters": [tcp_proxy(sni)],
    })
}

const LOG: &str = "connections.log";
