//! What every round has in common: what it is told, how it ends, what it shows.

use std::{fs, path::Path};

use anyhow::Result;
use hawser_harness::agent::hawser;
use serde_json::json;

use super::{Site, doctor, typed};
use crate::{
    HAWSER,
    rig::{Rig, said, text},
};

#[tokio::test]
async fn a_name_that_is_no_check_is_told_and_wrong_usage() -> Result<()> {
    let output = hawser(Path::new(HAWSER), &["doctor", "--only", "clok"], &[]).await?;

    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("clok is no check"), "{}", said(&output));
    Ok(())
}

#[tokio::test]
async fn a_machine_that_has_not_joined_is_told_to_join_and_nothing_else_is_wrong() -> Result<()> {
    let site = Site::new()?;

    let output = typed(site.root(), &["--offline"]).await?;

    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("first: ") && last.contains("hawser join BUNDLE"), "{text}");
    assert_eq!(text.matches("FAILED").count(), 1, "{text}");
    assert!(text.contains("\nistiod       not looked at: "), "{text}");
    Ok(())
}

#[tokio::test]
async fn what_is_in_order_is_a_count_and_shown_when_asked_for() -> Result<()> {
    let site = Site::new()?;

    let short = said(&typed(site.root(), &["--only", "machine"]).await?);
    assert_eq!(short.lines().count(), 4, "{short}");
    assert!(short.starts_with("machine      14 of 14 ok\n"), "{short}");
    assert!(short.ends_with("\n14 ok\nnothing is wrong\n"), "{short}");

    let long = said(&typed(site.root(), &["--only", "machine", "-v"]).await?);
    assert!(long.contains("  ok     kernel: Linux 6.12.43"), "{long}");
    Ok(())
}

