//! HTTP, gRPC and TCP through a gateway, with the identities that the far end sees.

use anyhow::{Result, ensure};
use hawser_harness::{ca::spiffe_id, eastwest::cart, wait::wait_for, workload::Answer};

use super::Machine;

#[tokio::test(flavor = "multi_thread")]
async fn http_grpc_and_octets_come_to_the_service_which_knows_who_calls() -> Result<()> {
    let machine = Machine::new().await?;
    let agent = machine.serving().await?;
    let me = machine.identity();

    let answer: Answer = machine.get("reviews", "/first").await?.json()?;
    ensure!(answer.caller == me, "{answer:?}");
    ensure!(answer.workload == spiffe_id("prod", "reviews"), "{answer:?}");
    ensure!((answer.path.as_str(), answer.protocol.as_str()) == ("/first", "HTTP/1.1"));

    let found = machine.find("cart", "lamp").await?;
    ensure!((found.item.as_str(), &found.caller) == ("lamp", &me), "{found:?}");
    ensure!(found.workload == spiffe_id("prod", "cart"), "{found:?}");
    let nothing = machine.find("cart", cart::NOTHING).await.unwrap_err();
    ensure!(format!("{nothing:#}").contains("there is no such item"), "{nothing:#}");

    let octets: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    ensure!(machine.echo("store", &octets).await? == octets, "other octets came back");
    wait_for("the far end's log", async || {
        let seen = machine.eastwest.seen()?;
        let store = seen.iter().find(|seen| seen.member == "store");
        let caller = store.and_then(|seen| seen.caller.clone());
        ensure!(caller.as_ref() == Some(&me), "{seen:?} {}", agent.tail());
        Ok(())
    })
    .await
}
