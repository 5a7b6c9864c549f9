//! A machine whose first address changes is registered anew under the next one.

use std::{ffi::OsStr, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::istiod::{Flavour, Seen};
use nix::{ifaddrs::getifaddrs, unistd::geteuid};

use super::{connected, entries, own_envoy};
use crate::{
    outages::watched::{Watched, delta},
    rig::{Rig, said},
};

/// Addresses that are nobody's.
const FIRST: &str = "198.51.100.7";
const SECOND: &str = "198.51.100.8";

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_told_another_address_registers_its_envoy_under_it_in_delta() -> Result<()>
{
    told(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_told_another_address_registers_its_envoy_under_it_in_sotw() -> Result<()>
{
    told(Flavour::SotW).await
}

/// Envoy has its first bootstrap all the time.
async fn told(flavour: Flavour) -> Result<()> {
    let rig = Rig::joined().await?;
    let istiod = &rig.mesh.istiod;
    istiod.grace(Duration::from_secs(1));
    let start = async |ip: &str| {
        rig.vm.start_with(&["--set", delta(flavour)], &[("INSTANCE_IP", ip)]).await
    };
    let mut agent = start(FIRST).await?;
    let _envoy = own_envoy(&rig).await?;
    entries(istiod, &[&entry(FIRST)]).await.with_context(|| agent.tail())?;

    let streams = istiod.seen().streams.len();
    agent.terminate().await?;
    let agent = start(SECOND).await?;

    let again = |seen: &Seen| connected(seen, streams).is_some();
    istiod.until("Envoy's next stream", again).await.with_context(|| agent.tail())?;
    // The old one goes when its grace is over.
    entries(istiod, &[&entry(SECOND)]).await.with_context(|| agent.tail())?;
    is_at(&istiod.seen(), streams, SECOND)?;
    ensure!(rig.request().await?.status == 200, "and Envoy serves on");
    Ok(())
}

/// The test below does it, in a network of its own: nothing of this machine's is touched.
#[test]
fn a_running_agent_registers_its_envoy_under_the_address_that_its_machine_gets() -> Result<()> {
    ensure!(geteuid().is_root(), "this test makes a network of its own and needs root");
    let own = std::env::current_exe().context("find this program")?;
    let inside = "registration::moving::inside_a_network_of_its_own";
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(&own);
    command.args([inside, "--exact", "--ignored", "--nocapture"].map(OsStr::new));
    let output = command.output().context("run unshare")?;
    let printed = said(&output);
    ensure!(output.status.success() && printed.contains("1 passed"), "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above, in a network of its own"]
async fn inside_a_network_of_its_own() -> Result<()> {
    let interfaces = getifaddrs()?.filter(|one| one.interface_name != "lo").count();
    ensure!(interfaces == 0, "this is a network that others use");
    ip("link set lo up")?;
    ip("link add first type veth peer name other")?;
    ip(&format!("addr add {FIRST}/32 dev first"))?;
    ip("link set first up")?;
    for flavour in [Flavour::Delta, Flavour::SotW] {
        moves(flavour).await.with_context(|| format!("{flavour:?}"))?;
    }
    Ok(())
}

/// From the first address to the second, and back.
async fn moves(flavour: Flavour) -> Result<()> {
    let watched = Watched::up(flavour, &[]).await?;
    let istiod = &watched.rig.mesh.istiod;
    istiod.grace(Duration::from_secs(1));
    for (from, to) in [(FIRST, SECOND), (SECOND, FIRST)] {
        entries(istiod, &[&entry(from)]).await.with_context(|| watched.agent.tail())?;
        let streams = istiod.seen().streams.len();

        ip(&format!("addr add {to}/32 dev first"))?;
        ip(&format!("addr del {from}/32 dev first"))?;

        let again = |seen: &Seen| connected(seen, streams).is_some();
        istiod.until("a stream", again).await.with_context(|| watched.agent.tail())?;
        entries(istiod, &[&entry(to)]).await.with_context(|| watched.agent.tail())?;
        is_at(&istiod.seen(), streams, to)?;
        watched.joined().await?;
        watched.noticed_nothing().await?;
    }
    watched.hears("after-the-move").await
}

fn entry(ip: &str) -> String {
    format!("vms/web-{ip}")
}

/// Node id and addresses of Envoy's newest stream say so, and nothing else.
fn is_at(seen: &Seen, before: usize, ip: &str) -> Result<()> {
    let newest = connected(seen, before).context("no stream of Envoy's")?;
    let stream = seen.streams.iter().find(|stream| stream.id == newest).context("no stream")?;
    ensure!(stream.node_id.split('~').nth(1) == Some(ip), "{}", stream.node_id);
    let ips = stream.metadata["INSTANCE_IPS"].as_str().context("no addresses")?;
    ensure!(ips.split(',').next() == Some(ip), "{ips}");
    Ok(())
}

/// Changes the network.
fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip").args(words.split(' ')).output().context("run ip")?;
    ensure!(output.status.success(), "ip {words}: {}", said(&output));
    Ok(())
}
