//! What the operator of a machine has probed counts as what the mesh does.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::modules::FakeModules;
use serde_json::json;

use super::{
    servers::{Grpc, Port},
    started, unprobed, unwell, well,
};
use crate::rig::Rig;

const PATH: &str = "/ready";
/// More probes than a test lasts.
const FOR_LONG: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_probe_of_the_operators_is_heeded_by_a_mesh_that_has_none() -> Result<()> {
    let rig = unprobed().await?;
    let page = FakeModules::start().await?;
    page.serve(PATH, "fine");
    let (grpc, mut port) = (Grpc::start().await?, Port::open().await?);
    let flag = rig.file("fine");
    std::fs::File::create(&flag)?;
    // gRPC servers are asked at the machine's own address.
    let settings = [
        &format!("health.http=http://{}{PATH}", page.addr()),
        &format!("health.tcp={}", port.address),
        &format!("health.grpc={}/shop.Cart", grpc.port),
        &format!("health.exec=/usr/bin/test -e {}", flag.display()),
        "health.period=200ms",
        "node.ip=127.0.0.1",
    ];
    let agent = started(&rig, &settings).await?;
    well(&rig).await.with_context(|| agent.tail())?;
    let entry = rig.mesh.istiod.seen().registry.entries.into_values().next().context("entry")?;
    ensure!(entry.health_checked, "istiod does not know that it is to heed reports: {entry:?}");

    page.faults(|faults| faults.statuses = vec![503; FOR_LONG].into());
    unwell(&rig, "answers 503").await.with_context(|| agent.tail())?;
    page.faults(|faults| faults.statuses.clear());
    well(&rig).await.with_context(|| agent.tail())?;

    port.takes(false).await?;
    unwell(&rig, "Connection refused").await.with_context(|| agent.tail())?;
    port.takes(true).await?;
    well(&rig).await.with_context(|| agent.tail())?;

    grpc.serves(false);
    unwell(&rig, "answers NOT_SERVING for \"shop.Cart\"").await.with_context(|| agent.tail())?;
    grpc.serves(true);
    well(&rig).await.with_context(|| agent.tail())?;

    std::fs::remove_file(&flag)?;
    unwell(&rig, "/usr/bin/test ended with").await.with_context(|| agent.tail())?;
    std::fs::File::create(&flag)?;
    well(&rig).await.with_context(|| agent.tail())?;
    let told = rig.mesh.istiod.seen().health.len();
    ensure!((9..=10).contains(&told), "transitions only: {:?}", rig.mesh.istiod.seen().health);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_well_when_the_mesh_and_its_operator_find_it_so() -> Result<()> {
    let (mesh, operator) = (FakeModules::start().await?, FakeModules::start().await?);
    mesh.serve(PATH, "fine");
    operator.serve(PATH, "fine");
    let mut rig = Rig::new().await?;
    let addr = mesh.addr();
    let page = json!({"host": addr.ip().to_string(), "port": addr.port(), "path": PATH});
    rig.mesh.bundle.readiness_probe = Some(json!({"httpGet": page, "periodSeconds": 1}));
    rig.mesh.bundle.write(&rig.mesh.bundle_dir)?;
    rig.vm.join(&rig.mesh.bundle_dir).await?;
    rig.bring_envoy().await?;
    let own = format!("health.http=http://{}{PATH}", operator.addr());
    let agent = started(&rig, &[&own, "health.period=200ms"]).await?;
    well(&rig).await.with_context(|| agent.tail())?;
    let bootstrap = std::fs::read_to_string(rig.file("run/hawser/envoy.json"))?;
    ensure!(bootstrap.contains("httpGet"), "what the mesh said is passed on as it was");

    for workload in [&mesh, &operator] {
        workload.faults(|faults| faults.statuses = vec![503; FOR_LONG].into());
        unwell(&rig, &workload.addr().to_string()).await.with_context(|| agent.tail())?;
        workload.faults(|faults| faults.statuses.clear());
        well(&rig).await.with_context(|| agent.tail())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_probed_istiod_is_told_of_envoy_if_that_is_wanted() -> Result<()> {
    let rig = unprobed().await?;
    let mut agent = started(&rig, &[]).await?;
    let entry = rig.mesh.istiod.seen().registry.entries.into_values().next().context("entry")?;
    ensure!(!entry.health_checked && entry.health.is_none(), "{entry:?}");
    agent.terminate().await?;
    let gone = |seen: &hawser_harness::istiod::Seen| seen.registry.entries.is_empty();
    rig.mesh.istiod.grace(std::time::Duration::ZERO);
    rig.mesh.istiod.until("istiod to forget the machine", gone).await?;

    let agent = started(&rig, &["health.report=true", "health.period=200ms"]).await?;

    well(&rig).await.with_context(|| agent.tail())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_cannot_be_is_a_mistake_of_the_configuration() -> Result<()> {
    let rig = Rig::joined().await?;
    let cases = [
        ("health.units=a b", "units such as nginx.service"),
        ("health.http=localhost:8080", "addresses such as http://localhost:8080/ready"),
        ("health.tcp=5432", "host:port"),
        ("health.grpc=http", "PORT or PORT/SERVICE"),
        ("health.exec=check", "an absolute path and arguments"),
        ("health.failures=0", "a number from 1 to 1000"),
        ("health.period=0s", "a duration"),
    ];
    for (setting, expected) in cases {
        let output = rig.vm.hawser(&["check", "--set", setting]).await?;
        let said = crate::rig::said(&output);
        ensure!(output.status.code() == Some(78), "{setting}: {said}");
        ensure!(said.contains(expected), "{setting}: {said}");
    }
    Ok(())
}
