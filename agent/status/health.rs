//! The agent's status port: `/healthz/ready`, which Envoy's status port leads to, and
//! `/stats/prometheus` with the agent's own counts.
//!
//! Whoever reaches the port may ask, so nobody may hold it up: connections are few, short, and
//! dropped when the agent stops.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use hawser_envoy::{admin::Admin, readiness::Verdict};
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Facts;

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
                Ok((stream, _)) => {
                    connections.spawn(timeout(LIFE, converse(stream, facts.clone())));
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

async fn converse(stream: TcpStream, facts: Facts) {
    let answer = service_fn(move |request| {
        let facts = facts.clone();
        async move { Ok::<_, Infallible>(answer(&request, &facts).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(LARGEST_HEAD);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
        debug!(%error, "connection to the status port ended");
    }
}

async fn answer(request: &Request<Incoming>, facts: &Facts) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz/ready") => ready(facts).await,
        (&Method::GET | &Method::HEAD, METRICS) => (StatusCode::OK, facts.metrics.render()),
        (_, "/healthz/ready" | METRICS) => {
            (StatusCode::METHOD_NOT_ALLOWED, "expected GET\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, format!("there are /healthz/ready and {METRICS}\n")),
    };
    let mut response = Response::new(Full::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    *response.status_mut() = status;
    response
}

/// Ready is an agent that has its identity, and an Envoy that has its configuration. The reason is
/// in the body, for whoever asks by hand.
async fn ready(facts: &Facts) -> (StatusCode, String) {
    let waits_for = facts.gates.closed();
    if !waits_for.is_empty() {
        return (NOT_READY, format!("the agent waits for {}\n", waits_for.join(", ")));
    }
    let Some(mesh) = &facts.mesh else { return (StatusCode::OK, String::new()) };
    match Admin::new(mesh.admin).with_limit(PATIENCE).readiness().await {
        Ok(Verdict::Ready) => (StatusCode::OK, String::new()),
        Ok(Verdict::NotReady(reason)) => (NOT_READY, format!("{reason}\n")),
        Err(error) => (NOT_READY, format!("{}\n", hawser_rt::Chain(&error))),
    }
}

const METRICS: &str = "/stats/prometheus";
const NOT_READY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const PATIENCE: Duration = Duration::from_secs(3);
const LIFE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
const MAX_CONNECTIONS: usize = 32;
const LARGEST_HEAD: usize = 16 * 1024;
