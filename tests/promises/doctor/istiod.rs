//! Faults on the way to istiod, each made by an istiod, or by somebody in its place.

use std::{fs, net::Ipv4Addr, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    ca::OldRoot,
    istiod::{Reach, SERVER_NAME, Serving},
    token::TokenSigner,
    wait::wait_for,
};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{Fault, Seen, doctor, look};
use crate::rig::Rig;

pub(super) const FAULTS: &[Fault] = &[
    ("istiod-resolves", a_name_that_nobody_knows_is_told_with_the_file_to_put_it_into),
    ("istiod-reachable", a_port_that_nobody_listens_at_is_told),
    ("istiod-tls", somebody_else_at_its_port_is_told),
    ("istiod-clock", a_certificate_that_is_out_of_time_is_told_and_the_clock_suspected),
    ("istiod-root", another_root_is_told_with_both),
    ("istiod-san", another_name_is_told_with_the_setting_for_it),
    ("istiod-answers", whoever_ends_tls_in_its_place_is_told),
    ("authorization", a_token_that_istiod_does_not_believe_is_told),
    ("istiod-stream", an_agent_that_does_not_hear_from_istiod_is_told),
    ("registration", a_machine_that_nobody_registers_is_told),
];

async fn seen(rig: &Rig, check: &str) -> Result<Seen> {
    look(rig.vm.root(), check).await
}

#[tokio::test]
async fn a_good_way_is_left_in_peace_and_nobody_is_registered_by_the_look() -> Result<()> {
    let rig = Rig::joined().await?;
    let report = doctor(rig.vm.root(), &["--only", "istiod"]).await?;

    for seen in report.all()? {
        // What the agent says is another matter: none runs.
        if !["istiod-stream", "registration"].contains(&seen.0["name"].as_str().unwrap_or("")) {
            seen.ok()?;
        }
    }
    report.seen("authorization")?.says("ok", &["it believes the token"])?;
    assert!(rig.mesh.istiod.seen().streams.is_empty(), "a request was made");
    Ok(())
}

#[tokio::test]
async fn a_running_agent_is_asked_and_left_in_peace() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;

    seen(&rig, "istiod-stream").await?.ok()?;
    seen(&rig, "authorization").await?.says("ok", &["believed the agent's"])
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told_with_the_file_to_put_it_into() -> Result<()> {
    let rig = Rig::joined().await?;
    super::put(rig.vm.root(), "etc/hawser/mesh/hosts", "")?;
    let seen = seen(&rig, "istiod-resolves").await?;
    let remedy = format!("echo ADDRESS {SERVER_NAME} >> ");
    seen.failed(&[SERVER_NAME, "cannot be resolved", "hosts file"], &remedy)
}

#[tokio::test]
async fn a_port_that_nobody_listens_at_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let report = doctor(rig.vm.root(), &["--only", "istiod"]).await?;

    let refused = report.seen("istiod-reachable")?;
    let port = rig.mesh.istiod.addr().port();
    refused.failed(&["127.0.0.1", "refused"], &format!("nc -vz 127.0.0.1 {port}"))?;
    // What follows from it is not told again.
    report.seen("istiod-tls")?.says("unknown", &["not looked at: istiod-reachable failed"])?;
    report.seen("authorization")?.says("unknown", &["istiod-reachable failed"])
}

#[tokio::test]
async fn somebody_else_at_its_port_is_told() -> Result<()> {
    let server = Server::start(None).await?;
    let rig = beside(&server).await?;
    let seen = seen(&rig, "istiod-tls").await?;
    seen.failed(&["does not speak TLS"], "hawser config istiod.address")
}

#[tokio::test]
async fn a_certificate_that_is_out_of_time_is_told_and_the_clock_suspected() -> Result<()> {
    let rig = Rig::joined().await?;
    let expired = Serving::Expired(std::time::Duration::from_secs(3 * 3600));
    rig.mesh.istiod.faults(|faults| faults.serving = expired);
    let seen = seen(&rig, "istiod-clock").await?;
    seen.failed(&["expired 3 h ago", "clock is 3 h ahead"], "timedatectl set-ntp true")
}

