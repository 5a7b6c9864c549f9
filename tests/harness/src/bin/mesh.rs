//! `make mesh`: a mesh on one machine, to join by hand.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use hawser_harness::demo::print;
use hawser_harness::envoy::envoy_binary;
use hawser_harness::mesh::{Mesh, OUTSIDE, OUTSIDE_IP};
use hawser_harness::resolver::Resolver;

/// Runs a mesh until Ctrl-C: istiod, the workload `hello`, a resolver outside, and a bundle.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the bundle goes; a directory that is removed afterwards if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Another address at which there is a resolver outside, for what wants it on port 53.
    #[arg(long)]
    resolver: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::Builder::new().prefix("hawser-").tempdir();
    let temporary = temporary.context("make a directory")?;
    let dir = arguments.dir.unwrap_or_else(|| temporary.path().to_owned());
    let dir = std::path::absolute(dir).context("find the directory")?;
    let mesh = Mesh::start(&dir).await?;
    let another = match arguments.resolver {
        Some(addr) => Some(Resolver::start_at(addr).await?),
        None => None,
    };
    if let Some(another) = &another {
        another.address(OUTSIDE, OUTSIDE_IP.into());
    }
    // A mesh is a mesh without an Envoy too.
    let envoy = tokio::task::spawn_blocking(envoy_binary).await.context("find Envoy")?;
    let envoy = envoy.map_or_else(|_none| "PATH".to_owned(), |path| path.display().to_string());
    let bundle = mesh.bundle_dir.display();
    let root = dir.join("root");
    let root = root.display();
    let outside = mesh.outside.addr();
    print(format_args!(
        "istiod    {} (plaintext {})",
        mesh.istiod.addr(),
        mesh.istiod.plaintext_addr()
    ));
    print(format_args!("workload  {} as {}", mesh.hello.addr(), mesh.hello.identity()));
    print(format_args!("service   {} at {}", mesh.service.host(), mesh.service.vip));
    print(format_args!("resolver  {outside}, knows {OUTSIDE}"));
    print(format_args!("bundle    {bundle}, its token is good for an hour"));
    print("\nTry, with `target/debug` on the PATH:");
    print(format_args!("  hawser join {bundle} --root {root}"));
    print(format_args!("  hawser run --root {root} --set dns.upstreams={outside} --envoy {envoy}"));
    print(format_args!("  hawser status --root {root}"));
    print(format_args!("  dig @127.0.0.1 -p 15053 {}", mesh.service.host()));
    print(format_args!("  curl -i http://{}/", mesh.service.vip));
    print("\nCtrl-C stops it.");
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")
}
