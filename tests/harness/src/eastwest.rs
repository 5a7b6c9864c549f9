//! An east-west gateway of the mesh and what is behind it: real Envoys, as Istio sets them up.
//!
//! ```text
//!  a machine ──TLS, SNI outbound_.PORT_.SUBSET_.HOST──▶ gateway ──as it is──▶ sidecar ──▶ program
//! ```
//!
//! - A gateway opens no TLS. It looks at SNI and ALPN, and passes on what is for a port that it
//!   knows and says one of Istio's five protocols; whoever says anything else is closed.
//! - A sidecar demands a certificate of the mesh, tells its program whose it saw, refuses whom its
//!   policy does not name, and for TCP begins to exchange metadata with whoever offers that.
//! - All of it can be changed while it runs: certificates, policies, which gateway is up.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use self::gateway::Gateway;
use self::programs::Programs;
use self::sidecars::Sidecars;
use crate::ca::{TestCa, spiffe_id};
use crate::vm::put;

pub mod cart;
pub mod gateway;
pub mod programs;
mod resources;
mod sidecars;

/// What a gateway lets pass, and a sidecar takes for the mesh's.
pub const ALPN: [&str; 5] =
    ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

/// One port of one service, with a workload behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The port of the service.
    pub port: u16,
    /// The subset; empty for all.
    pub subset: String,
    /// What it speaks.
    pub speaks: Speaks,
    /// The SPIFFE ids that may call; anybody of the mesh if none is said.
    pub callers: Option<Vec<String>>,
    /// The certificate that it shows.
    pub shows: Shows,
    /// Whether it ends each connection with the first answer, so that the next request needs
    /// another handshake.
    pub brief: bool,
}

/// What a program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1: every request is answered with a [`crate::workload::Answer`].
    Http,
    /// gRPC: the service of [`cart`].
    Grpc,
    /// Octets: what comes goes back.
    Tcp,
}

/// What a workload shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// The certificate of its service account, which is called as it is.
    Its,
    /// That of another service account.
    Of(String),
    /// One that a stranger has signed.
    Strangers,
    /// One that ended an hour ago.
    Ended,
}

/// What a sidecar has seen: one end of a request, or of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(default)]
pub struct Seen {
    /// `request`, or `connection` with what became of it.
    pub kind: String,
    /// For which workload.
    pub member: String,
    /// The SPIFFE id of who called.
    pub caller: Option<String>,
    /// The name that was asked for in the handshake.
    pub sni: Option<String>,
    /// Status of the answer, 0 if it was not HTTP.
    pub code: u16,
    /// Why the handshake failed, or the connection ended.
    pub why: Option<String>,
}

/// Gateways and workloads; all of it ends when it is dropped.
#[derive(Debug)]
pub struct EastWest {
    ca: TestCa,
    members: Vec<Member>,
    gateways: Vec<Gateway>,
    sidecars: Sidecars,
    _programs: Programs,
}

impl Member {
    /// A workload of a service account with the name of its service, which anybody of the mesh may
    /// call.
    #[must_use]
    pub fn new(name: &str, namespace: &str, port: u16, speaks: Speaks) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            port,
            subset: String::new(),
            speaks,
            callers: None,
            shows: Shows::Its,
            brief: false,
        }
    }

    /// The name of its service in the mesh.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }

    /// Who it should be.
    #[must_use]
    pub fn identity(&self) -> String {
        spiffe_id(&self.namespace, &self.name)
    }

    /// What leads to it through a gateway.
    #[must_use]
    pub fn sni(&self) -> String {
        format!("outbound_.{}_.{}_.{}", self.port, self.subset, self.host())
    }

    /// By which it is known here.
    fn key(&self) -> String {
        format!("{}-{}-{}-{}", self.name, self.namespace, self.port, self.subset)
    }
}

impl EastWest {
    /// Starts so many gateways, each of which leads to all of these.
    ///
    /// # Errors
    /// When an Envoy cannot be started, or refuses what it is given.
    pub async fn start(
        ca: &TestCa,
        dir: &Path,
        members: &[Member],
        gateways: usize,
    ) -> Result<Self> {
        let programs = Programs::start().await?;
        let place = dir.join("sidecars");
        let sidecars = Sidecars::start(ca, &place, &programs, members).await?;
        let mut started = Vec::new();
        for number in 0..gateways {
            let place = dir.join(format!("gateway-{number}"));
            started.push(Gateway::start(&place, &sidecars.places(members)?).await?);
        }
        Ok(Self {
            ca: ca.clone(),
            members: members.to_vec(),
            gateways: started,
            sidecars,
            _programs: programs,
        })
    }

    /// What is behind the gateways.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn member(&self, name: &str) -> Result<&Member> {
        let found = self.members.iter().find(|member| member.name == name);
        found.with_context(|| format!("no workload {name}"))
    }

    /// The gateways.
    #[must_use]
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// One of the gateways, to be stopped and started.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn gateway(&mut self, number: usize) -> Result<&mut Gateway> {
        self.gateways.get_mut(number).with_context(|| format!("no gateway {number}"))
    }

    /// Where the first gateway listens.
    ///
    /// # Errors
    /// When there is none.
    pub fn address(&self) -> Result<SocketAddr> {
        self.gateways.first().map(Gateway::address).context("no gateway")
    }

    /// Changes what is behind the gateways, and waits until every Envoy has it.
    ///
    /// # Errors
    /// When an Envoy refuses it.
    pub async fn change(&mut self, change: impl FnOnce(&mut Vec<Member>)) -> Result<()> {
        change(&mut self.members);
        self.sidecars.become_these(&self.ca, &self.members).await?;
        let places = self.sidecars.places(&self.members)?;
        for gateway in &mut self.gateways {
            gateway.lead_to(&places).await?;
        }
        Ok(())
    }

    /// Changes one workload.
    ///
    /// # Errors
    /// As above, and when there is none of this name.
    pub async fn change_one(&mut self, name: &str, change: impl FnOnce(&mut Member)) -> Result<()> {
        self.member(name)?;
        self.change(|members| {
            let found = members.iter_mut().find(|member| member.name == name);
            found.map(change).unwrap_or_default();
        })
        .await
    }

    /// Gives every workload a new certificate and the roots of this moment.
    ///
    /// # Errors
    /// When a certificate cannot be made, or an Envoy does not take it.
    pub async fn rotate(&mut self) -> Result<()> {
        self.sidecars.renew(&self.ca, &self.members).await
    }

    /// What the sidecars have seen so far.
    ///
    /// # Errors
    /// When their log cannot be read.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        lines(&self.sidecars.log())
    }
}

/// A log of JSON lines; the last may not be whole yet.
fn lines<T: serde::de::DeserializeOwned>(log: &Path) -> Result<Vec<T>> {
    let text = match fs::read_to_string(log) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", log.display())),
    };
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let read = whole.lines().map(|line| {
        serde_json::from_str(line).with_context(|| format!("{}: {line}", log.display()))
    });
    read.collect()
}

/// Envoy looks again when a file is moved to the place.
fn put_json(path: &Path, value: &Value) -> Result<()> {
    put(path, 0o600, &serde_json::to_string_pretty(value).context("write JSON")?)
}

/// Where an Envoy is, with what it is given and what it writes.
fn made(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir.to_owned())
}
