//! What tests and benches of the xDS relay need as processes of their own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hawser_harness::demo::print;
use hawser_harness::istiod::Flavour;
use hawser_harness::xds::{Report, XdsClient};
use hawser_proto::type_url::CLUSTER;
use tokio::time::timeout;

mod bench;
mod copy;
mod proxy;
mod table;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Asks for clusters over a Unix socket and prints what came of it.
    Client {
        #[arg(long)]
        socket: PathBuf,
        /// Seconds to wait for the first response or the end of the stream.
        #[arg(long, default_value_t = 5.0)]
        patience: f64,
    },
    /// Copies bytes between a Unix socket and a TCP port, and does nothing else.
    Copy {
        #[arg(long)]
        socket: PathBuf,
        #[arg(long)]
        to: SocketAddr,
    },
    /// `make bench-xds`: what a large push costs the agent, and others.
    Bench(bench::Options),
}

fn main() -> Result<()> {
    let command = Arguments::parse().command;
    // One thread for what stands beside the agent: the machine may have few.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Client { socket, patience } => runtime.block_on(client(socket, patience)),
        Command::Copy { socket, to } => runtime.block_on(copy::run(&socket, to)),
        Command::Bench(options) => runtime.block_on(bench::run(&options)),
    }
}

async fn client(socket: PathBuf, patience: f64) -> Result<()> {
    let report = match XdsClient::envoy(&socket, Flavour::Delta).await {
        Err(error) => Report { unconnected: Some(format!("{error:#}")), ..Report::default() },
        Ok(client) => {
            // When it is over at once, the report says so.
            let _over = client.subscribe(CLUSTER, &[]);
            let come = client.until("a response or an end", |held| {
                held.ended.is_some() || held.responses(CLUSTER) > 0
            });
            let _in_time = timeout(Duration::from_secs_f64(patience), come).await;
            Report::from(&client.held())
        }
    };
    print(serde_json::to_string(&report)?);
    Ok(())
}
