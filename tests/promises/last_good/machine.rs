//! What there is to ask a machine, and to do to it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{http1, istiod::Reach, wait::wait_for};
use hawser_proto::type_url::CLUSTER;
use http::Method;

use crate::{
    outages::watched::Watched,
    rig::{Rig, said},
};

/// The machine is switched off, and then istiod.
pub(crate) async fn switched_off(mut watched: Watched) -> Result<Rig> {
    watched.agent.terminate().await?;
    watched.rig.mesh.istiod.reach(Reach::Down).await?;
    Ok(watched.rig)
}

/// Waits until at least so many resources that Envoy took are kept, and nothing is on its way. What
/// it does not want any more may be among them.
pub(crate) async fn has_taken(rig: &Rig, resources: u64) -> Result<()> {
    wait_for("what Envoy took to be kept", async || {
        let relay = rig.status().await?["relay"].take();
        let (kept, types) = (&relay["kept"], relay["types"].as_object().context("no types")?);
        ensure!(kept["resources"].as_u64() >= Some(resources), "{kept}");
        ensure!(kept["trouble"].is_null(), "{kept}");
        for (type_url, seen) in types {
            let version = |of: &str| &seen[of]["version"];
            ensure!(version("sent") == version("accepted"), "{type_url}: {seen}");
        }
        Ok(())
    })
    .await
}

/// Envoy has asked, and nobody has anything for it, and nobody says so.
pub(crate) async fn waits(rig: &Rig) -> Result<()> {
    wait_for("Envoy to ask for its configuration", async || {
        let relay = rig.status().await?["relay"].take();
        ensure!(relay["streams"] == 1 && relay["attempts"].as_u64() > Some(1), "{relay}");
        ensure!(relay["types"][CLUSTER].is_object(), "{relay}");
        Ok(())
    })
    .await?;
    let relay = rig.status().await?["relay"].take();
    ensure!(relay["stale"].is_null() && relay["joined"] == 0, "{relay}");
    ensure!(relay["kept"]["resources"] == 0, "{relay}");
    ensure!(relay["types"][CLUSTER]["responses"] == 0, "{relay}");
    ensure!(relay["trouble"].is_string(), "{relay}");
    let told = said_by_status(rig).await?;
    // Names are kept by themselves.
    ensure!(!told.contains("stale: works"), "{told}");
    ensure!(metric(rig, "hawser_xds_stale_seconds").await? < f64::EPSILON, "an age of nothing");
    let ready = ask(rig, "/ready").await?;
    ensure!(ready.trim() != "LIVE", "Envoy is ready without configuration");
    Ok(())
}

/// What `hawser status` prints for people, wherever a line of it ends.
pub(crate) async fn said_by_status(rig: &Rig) -> Result<String> {
    let told = said(&rig.vm.hawser(&["status"]).await?);
    Ok(told.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// One of the agent's own metrics.
pub(crate) async fn metric(rig: &Rig, name: &str) -> Result<f64> {
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let port: SocketAddr = settings["status"]["listen"].as_str().context("no port")?.parse()?;
    let text = http1::call(port, &Method::GET, "/stats/prometheus", &[]).await?.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

/// One of Envoy's.
pub(crate) async fn stat(rig: &Rig, name: &str) -> Result<u64> {
    let text = ask(rig, "/stats").await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Ok(line.with_context(|| format!("Envoy has no {name}"))?.parse()?)
}

/// What Envoy says on its admin interface.
pub(crate) async fn ask(rig: &Rig, path: &str) -> Result<String> {
    let admin = rig.vm.status().await?.envoy.admin;
    Ok(http1::call(admin, &Method::GET, path, &[]).await?.body)
}
