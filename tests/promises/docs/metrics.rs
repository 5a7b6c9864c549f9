//! Metrics in the documents are those of a scrape, and those of a scrape are in the documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{dig::Dig, http1, mesh::OUTSIDE};
use http::Method;
use serde_json::Value;

use super::{blocks::directory, manual::tool};
use crate::rig::Rig;

#[tokio::test]
async fn every_metric_is_in_the_documents_and_what_they_name_is_there() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let _agent = rig.serving().await?;
    rig.names_known().await?;
    Dig::a(&rig.mesh.service.host()).ask(rig.dns().await?).await?;
    Dig::a(OUTSIDE).ask(rig.dns().await?).await?;
    ensure!(rig.request().await?.status == 200, "no service");
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let address = |key: &str| settings[key]["listen"].as_str().context("no address");
    let status: SocketAddr = address("status")?.parse()?;
    let scrape = http1::call(status, &Method::GET, "/stats/prometheus", &[]).await?.body;
    let port = settings["envoy"]["prometheus_port"].as_integer().context("no port")?;
    let envoy = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?));
    let of_envoy = http1::call(envoy, &Method::GET, "/stats/prometheus", &[]).await?.body;

    let there = families(&scrape);
    let ours: BTreeMap<_, _> = there.iter().filter(|(name, _)| is_ours(name)).collect();
    ensure!(ours.len() > 30, "only {}", ours.len());
    let told = names(&fs::read_to_string(directory().join("metrics.md"))?);
    let untold: Vec<String> = { ours.iter() }
        .filter(|(name, _)| !told.contains(name.as_str()))
        .map(|(name, help)| format!("| `{name}` | {help} |"))
        .collect();
    ensure!(untold.is_empty(), "metrics.md does not tell of\n{}", untold.join("\n"));

    let of_envoy = families(&of_envoy);
    for file in ["metrics.md", "alerts.yaml", "dashboard.json"] {
        let named = names(&fs::read_to_string(directory().join(file))?);
        let later = [&ON_A_MACHINE[..], &ELSEWHERE[..]].concat();
        let known = |name: &str| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            [Some(name), base].into_iter().flatten().any(|name| {
                there.contains_key(name) || of_envoy.contains_key(name) || later.contains(&name)
            })
        };
        let unknown: Vec<_> = named.iter().filter(|name| !known(name)).collect();
        ensure!(unknown.is_empty(), "{file} names what nobody has: {unknown:#?}");
    }
    Ok(())
}

#[test]
fn the_alert_rules_are_rules() -> Result<()> {
    let file = directory().join("alerts.yaml");
    let checked = tool("promtool")?.args(["check", "rules"]).arg(&file).output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    ensure!(checked.status.success() && said.contains("SUCCESS"), "{said}");
    let rules: Value = serde_saphyr::from_str(&fs::read_to_string(&file)?)?;
    let rules = rules["groups"][0]["rules"].as_array().context("no rules")?;
    for rule in rules {
        for field in ["summary", "description"] {
            ensure!(rule["annotations"][field].is_string(), "{rule}: no {field}");
        }
        let told = rule["annotations"]["description"].as_str().unwrap_or_default();
        ensure!(told.contains("`hawser "), "{told}: nothing to do");
    }
    Ok(())
}

#[test]
fn the_dashboard_is_one_of_panels_that_ask_something() -> Result<()> {
    let text = fs::read_to_string(directory().join("dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    ensure!(dashboard["uid"] == "hawser" && dashboard["schemaVersion"].is_u64());
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let mut places = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = &panel["title"];
        ensure!(panel["datasource"]["uid"] == "${source}", "{title}: whose data?");
        let place = &panel["gridPos"];
        ensure!(places.insert(format!("{} {}", place["x"], place["y"])), "{title} is on another");
        let targets = panel["targets"].as_array().context("no targets")?;
        ensure!(!targets.is_empty(), "{title} asks nothing");
        for target in targets {
            let asked = target["expr"].as_str().context("no expression")?;
            ensure!(!names(asked).is_empty(), "{title}: {asked}");
        }
    }
    Ok(())
}

/// Names of families and what they say of themselves.
fn families(scrape: &str) -> BTreeMap<String, String> {
    let mut families = BTreeMap::new();
    for line in scrape.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            families.insert(name.to_owned(), help.to_owned());
        } else if let Some(name) = line.strip_prefix("# TYPE ").and_then(|l| l.split(' ').next()) {
            families.entry(name.to_owned()).or_default();
        }
    }
    families
}

fn is_ours(name: &str) -> bool {
    name.starts_with("hawser_") || name.starts_with("istio_agent_")
}

/// Every word of a text that is the name of a metric.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| is_ours(word) || word.starts_with("envoy_"))
        // `istio_agent_go_*` and the like are the beginnings of many.
        .filter(|word| !word.ends_with('_'))
        .map(str::to_owned)
        .collect()
}

/// What a machine with units, rules and a probe says, `scrape`, has the rest of it.
pub(super) fn of_a_machine(scrape: &str) -> Result<()> {
    let there = families(scrape);
    let missing: Vec<_> = ON_A_MACHINE.iter().filter(|name| !there.contains_key(**name)).collect();
    ensure!(missing.is_empty(), "{missing:?} are not in a scrape of the machine");
    let told = names(&fs::read_to_string(directory().join("metrics.md"))?);
    let untold: Vec<_> =
        there.keys().filter(|name| is_ours(name) && !told.contains(*name)).collect();
    ensure!(untold.is_empty(), "metrics.md does not tell of {untold:?}");
    Ok(())
}

/// Looked for where the commands of the documents are typed.
const ON_A_MACHINE: [&str; 7] = [
    "hawser_envoy_last_good",
    "hawser_envoy_unasked_ends",
    "hawser_health_well",
    "hawser_intercept_gate_open",
    "hawser_intercept_hits_total",
    "hawser_intercept_repairs",
    "hawser_intercept_trouble",
];
/// Of a machine that joined with a pair and no token, of one with something wrong, and of one with a
/// file of services.
const ELSEWHERE: [&str; 8] = [
    "hawser_provisioned_expiry_seconds",
    "hawser_trouble",
    "hawser_services",
    "hawser_services_conflicts",
    "hawser_services_gateways",
    "hawser_services_inbound",
    "hawser_services_problems",
    "hawser_services_since_timestamp_seconds",
];
