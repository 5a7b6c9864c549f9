//! One question to the workload.

mod connect;
mod exec;
mod grpc;
mod http;
#[cfg(test)]
mod tests;
mod units;

use std::{net::IpAddr, time::Duration};

use tokio::time::timeout;

pub use self::http::Answer;
use crate::{Http, Method, Probe};
use connect::Target;

/// Asks once, and says why the workload is not well if it is not. Whoever is not named in the
/// question is asked at `first`.
pub async fn once(method: &Method, first: Option<IpAddr>, time: Duration) -> Result<(), String> {
    let (name, port) = match method {
        Method::Http(http) => (&http.host, http.port),
        Method::Tcp(tcp) => (&tcp.host, tcp.port),
        Method::Grpc(grpc) => (&None, grpc.port),
        Method::Exec(exec) => return exec::check(exec, time).await,
        Method::Units(units) => return units::check(units, time).await,
    };
    let target = Target::new(name.as_deref(), first, port);
    let answer = async {
        match method {
            Method::Http(http) => http::check(http, &target).await,
            Method::Grpc(grpc) => grpc::check(grpc, &target).await,
            Method::Tcp(_) | Method::Exec(_) | Method::Units(_) => target.connect().await.map(drop),
        }
    };
    within(time, &target, answer).await
}

/// Asks for a page once, for somebody who wants to see what it says. Redirections are followed as
/// in [`once`]; what is a redirection even then counts as 200, which is what Istio's agent says.
///
/// # Errors
///
/// Why there is no answer, or that it redirects too often.
pub async fn page(http: &Http, first: Option<IpAddr>, time: Duration) -> Result<Answer, String> {
    let target = Target::new(http.host.as_deref(), first, http.port);
    within(time, &target, http::page(http, &target, time / 2)).await
}

/// Asks all that a probe asks, one after the other.
pub(crate) async fn all(probe: &Probe, first: Option<IpAddr>) -> Result<(), String> {
    let mut reasons = Vec::new();
    for method in &probe.methods {
        reasons.extend(once(method, first, probe.timeout).await.err());
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
}

async fn within<T>(
    time: Duration,
    target: &Target,
    answer: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let answer = timeout(time, answer).await;
    answer.unwrap_or_else(|_elapsed| Err(format!("{target} has not answered within {time:?}")))
}

/// How probes introduce themselves, here as in Istio.
const AGENT: &str = "istio-probe/1.0";
