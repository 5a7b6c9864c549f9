//! The last versions that Envoy took can be listed and compared, with an agent and without.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::wait::wait_for;
use hawser_proto::{
    envoy::{envoy::config::cluster::v3::Cluster, google::protobuf::Duration},
    type_url,
};
use serde_json::Value;

use crate::rig::{Rig, said};

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_took_is_listed_and_compared_in_delta() -> Result<()> {
    listed_and_compared("xds.delta=true").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_took_is_listed_and_compared_in_sotw() -> Result<()> {
    listed_and_compared("xds.delta=false").await
}

async fn listed_and_compared(flavour: &str) -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let mut agent = rig.vm.start_with(&["--set", flavour], &[]).await?;
    rig.envoy_ready().await?;
    let istiod = &rig.mesh.istiod;

    istiod.world().change(|state| state.put(&cluster("first", 1)));
    newest(&rig, "first").await?;
    istiod.world().change(|state| {
        state.put(&cluster("first", 2));
        state.put(&cluster("second", 1));
    });
    newest(&rig, "second").await?;

    let diff = shown(&rig, &["cds", "--diff"]).await?;
    ensure!(diff.contains("+ second\n~ first\n"), "{diff}");
    ensure!(diff.contains("    - 4.1: 1\n    + 4.1: 2\n"), "its connect_timeout: {diff}");

    istiod.world().change(|state| state.remove(type_url::CLUSTER, "second"));
    wait_for("the removal", async || {
        let diff = shown(&rig, &["cds", "--diff"]).await?;
        ensure!(diff == "- second\n", "{diff}");
        Ok(())
    })
    .await?;

    agent.terminate().await?;
    let table: Value = serde_json::from_str(&shown(&rig, &["--json"]).await?)?;
    let types = table[0]["types"].as_array().context("no types")?;
    let clusters = types.iter().find(|of| of["type"] == type_url::CLUSTER).context("no CDS")?;
    let versions = clusters["versions"].as_array().context("no versions")?;
    let [.., before, last] = versions.as_slice() else { anyhow::bail!("{table}") };
    assert_eq!((&last["added"], &last["removed"]), (&0.into(), &1.into()), "{clusters}");
    let number = before["number"].to_string();
    let former = shown(&rig, &["cds", "--version", &number]).await?;
    ensure!(former.contains("second"), "{former}");
    let now = shown(&rig, &["cds"]).await?;
    ensure!(now.contains("first") && !now.contains("second"), "{now}");

    let unknown = rig.vm.hawser(&["xds", "show", "cds", "--version", "999"]).await?;
    assert_eq!(unknown.status.code(), Some(1));
    ensure!(said(&unknown).contains("version 999 is not kept; there are"), "{}", said(&unknown));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn before_envoy_has_taken_anything_that_is_said() -> Result<()> {
    let rig = Rig::joined().await?;

    let nothing = rig.vm.hawser(&["xds", "show"]).await?;

    assert_eq!(nothing.status.code(), Some(1));
    ensure!(
        said(&nothing).contains("nothing is there before Envoy has taken"),
        "{}",
        said(&nothing)
    );
    Ok(())
}

fn cluster(name: &str, seconds: i64) -> Cluster {
    Cluster {
        name: name.to_owned(),
        connect_timeout: Some(Duration { seconds, nanos: 0 }),
        ..Cluster::default()
    }
}

/// Waits until the newest version of clusters has this one.
async fn newest(rig: &Rig, name: &str) -> Result<()> {
    wait_for("a version with the cluster", async || {
        let listed = shown(rig, &["cds"]).await?;
        ensure!(listed.contains(&format!("  {name}\n")), "{listed}");
        Ok(())
    })
    .await
}

async fn shown(rig: &Rig, arguments: &[&str]) -> Result<String> {
    let output = rig.vm.hawser(&[&["xds", "show"], arguments].concat()).await?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(String::from_utf8(output.stdout)?)
}
