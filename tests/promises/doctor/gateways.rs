//! Faults of gateways to other networks.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use super::{Fault, look};
use crate::rig::Rig;

pub(super) const FAULTS: &[Fault] =
    &[("gateways-reachable", a_gateway_that_takes_no_connections_is_named)];

#[tokio::test]
async fn a_gateway_that_takes_no_connections_is_named() -> Result<()> {
    let rig = Rig::joined().await?;
    let clusters = "outbound|80||a.demo::127.77.13.9:15443::cx_active::0\n\
                    outbound|80||a.demo::127.0.0.1:1::cx_active::0\n";
    let _envoy = envoy_says(&rig, clusters).await?;
    let _agent = rig.vm.start().await?;
    let seen = look(rig.vm.root(), "gateways-reachable").await?;
    seen.failed(&["no connection to 127.77.13.9:15443", "another network"], "open TCP port 15443")
}

#[tokio::test]
async fn a_mesh_of_one_network_is_left_in_peace() -> Result<()> {
    let rig = Rig::joined().await?;
    let _envoy = envoy_says(&rig, "outbound|80||a.demo::127.0.0.1:1::cx_active::0\n").await?;
    let _agent = rig.vm.start().await?;
    look(rig.vm.root(), "gateways-reachable").await?.says("ok", &["nothing goes through"])
}

/// Somebody at Envoy's admin port, who has this to say of its clusters.
async fn envoy_says(rig: &Rig, clusters: &'static str) -> Result<JoinSet<()>> {
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let port = settings["envoy"]["admin_port"].as_integer().context("no admin port")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, u16::try_from(port)?)).await?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{clusters}",
                clusters.len()
            );
            drop(stream.read(&mut [0; 4096]).await);
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    Ok(serving)
}
