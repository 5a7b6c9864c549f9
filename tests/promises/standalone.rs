//! A machine without istiod: a file of services and a certificate bring it into the mesh.

mod both;
mod calls;
mod certificates;
mod changes;
mod container;
mod explain;
mod failover;
mod file;
mod filters;
mod forwarder;
mod inbound;
mod laptop;
mod many;
mod refusals;
mod screens;
mod vault;

use std::{collections::BTreeMap, ops::Deref, path::Path};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    eastwest::{Member, Seen},
    service::Service,
    standalone::{Standalone, members},
    wait::wait_for,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{HAWSER, rig::said};

/// A machine with a file of services, and gateways into a mesh. Each test has its own.
pub(crate) struct Machine {
    pub(crate) it: Standalone,
    dir: TempDir,
}

impl Machine {
    /// One gateway, and behind it `reviews` (HTTP), `cart` (gRPC) and `store` (TCP).
    pub(crate) async fn new() -> Result<Self> {
        Self::with(&members(), 1).await
    }

    /// These behind so many gateways, of which the first is preferred.
    pub(crate) async fn with(members: &[Member], gateways: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let it = Standalone::new(Path::new(HAWSER), dir.path(), members, gateways).await?;
        Ok(Self { it, dir })
    }

    /// Where everything of the test is: the mesh in `mesh`, the machine in `root`.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The agent and its Envoy, when a request to the first HTTP service comes through.
    pub(crate) async fn serving(&self) -> Result<Agent> {
        let agent = self.vm.start().await?;
        self.answers("reviews").await.with_context(|| agent.tail())?;
        Ok(agent)
    }

    /// An HTTP service, as traffic is made for it.
    pub(crate) async fn service(&self, name: &str) -> Result<Service> {
        let member = self.eastwest.member(name)?;
        Ok(Service {
            name: member.name.clone(),
            namespace: member.namespace.clone(),
            service_account: member.name.clone(),
            vip: self.place(name).await?,
            endpoints: Vec::new(),
        })
    }

    /// Waits until a request to an HTTP service fails with this status and this text.
    pub(crate) async fn fails(&self, name: &str, status: u16, text: &str) -> Result<()> {
        wait_for("a failure", async || {
            let reply = self.get(name, "/fails").await?;
            ensure!(reply.status == status, "{} {}", reply.status, reply.body);
            ensure!(reply.body.contains(text), "{} {}", reply.status, reply.body);
            Ok(())
        })
        .await
    }

    /// Waits until a request fails because of the certificate that the workload has shown, which its
    /// sidecar is told.
    pub(crate) async fn unverified(&self, name: &str) -> Result<()> {
        let alerts = || {
            let told = |seen: &Seen| seen.why.as_ref().is_some_and(|why| why.contains("_ALERT_"));
            let seen = self.eastwest.seen()?;
            anyhow::Ok(seen.iter().filter(|seen| seen.member == name && told(seen)).count())
        };
        let before = alerts()?;
        wait_for("a certificate that is refused", async || {
            self.fails(name, 503, "").await?;
            ensure!(alerts()? > before, "it was another failure");
            Ok(())
        })
        .await
    }

    /// How many requests a workload has got so far.
    pub(crate) fn requests(&self, name: &str) -> Result<usize> {
        let seen = self.eastwest.seen()?;
        let its = seen.iter().filter(|seen| seen.kind == "request" && seen.member == name);
        Ok(its.count())
    }

    /// What the machine's Envoy has of listeners, clusters and routes, each with its version.
    pub(crate) async fn resources(&self) -> Result<BTreeMap<String, Value>> {
        let dump: Value = serde_json::from_str(&self.envoy("/config_dump").await?)?;
        let configs = dump["configs"].as_array().context("no configuration")?;
        let mut found = BTreeMap::new();
        for part in configs {
            for (key, all) in part.as_object().into_iter().flatten() {
                if key.starts_with("dynamic_") && key != "dynamic_active_secrets" {
                    found.insert(key.clone(), all.clone());
                }
            }
        }
        ensure!(!found.is_empty(), "nothing dynamic");
        Ok(found)
    }

    /// What the agent says of itself, every field.
    pub(crate) async fn status(&self) -> Result<Value> {
        let output = self.vm.hawser(&["status", "--json"]).await?;
        serde_json::from_slice(&output.stdout).with_context(|| said(&output))
    }

    /// Asks the admin interface of the machine's Envoy.
    pub(crate) async fn envoy(&self, path: &str) -> Result<String> {
        let admin = self.vm.status().await?.envoy.admin;
        let reply = hawser_harness::http1::call(admin, &http::Method::GET, path, &[]).await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
        Ok(reply.body)
    }
}

impl Deref for Machine {
    type Target = Standalone;

    fn deref(&self) -> &Standalone {
        &self.it
    }
}
