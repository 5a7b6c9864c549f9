//! `hawser explain` leads from a name of the file to whoever has to answer behind the gateway.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{ca::spiffe_id, eastwest::ALPN};
use serde_json::{Value, json};

use super::Machine;
use crate::rig::said;

/// What was printed, and how it ended.
struct Told {
    path: Value,
    code: Option<i32>,
}

impl Told {
    fn steps(&self) -> impl Iterator<Item = &Value> {
        self.path["steps"].as_array().into_iter().flatten()
    }

    fn step(&self, name: &str) -> Result<&Value> {
        let found = self.steps().find(|step| step["step"] == name);
        found.with_context(|| format!("no {name} in {:#}", self.path))
    }
}

async fn explain(machine: &Machine, request: &str) -> Result<Told> {
    let output = machine.vm.hawser(&["explain", "--json", request]).await?;
    let path = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    Ok(Told { path, code: output.status.code() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_file_is_followed_through_the_gateway_to_whoever_has_to_answer() -> Result<()>
{
    let machine = Machine::new().await?;
    let _agent = machine.serving().await?;
    let (host, port) = ("reviews.prod.svc.cluster.local", machine.port("reviews")?);
    let told = explain(&machine, &format!("http://{host}:{port}/here")).await?;

    ensure!((told.code, &told.path["verdict"]) == (Some(0), &json!("whole")), "{:#}", told.path);
    let steps: Vec<_> = told.steps().filter_map(|step| step["step"].as_str()).collect();
    let expected = "name address rule listener route cluster endpoints gateway peer";
    ensure!(steps.join(" ") == expected, "{steps:?}");
    let name = told.step("name")?;
    ensure!(name["facts"]["source"] == "file", "{name:#}");
    let place = format!("{}:", machine.file().display());
    ensure!(name["more"].to_string().contains(&place), "{name:#}");
    let gateway = machine.eastwest.address()?;
    ensure!(told.step("gateway")?["facts"]["gateways"] == json!([gateway.to_string()]));
    let peer = &told.step("peer")?["facts"];
    ensure!(peer["names"] == json!([spiffe_id("prod", "reviews")]), "{peer:#}");
    ensure!(peer["sni"] == format!("outbound_.9080_._.{host}") && peer["mutual"] == true);
    let alpn = peer["alpn"].as_array().context("no ALPN")?;
    ensure!(alpn.iter().any(|own| ALPN.contains(&own.as_str().unwrap_or_default())), "{peer:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_are_followed_too_and_a_port_that_the_file_does_not_have_is_where_it_breaks()
-> Result<()> {
    let machine = Machine::new().await?;
    let _agent = machine.serving().await?;
    let host = "store.prod.svc.cluster.local";
    let told = explain(&machine, &format!("tcp://{host}:{}", machine.port("store")?)).await?;
    ensure!((told.code, &told.path["verdict"]) == (Some(0), &json!("whole")), "{:#}", told.path);
    let sni = format!("outbound_.5432_._.{host}");
    ensure!(told.step("peer")?["facts"]["sni"] == sni, "{:#}", told.path);

    let told = explain(&machine, &format!("tcp://{host}:1")).await?;
    ensure!((told.code, &told.path["verdict"]) == (Some(1), &json!("breaks")), "{:#}", told.path);
    Ok(())
}
