//! A gateway that is gone is left for another.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    eastwest::{Member, Speaks},
    wait::wait_for,
};
use tokio::net::TcpStream;

use crate::{calls::echoed, machine::Machine};

const REVIEWS: &str = "reviews.prod.svc.cluster.local";
const STORE: &str = "store.prod.svc.cluster.local";

#[tokio::test(flavor = "multi_thread")]
async fn no_request_and_no_connection_fails_when_a_gateway_does() -> Result<()> {
    let members = [
        Member { brief: true, ..Member::new("reviews", "prod", 9080, Speaks::Http) },
        Member::new("store", "prod", 5432, Speaks::Tcp),
    ];
    let mut machine = Machine::start(&members, 2).await?;
    let (port, tcp) = (Machine::port()?, Machine::port()?);
    machine
        .file(&format!(
            "services:\n\
             - {{host: {REVIEWS}, port: 9080, local_port: {port}, identity: ns/prod/sa/reviews, outliers: {{errors: 5, ejection: 1s}}}}\n\
             - {{host: {STORE}, port: 5432, local_port: {tcp}, protocol: tcp, identity: ns/prod/sa/store, outliers: {{errors: 5, ejection: 1s}}}}\n",
        ))
        .await?;
    machine.until(REVIEWS, port, "/", 200).await?;
    let store = machine.at(STORE, tcp);
    echoed(TcpStream::connect(store).await?).await?;
    ensure!(machine.mesh.gateways()[1].open().await? == 0, "the second is not the first");

    machine.mesh.gateway(0)?.stop().await?;
    for number in 0..20 {
        let reply = machine.get(REVIEWS, port, "/").await?;
        ensure!(reply.status == 200, "{number}: {} {}", reply.status, reply.body);
        echoed(TcpStream::connect(store).await?).await.with_context(|| format!("{number}"))?;
    }
    ensure!(machine.stat("hawser/5432.*ejections_active").await? == 1, "it was not left");

    machine.mesh.gateway(0)?.again().await?;
    wait_for("the first to be used again", async || {
        machine.get(REVIEWS, port, "/").await?;
        echoed(TcpStream::connect(store).await?).await?;
        ensure!(machine.mesh.gateways()[0].passed()?.len() > 4, "not yet");
        ensure!(machine.stat("hawser/.*ejections_active").await? == 0, "not yet");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_by_name_is_looked_up() -> Result<()> {
    let members = [Member::new("reviews", "prod", 9080, Speaks::Http)];
    let mut machine = Machine::start(&members, 1).await?;
    let port = Machine::port()?;
    let text = format!(
        "services:\n- {{host: {REVIEWS}, port: 9080, local_port: {port}, identity: ns/prod/sa/reviews}}\n"
    );
    machine.file(&text).await?;
    machine.services.gateways[0].host = "localhost".to_owned();
    machine.push().await?;

    machine.until(REVIEWS, port, "/", 200).await?;
    let config = machine.envoy.get("/config_dump?resource=dynamic_active_clusters").await?.body;
    ensure!(config.contains("DnsCluster"), "{config}");
    ensure!(!machine.log()?.contains("eprecated"), "{}", machine.log()?);
    Ok(())
}
