//! A large file.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use hawser_harness::{
    eastwest::{Member, Speaks},
    wait::wait_for,
};

use crate::machine::Machine;

const COUNT: usize = 5000;

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_services_are_taken_and_one_of_them_answers() -> Result<()> {
    let members = [Member::new("reviews", "prod", 9080, Speaks::Http)];
    let mut machine = Machine::start(&members, 2).await?;
    let port = Machine::port()?;
    let host = "reviews.prod.svc.cluster.local";
    let mut text = format!(
        "services:\n- {{host: {host}, port: 9080, local_port: {port}, identity: ns/prod/sa/reviews}}\n"
    );
    for number in 1..COUNT {
        writeln!(
            text,
            "- {{host: s{number}.prod.svc.cluster.local, port: 80, local_port: {port}, identity: ns/prod/sa/s}}"
        )?;
    }
    machine.file(&text).await?;

    machine.until(host, port, "/", 200).await?;
    wait_for("all of them", async || {
        let active = machine.stat("cluster_manager.active_clusters").await?;
        ensure!(active >= COUNT as u64, "{active}");
        Ok(())
    })
    .await?;
    machine.until(&format!("s{}.prod.svc.cluster.local", COUNT - 1), port, "/", 503).await?;
    let allocated = machine.stat("server.memory_allocated").await? >> 20;
    println!("Envoy has {allocated} MiB with {COUNT} services");
    ensure!(machine.nacks().is_empty(), "{:?}", machine.nacks());
    Ok(())
}
