//! Several gateways: the first that is there is used, and requests hardly notice.

use anyhow::{Result, ensure};
use hawser_harness::{standalone::members, traffic::Traffic, wait::wait_for};

use super::Machine;

/// As many requests may be under way when a gateway dies.
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_is_left_for_another_and_is_gone_back_to() -> Result<()> {
    let text = |machine: &Machine| -> Result<String> {
        let entries = machine.text()?;
        Ok(entries.replace("    protocol", "    outliers: {errors: 1, ejection: 1s}\n    protocol"))
    };
    let mut machine = Machine::with(&members(), 2).await?;
    machine.write(&text(&machine)?)?;
    let _agent = machine.serving().await?;
    ensure!(machine.eastwest.gateways()[0].open().await? > 0, "the first is not used");
    ensure!(machine.eastwest.gateways()[1].open().await? == 0, "the second is used");
    let traffic = Traffic::start(&machine.service("reviews").await?, CLIENTS);
    let more = async |traffic: &Traffic, by: usize| {
        let from = traffic.so_far().ok;
        traffic.until("more answers", |served| served.ok >= from + by).await
    };
    more(&traffic, 50).await?;

    machine.it.eastwest.gateway(0)?.stop().await?;
    more(&traffic, 100).await?;
    ensure!(machine.find("cart", "lamp").await?.item == "lamp");
    ensure!(machine.echo("store", b"hello").await? == b"hello");
    ensure!(machine.eastwest.gateways()[1].open().await? > 0, "the second is not used");

    machine.it.eastwest.gateway(0)?.again().await?;
    wait_for("the first gateway to be used again", async || {
        machine.answers("reviews").await?;
        ensure!(machine.eastwest.gateways()[0].open().await? > 0, "it is not");
        Ok(())
    })
    .await?;

    let served = traffic.stop().await?;
    ensure!(served.failed <= CLIENTS, "{served:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_starts_while_its_first_gateway_is_away() -> Result<()> {
    let mut machine = Machine::with(&members(), 2).await?;
    machine.it.eastwest.gateway(0)?.stop().await?;

    let _agent = machine.serving().await?;

    ensure!(machine.find("cart", "lamp").await?.item == "lamp");
    ensure!(machine.echo("store", b"hello").await? == b"hello");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_gateway_at_all_requests_fail_soon_and_come_through_when_one_is_back() -> Result<()>
{
    let mut machine = Machine::new().await?;
    let _agent = machine.serving().await?;
    machine.it.eastwest.gateway(0)?.stop().await?;

    machine.fails("reviews", 503, "").await?;

    machine.it.eastwest.gateway(0)?.again().await?;
    machine.answers("reviews").await?;
    Ok(())
}
