//! `make bench-dns`: what an answer costs, here and in other programs, and the limit of the machine.

#![expect(clippy::disallowed_methods, reason = "nobody reads what a bench writes before it ends")]

use std::net::SocketAddrV4;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod batch;
mod bench;
mod blast;
mod configuration;
mod server;
mod table;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gives back every datagram, and does nothing else.
    Echo { listen: SocketAddrV4 },
    /// Gives every name the same address, which nobody may keep.
    Answer { listen: SocketAddrV4 },
    /// Asks, and says how it went.
    Blast(blast::Options),
    /// All of it, side by side.
    Bench(bench::Options),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Echo { listen } => match batch::serve(listen, batch::echo)? {},
        Command::Answer { listen } => match batch::serve(listen, batch::address)? {},
        Command::Blast(options) => blast::run(&options),
        Command::Bench(options) => {
            // One thread for what stands beside the servers: the machine may have few.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(bench::run(&options))
        }
    }
}
