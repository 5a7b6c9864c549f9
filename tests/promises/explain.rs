//! `hawser explain` shows the whole path of a request through a real Envoy, and where it breaks.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    istiod::{Reach, State},
    mesh::{OUTSIDE, OUTSIDE_IP},
    service::{Secrets, Service},
    wait::wait_for,
};
use hawser_proto::{
    envoy::envoy::config::{
        endpoint::v3::ClusterLoadAssignment,
        route::v3::{RouteConfiguration, VirtualHost},
    },
    istio::nds::NameTable,
    type_url::{CLUSTER, ROUTE},
};
use serde_json::{Value, json};

use crate::rig::{Rig, said};

/// What was printed, and how it ended.
struct Told {
    path: Value,
    code: Option<i32>,
}

impl Told {
    fn steps(&self) -> Vec<&str> {
        let steps = self.path["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        steps.iter().filter_map(|step| step["step"].as_str()).collect()
    }

    fn step(&self, name: &str) -> &Value {
        let steps = self.path["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        steps.iter().find(|step| step["step"] == name).unwrap_or(&Value::Null)
    }

    /// The step that it breaks at, why, and what to do.
    fn breaks(&self) -> (&str, &str, &str) {
        let steps = self.path["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let broken = steps.iter().find(|step| !step["breaks"].is_null()).unwrap_or(&Value::Null);
        let text = |key: &str| broken[key].as_str().unwrap_or_default();
        (text("step"), text("breaks"), text("next"))
    }
}

async fn explain(rig: &Rig, arguments: &[&str]) -> Result<Told> {
    let output = rig.vm.hawser(&[&["explain", "--json"][..], arguments].concat()).await?;
    let path = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    Ok(Told { path, code: output.status.code() })
}

/// `http://` and where the service is.
fn address(rig: &Rig) -> String {
    format!("http://{}:{}/here", rig.mesh.service.host(), rig.mesh.service.vip.port())
}

/// Changes the mesh and waits until a path through it has this verdict.
async fn changed(rig: &Rig, edit: impl FnOnce(&mut State), request: &str) -> Result<Told> {
    rig.mesh.istiod.world().change(edit);
    broken(rig, request).await
}

async fn broken(rig: &Rig, request: &str) -> Result<Told> {
    wait_for("a path that breaks", async || {
        let told = explain(rig, &[request]).await?;
        ensure!(told.path["verdict"] == "breaks", "{:#}", told.path);
        Ok(told)
    })
    .await
}

/// A machine whose Envoy serves, and knows the names.
async fn serving() -> Result<(Rig, hawser_harness::agent::Agent)> {
    let rig = Rig::with_envoy().await?;
    let agent = rig.serving().await?;
    rig.names_known().await?;
    Ok((rig, agent))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_http_is_shown_from_its_name_to_whoever_has_to_answer() -> Result<()> {
    let (rig, _agent) = serving().await?;
    ensure!(rig.request().await?.status == 200);

    let told = explain(&rig, &[&address(&rig)]).await?;

    assert_eq!(told.code, Some(0), "{:#}", told.path);
    assert_eq!(told.path["verdict"], "whole");
    let steps = ["name", "address", "rule", "listener", "route", "cluster", "endpoints", "peer"];
    assert_eq!(told.steps(), steps, "{:#}", told.path);
    let service = &rig.mesh.service;
    let cluster = format!("outbound|{}||{}", service.vip.port(), service.host());
    assert_eq!(told.step("name")["facts"]["source"], "mesh");
    assert_eq!(told.step("address")["what"], service.vip.to_string());
    assert_eq!(told.step("route")["facts"]["clusters"], json!([cluster]));
    assert_eq!(told.step("cluster")["facts"]["type"], "EDS");
    let endpoint = &told.step("endpoints")["facts"]["endpoints"][0];
    assert_eq!(endpoint["address"], rig.mesh.hello.addr().to_string());
    assert_eq!(endpoint["health"], "healthy");
    let peer = &told.step("peer")["facts"];
    assert_eq!(peer["mutual"], true);
    assert_eq!(peer["names"], json!(["spiffe://cluster.local/ns/demo/sa/hello"]));
    assert_eq!(peer["sni"], format!("outbound_.{}_._.{}", service.vip.port(), service.host()));
    let shown = told.step("peer")["more"].to_string();
    ensure!(shown.contains(&rig.mesh.identity()), "{shown}");

    // Where no port is said, the one that Envoy has there is meant.
    let bare = explain(&rig, &[&service.host()]).await?;
    assert_eq!(
        (bare.code, bare.step("address")["what"].as_str()),
        (Some(0), Some(&*service.vip.to_string()))
    );
    let by_address = explain(&rig, &[&service.vip.to_string()]).await?;
    assert_eq!((by_address.code, by_address.steps()[0]), (Some(0), "address"));

    let output = rig.vm.hawser(&["explain", &address(&rig)]).await?;
    let screen = said(&output);
    ensure!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    ensure!(screen.contains("The path is whole."), "{screen}");
    ensure!(screen.contains(" → listener "), "{screen}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_are_shown_the_same_way_without_a_route() -> Result<()> {
    let (rig, _agent) = serving().await?;
    let service = rig.mesh.service.clone();
    let request = format!("tcp://{}:{}", service.host(), service.vip.port());
    rig.mesh.istiod.world().change(|state| state.put(&service.listener_of_octets()));

    wait_for("a listener without HTTP", async || {
        let told = explain(&rig, &[&request]).await?;
        let steps = ["name", "address", "rule", "listener", "cluster", "endpoints", "peer"];
        ensure!(told.steps() == steps && told.code == Some(0), "{:#}", told.path);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_knows_is_where_it_breaks() -> Result<()> {
    let (rig, _agent) = serving().await?;

    let told = explain(&rig, &["nowhere.example.org"]).await?;
    assert_eq!(told.code, Some(1), "{:#}", told.path);
    assert_eq!(told.breaks().0, "name");
    assert_eq!(told.breaks().2, "hawser dns explain nowhere.example.org");

    // A name outside of the mesh goes its way, and that is no fault.
    let told = explain(&rig, &[OUTSIDE]).await?;
    assert_eq!(told.code, Some(0), "{:#}", told.path);
    assert_eq!(told.steps(), ["name", "address", "rule"]);
    assert_eq!(
        told.step("name")["facts"]["addresses"],
        json!([std::net::IpAddr::from(OUTSIDE_IP)])
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_route_is_where_it_breaks() -> Result<()> {
    let (rig, _agent) = serving().await?;
    let name = format!("{}:{}", rig.mesh.service.host(), rig.mesh.service.vip.port());
    let host = VirtualHost {
        name: "another".to_owned(),
        domains: vec!["another.demo".to_owned()],
        ..VirtualHost::default()
    };
    let routes = RouteConfiguration { name, virtual_hosts: vec![host], ..Default::default() };

    let told = changed(&rig, |state| state.put(&routes), &address(&rig)).await?;

    assert_eq!(told.breaks(), ("route", "Envoy answers 404", "hawser xds show rds"));
    assert_eq!(told.code, Some(1));
    assert_eq!(rig.request().await?.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_gone_are_where_it_breaks() -> Result<()> {
    let (rig, _agent) = serving().await?;
    let service = &rig.mesh.service;
    let cluster_name = format!("outbound|{}||{}", service.vip.port(), service.host());
    let nobody = ClusterLoadAssignment { cluster_name, ..ClusterLoadAssignment::default() };

    let told = changed(&rig, |state| state.put(&nobody), &address(&rig)).await?;

    let (step, why, next) = told.breaks();
    assert_eq!((step, next), ("endpoints", "hawser xds show eds"), "{:#}", told.path);
    ensure!(why.contains("no endpoint"), "{why}");
    assert_eq!(rig.request().await?.status, 503);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_is_where_it_breaks() -> Result<()> {
    let (rig, _agent) = serving().await?;
    let service = &rig.mesh.service;
    let cluster = format!("outbound|{}||{}", service.vip.port(), service.host());

    let told = changed(&rig, |state| state.remove(CLUSTER, &cluster), &address(&rig)).await?;

    let (step, why, _) = told.breaks();
    assert_eq!((step, why), ("cluster", "Envoy answers 503: it has no such cluster"));
    assert_eq!(rig.request().await?.status, 503);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_mesh_whose_address_no_rule_redirects_is_where_it_breaks() -> Result<()> {
    let (rig, _agent) = serving().await?;
    let mut far = Service::new("far", "demo", rig.mesh.hello.addr())?;
    far.vip = SocketAddr::from(([10, 96, 0, 10], 80));
    let (host, entry) = (far.host(), far.name_info());
    let names = NameTable { table: [(host.clone(), entry)].into() };
    rig.mesh.istiod.world().change(|state| state.names(&names));
    let told = broken(&rig, &host).await?;
    assert_eq!(told.breaks().0, "rule", "{:#}", told.path);

    // It is wanted, and nobody has loaded it.
    let proxy = ["--set", "intercept.proxy_users=4242"];
    let wanted = ["--set", "intercept.outbound_cidrs=*", "--user", "nobody", host.as_str()];
    let wanted = [&proxy[..], &wanted].concat();
    let told = explain(&rig, &wanted).await?;
    let rule = told.step("rule");
    assert_eq!(
        (told.code, rule["facts"]["rule"].as_str()),
        (Some(1), Some("any network")),
        "{rule:#}"
    );
    assert_eq!(told.breaks().2, "hawser intercept show");
    // Whoever is spared is told by which setting.
    let spared =
        [&["--set", "intercept.exclude_outbound_cidrs=10.96.0.0/12"][..], &wanted].concat();
    let told = explain(&rig, &spared).await?;
    assert_eq!(told.step("rule")["facts"]["setting"], "intercept.exclude_outbound_cidrs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_where_it_breaks() -> Result<()> {
    let mut rig = Rig::joined().await?;
    rig.bring_envoy().await?;
    rig.vm.settings(&format!("{}\n[identity]\nttl = \"8s\"\n", rig.vm.toml()?))?;
    let _agent = rig.serving().await?;
    rig.names_known().await?;

    rig.mesh.istiod.reach(Reach::Down).await?;
    let told = broken(&rig, &address(&rig)).await?;

    let (step, why, next) = told.breaks();
    assert_eq!((step, next), ("peer", "hawser identity renew"), "{:#}", told.path);
    ensure!(why.contains("has expired"), "{why}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_envoy_or_without_an_agent_it_is_told_as_far_as_it_goes() -> Result<()> {
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    rig.names_known().await?;
    let told = explain(&rig, &[&address(&rig)]).await?;
    assert_eq!((told.code, &told.path["verdict"]), (Some(3), &json!("unknown")), "{:#}", told.path);
    assert_eq!(told.step("name")["facts"]["source"], "mesh");
    assert_eq!(told.step("listener")["next"], "systemctl status hawser-envoy");

    agent.terminate().await?;
    let told = explain(&rig, &[&address(&rig)]).await?;
    assert_eq!(told.code, Some(3), "{:#}", told.path);
    // By the names that it has kept.
    assert_eq!(told.step("name")["facts"]["source"], "mesh");
    assert_eq!(told.step("name")["next"], "systemctl status hawser");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_of_thousands_is_looked_through_without_having_it_all() -> Result<()> {
    let (rig, _agent) = serving().await?;
    let host = |number: usize| VirtualHost {
        name: format!("host-{number}"),
        domains: vec![format!("host-{number}.demo"), format!("host-{number}.demo:80")],
        ..VirtualHost::default()
    };
    let name = format!("{}:{}", rig.mesh.service.host(), rig.mesh.service.vip.port());
    let routes = RouteConfiguration {
        name,
        virtual_hosts: (0..20_000).map(host).collect(),
        ..RouteConfiguration::default()
    };
    let told = changed(&rig, |state| state.put(&routes), &address(&rig)).await?;
    assert_eq!(told.breaks().0, "route");
    rig.mesh.istiod.world().change(|state| {
        state.clear(ROUTE);
        Service::publish(std::slice::from_ref(&rig.mesh.service), Secrets::Agent, state);
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_and_who_is_no_user_are_refused() -> Result<()> {
    let rig = Rig::new().await?;
    for wrong in [&["ftp://x"][..], &["a:b"], &["--user", "nobody-knows", "hello.demo"]] {
        let output = rig.vm.hawser(&[&["explain"], wrong].concat()).await?;
        assert_eq!(output.status.code(), Some(64), "{wrong:?} {}", said(&output));
    }
    Ok(())
}
