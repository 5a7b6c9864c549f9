//! The door for the command line, a Unix socket: what may be read there is in `READS`, what may be
//! changed in `CHANGES`.
//!
//! Whoever the file of the socket lets in may read: root, the agent's own user, and members of the
//! agent's group. Only the first two may change anything. Neither can hold up the others: places for
//! those who read are apart, and each user has a part of them.

use std::{
    convert::Infallible,
    io::Write as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_dns::listing;
use hawser_rt::uds::{Door, Incoming};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming as Body;
use nix::unistd::geteuid;
use tokio::{net::UnixStream, task::JoinSet, time::timeout};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::log::level::Filter;

use super::{
    Facts,
    crowd::Crowd,
    dns::Dns,
    maintenance, services,
    vips::Told,
    web::{self, JSON, LIFE, Reply, TEXT, whole},
};

/// What may be read. Each has its line in [`read`].
const READS: &[&str] = &[
    "/status",
    "/lacks",
    "/intercept",
    "/dns/table?filter=TEXT",
    "/dns/explain?name=NAME&type=NUMBER",
    "/services?host=NAME",
    "/events",
    "/log",
    "/maintenance",
];

/// What may be changed. Each has its line in [`change`].
const CHANGES: &[&str] = &[
    "/drain",
    "/undrain",
    "/log?level=LEVEL&for=SECONDS",
    "/maintenance?state=on|off&reason=TEXT&for=SECONDS",
];

/// Answers until told to stop.
pub async fn serve(door: Door, facts: Facts, stop: CancellationToken) -> Result<(), Infallible> {
    let mut incoming = Incoming::of_all(door);
    let mut connections = JoinSet::new();
    let (masters, readers) = (Crowd::new(MASTERS, MASTERS), Crowd::new(READERS, OF_A_READER));
    // Cancel safe: a connection is accepted whole or not at all.
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(Ok(stream)) = incoming.next() => {
                let Some((caller, uid)) = Caller::of(&stream) else { continue };
                let crowd = if caller == Caller::Master { &masters } else { &readers };
                let Some(place) = crowd.admit(uid) else {
                    web::turn_away(|text| stream.try_write(text));
                    continue;
                };
                let facts = facts.clone();
                let answer = move |request| {
                    let facts = facts.clone();
                    async move { answer(&request, caller, &facts).await }
                };
                connections.spawn(async move {
                    drop(timeout(LIFE, web::converse(stream, answer)).await);
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Who has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Root, or the agent's own user.
    Master,
    /// One of the group that the socket belongs to.
    Reader,
}

impl Caller {
    /// By the kernel's word.
    fn of(stream: &UnixStream) -> Option<(Self, u32)> {
        let uid = stream.peer_cred().ok()?.uid();
        let master = uid == 0 || uid == geteuid().as_raw();
        Some((if master { Self::Master } else { Self::Reader }, uid))
    }
}

async fn answer(request: &Request<Body>, caller: Caller, facts: &Facts) -> Reply {
    let (path, query) = (request.uri().path(), request.uri().query());
    let said = |name: &str| web::parameter(query, name);
    let reply = match *request.method() {
        Method::GET | Method::HEAD => read(path, said, facts).await,
        Method::POST if caller == Caller::Reader => {
            return whole(StatusCode::FORBIDDEN, TEXT, NOT_MASTER);
        }
        Method::POST if path == "/maintenance" => Some(maintenance::change(facts, said).await),
        Method::POST => change(path, said, facts),
        _ => None,
    };
    reply.unwrap_or_else(|| web::nowhere(path, READS, CHANGES))
}

async fn read(path: &str, said: impl Fn(&str) -> Option<String>, facts: &Facts) -> Option<Reply> {
    Some(match path {
        "/status" => as_json(&facts.snapshot(SystemTime::now()).await),
        "/lacks" => as_json(&facts.lacks(SystemTime::now()).await),
        "/intercept" => as_json(&vips(facts)),
        "/dns/table" => table(facts, said("filter")),
        "/dns/explain" => explain(facts, said("name"), said("type")),
        "/services" => services(facts, said("host")),
        "/events" => events(facts),
        "/log" => as_json(&facts.log.level.status()),
        "/maintenance" => maintenance::show(facts),
        _ => return None,
    })
}

fn change(path: &str, said: impl Fn(&str) -> Option<String>, facts: &Facts) -> Option<Reply> {
    let mesh = facts.mesh.as_ref();
    Some(match path {
        // The machine out of the mesh, for an Envoy that is about to stop, or back.
        "/drain" => mesh.map_or_else(no_mesh, |mesh| as_json(&mesh.drain.begin())),
        "/undrain" => mesh.map_or_else(no_mesh, |mesh| {
            mesh.drain.end();
            whole(StatusCode::OK, TEXT, "OK\n")
        }),
        "/log" => set_level(facts, said("level"), said("for")),
        _ => return None,
    })
}

/// What was told last, an event a line.
fn events(facts: &Facts) -> Reply {
    let events = facts.log.events.clone();
    web::written(JSON_LINES, move |out| events.write(out))
}

/// Another level for the log: for so many seconds, or until the configuration is read. None is that
/// of the configuration.
fn set_level(facts: &Facts, level: Option<String>, lasting: Option<String>) -> Reply {
    let wrong = |what: &str| whole(StatusCode::BAD_REQUEST, TEXT, format!("{what}\n"));
    let lasting = match lasting.map(|seconds| seconds.parse().ok().filter(|few| *few <= LONGEST)) {
        Some(None) => return wrong("expected for=SECONDS, a year at most"),
        lasting => lasting.flatten().map(Duration::from_secs),
    };
    let filter = match level.map(|level| level.parse::<Filter>()) {
        Some(Err(error)) => return wrong(&error),
        filter => filter.and_then(Result::ok),
    };
    facts.log.level.say(filter, lasting);
    as_json(&facts.log.level.status())
}

pub(super) fn no_mesh() -> Reply {
    whole(StatusCode::NOT_FOUND, TEXT, NO_MESH)
}

pub(super) fn as_json(value: &impl serde::Serialize) -> Reply {
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

/// The services of the file, or those of one host: an array with one a line.
fn services(facts: &Facts, host: Option<String>) -> Reply {
    let file = facts.mesh.as_ref().and_then(|mesh| mesh.services.as_ref());
    let Some(file) = file else { return whole(StatusCode::NOT_FOUND, TEXT, NO_SERVICES) };
    let standing = Arc::clone(&file.borrow());
    web::written(JSON, move |out| services::write(&standing, host.as_deref(), out))
}

fn dns(facts: &Facts) -> Option<&Dns> {
    facts.mesh.as_ref()?.dns.as_ref()
}

const JSON_LINES: &str = "application/x-ndjson";
/// How long a level may be said to last.
const LONGEST: u64 = 365 * 86_400;
const NOT_MASTER: &str =
    "only root and the agent's own user change anything here: try again with sudo\n";
const NO_MESH: &str = "this agent only keeps certificates: identity.only is true\n";
const NO_DNS: &str =
    "this agent answers no names: dns.enabled is false, or identity.only is true\n";
const NO_NAMES: &str = "there are no names of the mesh yet\n";
const NO_SERVICES: &str =
    "there is no file of services here: `hawser config services.file` says where it would be\n";
/// How many connections those have who may change things, all others, and each of these.
const MASTERS: usize = 8;
const READERS: usize = 12;
const OF_A_READER: usize = 6;
