//! One question to the workload.

mod connect;
mod exec;
mod grpc;
mod http;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hawser_node::Node;
use tokio::{sync::watch, time::timeout};

use crate::{Method, Probe};
use connect::Target;

/// Asks once, and says why the workload is not well if it is not.
pub(crate) async fn check(probe: &Probe, node: &watch::Receiver<Arc<Node>>) -> Result<(), String> {
    let first = node.borrow().ips.first().copied();
    let (name, port) = match &probe.method {
        Method::Http(http) => (&http.host, http.port),
        Method::Tcp(tcp) => (&tcp.host, tcp.port),
        Method::Grpc(grpc) => (&None, grpc.port),
        Method::Exec(exec) => return exec::check(exec, probe.timeout).await,
    };
    let target = Target::new(name.as_deref(), first, port);
    let answer = async {
        match &probe.method {
            Method::Http(http) => http::check(http, &target).await,
            Method::Grpc(grpc) => grpc::check(grpc, &target).await,
            Method::Tcp(_) | Method::Exec(_) => target.connect().await.map(drop),
        }
    };
    let answer = timeout(probe.timeout, answer).await;
    answer.unwrap_or_else(|_elapsed| {
        Err(format!("{target} has not answered within {:?}", probe.timeout))
    })
}

/// How probes introduce themselves, here as in Istio.
const AGENT: &str = "istio-probe/1.0";