#[tokio::test]
async fn a_fault_is_shown_with_evidence_cause_and_remedy_and_the_first_is_the_last_line()
-> Result<()> {
    let site = Site::new()?;
    site.put("proc/sys/kernel/osrelease", "3.10.0-1160.el7\n")?;
    site.program("usr/bin/timedatectl", "echo NTP=no; echo NTPSynchronized=no")?;

    let output = typed(site.root(), &["--only", "kernel,ntp"]).await?;

    let expected = "\
machine      0 of 2 ok
  watch  ntp: it is not synchronized
         because no time service is on; certificates are judged by the clock
         do      `timedatectl set-ntp true`, then `timedatectl` until it is synchronized
  FAILED kernel: Linux 3.10.0-1160.el7, older than 4.18
         because its nf_tables lacks what the traffic rules need
         do      boot a newer kernel, or go without redirection: `intercept.enabled = false` in \
                    /etc/hawser/hawser.toml

1 failed, 1 to watch
first: boot a newer kernel, or go without redirection: `intercept.enabled = false` in \
                    /etc/hawser/hawser.toml
";
    assert_eq!(said(&output), expected);
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[tokio::test]
async fn offline_nobody_is_asked_over_the_network() -> Result<()> {
    let rig = Rig::joined().await?;
    let before = rig.mesh.istiod.seen().connected();

    let report = doctor(rig.vm.root(), &["--offline", "--only", "istiod"]).await?;

    let offline = "not looked at: --offline";
    report.seen("istiod-resolves")?.says("unknown", &[offline])?;
    report.seen("authorization")?.says("unknown", &[offline])?;
    assert_eq!(report.exit, Some(0));
    assert_eq!(rig.mesh.istiod.seen().connected(), before);
    Ok(())
}

#[tokio::test]
async fn a_bundle_is_looked_at_before_the_machine_joins_with_it_and_nothing_is_left_behind()
-> Result<()> {
    let rig = Rig::new().await?;
    let tar = rig.file("bundle.tar");
    rig.mesh.bundle.write_tar(&tar)?;
    super::healthy(rig.vm.root())?;
    let before = tree(rig.vm.root())?;

    for bundle in [&rig.mesh.bundle_dir, &tar] {
        let only = ["--preflight", text(bundle)?, "--only", "machine,credentials,istiod"];
        let report = doctor(rig.vm.root(), &only).await?;

        assert_eq!(report.json["summary"]["failed"], 0, "{:#}", report.json);
        report.seen("joined")?.says("ok", &[text(bundle)?])?;
        report.seen("token")?.says("ok", &[&format!("{}/istio-token", text(bundle)?)])?;
        report.seen("authorization")?.says("ok", &["it believes the token"])?;
        assert!(report.seen("certificate").is_err(), "it has no certificate yet");
        assert!(report.seen("registration").is_err());
        assert_eq!(report.exit, Some(0));
    }

    assert_eq!(tree(rig.vm.root())?, before);
    let entries = rig.mesh.istiod.seen().streams.len();
    assert_eq!(entries, 0, "nobody was registered");
    Ok(())
}

#[tokio::test]
async fn a_machine_in_the_mesh_is_left_in_peace() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    super::healthy(rig.vm.root())?;
    let _agent = rig.serving().await?;
    rig.names_known().await?;

    let report = doctor(rig.vm.root(), &[]).await?;

    let wrong = report.all()?.into_iter().filter(|seen| {
        let bad = seen.0["result"] == "failed" || seen.0["result"] == "warning";
        // What stands in its resolv.conf is nobody, and nothing redirects here: a booted machine
        // has all of it.
        bad && seen.0["name"] != "nameservers" && seen.0["group"] != "rules"
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_bundle_is_told_as_join_tells_it() -> Result<()> {
    let site = Site::new()?;
    site.put("bundle/cluster.env", "")?;
    let bundle = site.file("bundle");

    let output = typed(site.root(), &["--preflight", text(&bundle)?]).await?;

    assert_eq!(output.status.code(), Some(78));
    assert!(said(&output).contains("istio-token: missing"), "{}", said(&output));
    Ok(())
}

#[tokio::test]
async fn nothing_secret_is_in_it_and_nothing_is_changed() -> Result<()> {
    let rig = Rig::joined().await?;
    super::healthy(rig.vm.root())?;
    let agent = rig.vm.start().await?;
    drop(agent);
    let before = tree(rig.vm.root())?;

    let report = doctor(rig.vm.root(), &[]).await?;

    let all = report.json.to_string();
    assert!(!all.contains(rig.mesh.bundle.token.trim()), "the token is in it");
    assert!(!all.contains("PRIVATE KEY"), "a key is in it");
    assert_eq!(tree(rig.vm.root())?, before);
    Ok(())
}

#[tokio::test]
async fn scripts_get_an_object_that_fits_its_schema() -> Result<()> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/docs/doctor.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&fs::read_to_string(schema)?)?;
    let site = Site::new()?;
    site.put("proc/sys/kernel/osrelease", "3.10.0-1160.el7\n")?;

    let report = doctor(site.root(), &[]).await?.json;

    let fits = |value: &serde_json::Value, schema: &serde_json::Value| {
        let known = schema["properties"].as_object().into_iter().flat_map(|all| all.keys());
        let known: Vec<&String> = known.collect();
        let object = value.as_object().into_iter().flat_map(|all| all.keys());
        let unknown: Vec<&String> = object.filter(|key| !known.contains(key)).collect();
        assert!(unknown.is_empty(), "{unknown:?} is not in the schema");
        for key in schema["required"].as_array().into_iter().flatten() {
            let key = key.as_str().unwrap_or_default();
            assert!(value.get(key).is_some(), "there is no {key} in {value:#}");
        }
    };
    fits(&report, &schema);
    fits(&report["summary"], &schema["properties"]["summary"]);
    let check = &schema["properties"]["checks"]["items"];
    for seen in report["checks"].as_array().into_iter().flatten() {
        fits(seen, check);
        let results = check["properties"]["result"]["enum"].as_array().into_iter().flatten();
        assert!(results.into_iter().any(|known| *known == seen["result"]), "{seen:#}");
    }
    assert_eq!(
        report["first"],
        json!(
            report["checks"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|seen| seen["result"] == "failed")
                .map(|seen| seen["remedy"].clone())
        )
    );
    Ok(())
}

/// Every file below a directory, with its content and when it was written.
fn tree(root: &Path) -> Result<Vec<(String, Vec<u8>, std::time::SystemTime)>> {
    let mut all = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let found = entry.metadata()?;
            if found.is_dir() {
                left.push(entry.path());
            }
            let content = if found.is_file() { fs::read(entry.path())? } else { Vec::new() };
            all.push((entry.path().display().to_string(), content, found.modified()?));
        }
    }
    all.sort();
    Ok(all)
}
