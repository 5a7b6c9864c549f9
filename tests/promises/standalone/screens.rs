//! What is said of a machine without istiod: on the screen, in JSON, in metrics, and in a report.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{eastwest::Member, eastwest::Speaks, http1, schema::Schema, wait::wait_for};
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::Machine;
use crate::rig::{said, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_istiod_is_ready_and_says_what_it_calls_through_whom() -> Result<()> {
    let machine = Machine::new().await?;
    let _agent = machine.serving().await?;
    let status = wait_for("all of it to be well", async || {
        let status = machine.status().await?;
        ensure!(status["state"] == "ready", "{:#}", status["troubles"]);
        Ok(status)
    })
    .await?;

    let schema = include_str!("../../../packaging/docs/status.schema.json");
    Schema::read(schema)?.holds(&status)?;
    ensure!(status["istiod"].is_null() && status["registration"].is_null(), "{status:#}");
    let services = &status["services"];
    ensure!(services["beside"] == false && services["services"] == 3, "{services:#}");
    ensure!(services["gateways"][0]["address"] == machine.eastwest.address()?.to_string());
    let shown = machine.vm.hawser(&["status"]).await?;
    let screen = said(&shown);
    for part in ["hawser     ready", "standalone: no istiod", "through 127.", "3 hosts"] {
        ensure!(screen.contains(part), "{part} is not in:\n{screen}");
    }
    ensure!(!screen.contains("\nistiod") && !screen.contains("\nmesh "), "{screen}");
    ensure!(screen.lines().count() < 24, "{screen}");
    counted(&machine, &["hawser_services{protocol=\"tcp\"} 1", "hawser_services_problems 0"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_damaged_is_a_trouble_with_its_line_until_it_is_mended() -> Result<()> {
    let mut machine =
        Machine::with(&[Member::new("reviews", "prod", 9080, Speaks::Http)], 1).await?;
    machine.it.vm.envoy = None;
    let _agent = machine.vm.start().await?;
    let good = machine.text()?;
    let bad = good.replace("port: 9080", "port: ninety");
    let line = 1 + bad.lines().position(|line| line.contains("ninety")).context("no such line")?;
    machine.write(&bad)?;
    let trouble = wait_for("the trouble", async || {
        let status = machine.status().await?;
        let mut all = status["troubles"].as_array().into_iter().flatten();
        let found = all.find(|trouble| trouble["code"] == "services-wrong");
        found.cloned().with_context(|| format!("{status:#}"))
    })
    .await?;
    let what = trouble["what"].as_str().unwrap_or_default();
    let place = format!("{}:{line}: ", machine.file().display());
    ensure!(what.contains(&place) && what.contains("ninety"), "{what}");
    ensure!(trouble["next"] == "hawser check" && trouble["since"].is_u64(), "{trouble}");
    counted(&machine, &["hawser_services{protocol=\"http\"} 1"]).await?;

    machine.write(&good)?;
    wait_for("no trouble", async || {
        let status = machine.status().await?;
        ensure!(status["services"]["problems"] == json!([]), "{:#}", status["services"]);
        Ok(())
    })
    .await?;
    counted(&machine, &["hawser_services_problems 0"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_the_file_of_services_without_what_is_secret_in_it() -> Result<()> {
    let mut machine =
        Machine::with(&[Member::new("reviews", "prod", 9080, Speaks::Http)], 1).await?;
    machine.it.vm.envoy = None;
    let secret = "Zk3Vq9-planted";
    let filter = format!(
        "    filters:\n      - name: envoy.filters.http.lua\n        typed_config:\n          \
         \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\n          \
         password: {secret}\n"
    );
    // Whether it can be used or not.
    for end in [filter.clone(), format!("{filter}  - [\n")] {
        machine.write(&format!("{}{end}", machine.text()?))?;
        let to = machine.dir().join("report.tar.gz");
        let report = machine.vm.hawser(&["bugreport", "--yes", "--output", text(&to)?]).await?;
        ensure!(report.status.success(), "{}", said(&report));
        let unpacked = Command::new("tar").args(["-xzOf", text(&to)?]).output().await?;
        let all = String::from_utf8_lossy(&unpacked.stdout).into_owned();
        ensure!(all.contains("envoy.filters.http.lua") && !all.contains(secret), "{end}");
        std::fs::remove_file(&to)?;
    }
    Ok(())
}

/// Waits until a scrape has these lines.
async fn counted(machine: &Machine, lines: &[&str]) -> Result<()> {
    let settings: toml::Table = machine.vm.toml()?.parse()?;
    let address: SocketAddr = settings["status"]["listen"].as_str().context("no port")?.parse()?;
    wait_for("what is counted", async || {
        let scrape = http1::call(address, &Method::GET, "/stats/prometheus", &[]).await?.body;
        for line in lines {
            ensure!(scrape.lines().any(|own| own == *line), "{line} is not in:\n{scrape}");
        }
        Ok(())
    })
    .await
}

/// Every service in use, as the agent lists them.
#[tokio::test(flavor = "multi_thread")]
async fn every_service_in_use_can_be_read_at_the_agents_socket() -> Result<()> {
    let mut machine = Machine::new().await?;
    machine.it.vm.envoy = None;
    let _agent = machine.vm.start().await?;
    let socket = machine.vm.root().join("run/hawser/admin.sock");
    let asked = async |path: &str| -> Result<Value> {
        let url = format!("http://localhost{path}");
        let output = Command::new("curl")
            .args(["--silent", "--unix-socket", text(&socket)?, &url])
            .output()
            .await?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let all = asked("/services").await?;
    ensure!(all.as_array().is_some_and(|rows| rows.len() == 3), "{all:#}");
    let one = asked("/services?host=cart.prod.svc.cluster.local").await?;
    let row = &one[0];
    ensure!(row["protocol"] == "grpc" && row["gateways"] == json!(["gw0"]), "{one:#}");
    let address = machine.address("cart.prod.svc.cluster.local").await?;
    ensure!(row["address"] == address.to_string(), "{one:#}");
    Ok(())
}
