//! The door for the command line: `/status`, `/dns/table` and `/dns/explain`, over a Unix socket.
//!
//! Whoever may connect may read. One thing can be changed: `/drain` takes the machine out of the
//! mesh, for an Envoy that is about to stop, and `/undrain` back into it.

use std::{convert::Infallible, io::Write as _, time::SystemTime};

use hawser_dns::listing;
use hawser_rt::uds::{Door, Incoming, Peers};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming as Body;
use tokio::{task::JoinSet, time::timeout};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    Facts,
    dns::Dns,
    vips::Told,
    web::{self, JSON, LIFE, Reply, TEXT, whole},
};

/// Answers until told to stop.
///
/// Root and the agent's own user, that is: see [`Peers`].
pub async fn serve(
    door: Door,
    peers: Peers,
    facts: Facts,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut incoming = Incoming::new(door, peers);
    let mut connections = JoinSet::new();
    // Cancel safe: a connection is accepted whole or not at all.
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(Ok(stream)) = incoming.next(), if connections.len() < MAX_CONNECTIONS => {
                let facts = facts.clone();
                let answer = move |request| {
                    let facts = facts.clone();
                    async move { answer(&request, &facts).await }
                };
                connections.spawn(timeout(LIFE, web::converse(stream, answer)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(request: &Request<Body>, facts: &Facts) -> Reply {
    if request.method() == Method::POST {
        return change(request.uri().path(), facts);
    }
    if !web::reads(request.method()) {
        return whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, "expected GET\n");
    }
    let said = |name| web::parameter(request.uri().query(), name);
    match request.uri().path() {
        "/status" => as_json(&facts.snapshot(SystemTime::now()).await),
        "/lacks" => as_json(&facts.lacks(SystemTime::now()).await),
        "/intercept" => as_json(&vips(facts)),
        "/dns/table" => table(facts, said("filter")),
        "/dns/explain" => explain(facts, said("name"), said("type")),
        _ => whole(StatusCode::NOT_FOUND, TEXT, THERE_ARE),
    }
}

/// The machine out of the mesh, or back.
fn change(path: &str, facts: &Facts) -> Reply {
    let Some(mesh) = &facts.mesh else { return whole(StatusCode::NOT_FOUND, TEXT, NO_MESH) };
    match path {
        "/drain" => as_json(&mesh.drain.begin()),
        "/undrain" => {
            mesh.drain.end();
            whole(StatusCode::OK, TEXT, "OK\n")
        }
        _ => whole(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "expected GET; POST is for /drain and /undrain\n",
        ),
    }
}

fn as_json(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            whole(StatusCode::OK, JSON, text)
        }
        Err(error) => whole(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

/// What of the names matters to who redirects traffic.
fn vips(facts: &Facts) -> Told {
    let kept = dns(facts).and_then(|dns| dns.proxy.names()).map(|known| known.names);
    let sent = || facts.mesh.as_ref().and_then(|mesh| mesh.names.borrow().clone());
    Told::of(kept.or_else(sent).as_ref())
}

/// The names of the mesh: an array with an entry a line.
fn table(facts: &Facts, filter: Option<String>) -> Reply {
    let Some(dns) = dns(facts) else { return whole(StatusCode::NOT_FOUND, TEXT, NO_DNS) };
    let Some(table) = dns.proxy.table() else {
        return whole(StatusCode::NOT_FOUND, TEXT, NO_NAMES);
    };
    web::written(JSON, move |out| {
        let mut before = "[\n";
        for row in listing::rows(&table, filter.as_deref()) {
            out.write_all(before.as_bytes())?;
            serde_json::to_writer(&mut *out, &row)?;
            before = ",\n";
        }
        out.write_all(if before.starts_with('[') { b"[\n]\n" } else { b"\n]\n" })
    })
}

/// Why a name resolves as it does.
fn explain(facts: &Facts, name: Option<String>, kind: Option<String>) -> Reply {
    let Some(dns) = dns(facts) else { return whole(StatusCode::NOT_FOUND, TEXT, NO_DNS) };
    let (Some(name), Some(kind)) = (name, kind.and_then(|kind| kind.parse().ok())) else {
        return whole(StatusCode::BAD_REQUEST, TEXT, "expected ?name=NAME&type=NUMBER\n");
    };
    match dns.explain(&name, kind) {
        Some(explained) => as_json(&explained),
        None => whole(StatusCode::BAD_REQUEST, TEXT, format!("{name:?} is no name\n")),
    }
}

fn dns(facts: &Facts) -> Option<&Dns> {
    facts.mesh.as_ref()?.dns.as_ref()
}

const THERE_ARE: &str =
    "there are /status, /dns/table?filter=TEXT, /dns/explain?name=NAME&type=NUMBER\n";
const NO_MESH: &str = "this agent only keeps certificates: identity.only is true\n";
const NO_DNS: &str =
    "this agent answers no names: dns.enabled is false, or identity.only is true\n";
const NO_NAMES: &str = "there are no names of the mesh yet\n";
const MAX_CONNECTIONS: usize = 16;
