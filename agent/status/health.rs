//! `/healthz/ready` on the agent's status port, which Envoy's status port leads to.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use hawser_envoy::{admin::Admin, readiness::Verdict};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Facts;

/// The status port cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("answer on {address}")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

/// Answers until told to stop.
pub async fn serve(
    listener: TcpListener,
    facts: Facts,
    stop: CancellationToken,
) -> Result<(), Error> {
    let address = listener.local_addr().unwrap_or(facts.admin);
    let router = Router::new().route("/healthz/ready", get(ready)).with_state(facts);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    served.await.map_err(|source| Error { address, source })
}

/// Ready is an agent that has its identity, and an Envoy that has its configuration. The reason is
/// in the body, for whoever asks by hand.
async fn ready(State(facts): State<Facts>) -> (StatusCode, String) {
    let waits_for = facts.gates.closed();
    if !waits_for.is_empty() {
        return (NOT_READY, format!("the agent waits for {}\n", waits_for.join(", ")));
    }
    match Admin::new(facts.admin).with_limit(PATIENCE).readiness().await {
        Ok(Verdict::Ready) => (StatusCode::OK, String::new()),
        Ok(Verdict::NotReady(reason)) => (NOT_READY, format!("{reason}\n")),
        Err(error) => (NOT_READY, format!("{}\n", hawser_rt::Chain(&error))),
    }
}

const NOT_READY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const PATIENCE: Duration = Duration::from_secs(3);
