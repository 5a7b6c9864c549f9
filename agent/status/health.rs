//! The agent's status port: `/healthz/ready`, which Envoy's status port leads to,
//! `/stats/prometheus` with the agent's own counts, `/debug/ndsz`, the name table as Istio's agent
//! shows it, and `/drain`, which takes the machine out of the mesh.
//!
//! Whoever reaches the port may ask, so nobody may hold it up: connections are few, short, and
//! dropped when the agent stops.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use hawser_envoy::{admin::Admin, readiness::Verdict};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Facts, ndsz,
    web::{self, JSON, LIFE, PATIENCE, Reply, TEXT, whole},
};

/// Answers until told to stop.
pub async fn serve(
    listener: TcpListener,
    facts: Facts,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut connections = JoinSet::new();
    // Cancel safe: a connection is accepted whole or not at all. What is open at the end is
    // dropped with the set.
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    let facts = facts.clone();
                    let answer = move |request| {
                        let facts = facts.clone();
                        async move { answer(&request, peer, &facts).await }
                    };
                    connections.spawn(timeout(LIFE, web::converse(stream, answer)));
                }
                Err(error) => {
                    // No descriptors are left; others close theirs in a while.
                    debug!(%error, "connection not accepted");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(request: &Request<Incoming>, peer: SocketAddr, facts: &Facts) -> Reply {
    let path = request.uri().path();
    if path == DRAIN {
        return drain(request.method(), peer, facts).await;
    }
    if !web::reads(request.method()) {
        let known = [READY, METRICS, NAMES].contains(&path);
        let status = if known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_FOUND };
        return whole(status, TEXT, "expected GET\n");
    }
    match path {
        READY => {
            let (status, reason) = ready(facts).await;
            whole(status, TEXT, reason)
        }
        METRICS => whole(StatusCode::OK, TEXT_OF_METRICS, facts.metrics.render()),
        NAMES if !peer.ip().to_canonical().is_loopback() => {
            whole(StatusCode::FORBIDDEN, TEXT, "this is told to this machine alone\n")
        }
        NAMES => names(facts),
        _ => {
            let there_are = format!("there are {READY}, {METRICS} and {NAMES}\n");
            whole(StatusCode::NOT_FOUND, TEXT, there_are)
        }
    }
}

/// What Istio's agent has there too: istiod hears that the machine is not well, and Envoy lets what
/// comes in go on until it ends. Whoever is on this machine may ask; the admin socket takes it back.
async fn drain(method: &Method, peer: SocketAddr, facts: &Facts) -> Reply {
    let Some(mesh) = &facts.mesh else {
        return whole(StatusCode::NOT_FOUND, TEXT, "there is no Envoy with certificates alone\n");
    };
    if method != Method::POST {
        return whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, "expected POST\n");
    }
    if !peer.ip().to_canonical().is_loopback() {
        return whole(StatusCode::FORBIDDEN, TEXT, "this is for this machine alone\n");
    }
    mesh.drain.begin();
    if let Err(error) = Admin::new(mesh.admin).with_limit(PATIENCE).post(DRAIN_INBOUND).await {
        debug!(error = %hawser_rt::Chain(&error), "envoy not drained");
    }
    whole(StatusCode::OK, TEXT, "OK")
}

/// The name table, or what Istio's agent says when there is none.
fn names(facts: &Facts) -> Reply {
    let dns = facts.mesh.as_ref().and_then(|mesh| mesh.dns.clone());
    let Some((dns, known)) = dns.and_then(|dns| dns.proxy.names().map(|known| (dns, known))) else {
        return whole(StatusCode::NOT_FOUND, JSON, "{}");
    };
    web::written(JSON, move |out| ndsz::write(&known.names, dns.proxy.scope(), out))
}

/// Ready is an agent that has its identity, and an Envoy that has its configuration. The reason is
/// in the body, for whoever asks by hand.
async fn ready(facts: &Facts) -> (StatusCode, String) {
    let waits_for = facts.gates.closed();
    if !waits_for.is_empty() {
        return (NOT_READY, format!("the agent waits for {}\n", waits_for.join(", ")));
    }
    let Some(mesh) = &facts.mesh else { return (StatusCode::OK, String::new()) };
    if let Some(reason) = mesh.drain.reason() {
        return (NOT_READY, format!("{reason}\n"));
    }
    match Admin::new(mesh.admin).with_limit(PATIENCE).readiness().await {
        Ok(Verdict::Ready) => (StatusCode::OK, String::new()),
        Ok(Verdict::NotReady(reason)) => (NOT_READY, format!("{reason}\n")),
        Err(error) => (NOT_READY, format!("{}\n", hawser_rt::Chain(&error))),
    }
}

const READY: &str = "/healthz/ready";
const METRICS: &str = "/stats/prometheus";
const NAMES: &str = "/debug/ndsz";
const DRAIN: &str = "/drain";
const DRAIN_INBOUND: &str = "/drain_listeners?inboundonly&graceful&skip_exit";
const TEXT_OF_METRICS: &str = hawser_rt::metrics::CONTENT_TYPE;
const NOT_READY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const PAUSE: Duration = Duration::from_millis(100);
const MAX_CONNECTIONS: usize = 32;