#[tokio::test]
async fn another_root_is_told_with_both() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.mesh.istiod.ca().rotate(OldRoot::Dropped)?;
    let seen = seen(&rig, "istiod-root").await?;
    seen.failed(
        &["no root of this machine", "this machine believes", "SHA-256", "root-cert.pem"],
        "kubectl -n istio-system get configmap istio-ca-root-cert",
    )
}

#[tokio::test]
async fn another_name_is_told_with_the_setting_for_it() -> Result<()> {
    let rig = Rig::joined().await?;
    let names = vec!["elsewhere.example".to_owned()];
    rig.mesh.istiod.faults(|faults| faults.serving = Serving::Names(names));
    let seen = seen(&rig, "istiod-san").await?;
    seen.failed(
        &["certificate for elsewhere.example, not for", SERVER_NAME],
        "istiod.server_name = \"elsewhere.example\"",
    )
}

#[tokio::test]
async fn whoever_ends_tls_in_its_place_is_told() -> Result<()> {
    let donor = Rig::joined().await?;
    let pair = donor.mesh.istiod.ca().serving(&[SERVER_NAME])?;
    let server = Server::start(Some((&pair.key, &pair.chain))).await?;
    let rig = beside(&server).await?;
    let roots = donor.mesh.istiod.ca().root_pem();
    super::put(rig.vm.root(), "etc/hawser/mesh/root-cert.pem", &roots)?;
    let report = doctor(rig.vm.root(), &["--only", "istiod-answers"]).await?;

    report.seen("istiod-root")?.ok()?;
    let seen = report.seen("istiod-answers")?;
    seen.failed(&["answers as istiod does not"], "TLS has to end at istiod")
}

#[tokio::test]
async fn a_token_that_istiod_does_not_believe_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    let stranger = TokenSigner::new()?;
    let claims = stranger.claims("vms", "web");
    super::put(rig.vm.root(), "etc/hawser/mesh/istio-token", &stranger.mint(&claims)?)?;

    let seen = seen(&rig, "authorization").await?;

    seen.failed(&["refuses the token", "Unauthenticated"], "hawser join BUNDLE")?;
    assert!(rig.mesh.istiod.seen().streams.is_empty(), "a request was made");
    Ok(())
}

#[tokio::test]
async fn an_agent_that_does_not_hear_from_istiod_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    wait_for("the agent to notice", async || {
        let status = rig.status().await?;
        ensure!(status["istiod"]["connected"] == false, "still connected");
        Ok(())
    })
    .await?;

    let seen = seen(&rig, "istiod-stream").await?;
    seen.failed(&["does not hear from istiod.istio-system.svc"], "journalctl -u hawser")
}

#[tokio::test]
async fn a_machine_that_nobody_registers_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    let seen = seen(&rig, "registration").await?;
    seen.warns(&["nobody has asked istiod to register this machine as web in vms"], "hawser-envoy")
}

/// A machine whose istiod is somebody else.
async fn beside(server: &Server) -> Result<Rig> {
    let rig = Rig::new().await?;
    let mut bundle = rig.mesh.bundle.clone();
    bundle.discovery_address = format!("{SERVER_NAME}:{}", server.port);
    let dir = rig.file("../other");
    bundle.write(&dir)?;
    rig.vm.join_with(&dir, &["--offline"]).await?;
    fs::remove_dir_all(&dir)?;
    Ok(rig)
}

/// Somebody who answers every call with a word of HTTP/1, with TLS or without.
struct Server {
    port: u16,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start(pair: Option<(&str, &str)>) -> Result<Self> {
        let acceptor = pair.map(|(key, chain)| acceptor(key, chain)).transpose()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                calls.spawn(async move { answer(stream, acceptor).await.ok() });
            }
        });
        Ok(Self { port, _serving: serving })
    }
}

async fn answer(mut stream: TcpStream, acceptor: Option<TlsAcceptor>) -> Result<()> {
    const WORD: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    match acceptor {
        Some(acceptor) => {
            let mut stream = acceptor.accept(stream).await?;
            stream.write_all(WORD).await?;
            let _heard = stream.read(&mut [0; 1024]).await?;
            stream.shutdown().await?;
        }
        None => {
            let _heard = stream.read(&mut [0; 1024]).await?;
            stream.write_all(WORD).await?;
        }
    }
    Ok(())
}

fn acceptor(key: &str, chain: &str) -> Result<TlsAcceptor> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("a key")?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
