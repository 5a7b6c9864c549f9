//! The agent's status port, as Istio's agent has it: whether the machine is ready, metrics of all,
//! the probes of its programs, the name table, and two requests that change something.
//!
//! Whoever reaches the port may ask, so nobody may hold it up. A connection is for one request, has
//! its time, and has its place: those of this machine are apart, and of the others no one takes all.

mod gzip;
mod probes;
mod ready;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hawser_envoy::admin::Admin;
use hawser_rt::metrics::Gauge;
use hawser_scrape::Scraper;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Facts,
    crowd::{Crowd, machine},
    ndsz,
    web::{self, JSON, PATIENCE, Reply, TEXT, whole},
};

pub use probes::{At, Probes};

/// What the port shows, and what it can do.
#[derive(Debug)]
pub struct Port {
    /// What the agent knows of itself.
    pub facts: Facts,
    /// The metrics of all.
    pub scraper: Scraper,
    /// Who may see them.
    pub audience: Audience,
    /// What programs of this machine are to be asked for others.
    pub probes: Probes,
    /// Ends the agent.
    pub quit: CancellationToken,
    /// How long it took to become ready.
    pub startup: Startup,
}

/// Who may see metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever reaches the port.
    Anybody,
    /// Programs of this machine.
    ThisMachine,
}

/// How long it took to become ready, once it has.
#[derive(Debug)]
pub struct Startup {
    begun: Instant,
    took: Gauge,
}

impl Startup {
    /// Begins now.
    pub fn begin(metrics: &hawser_rt::metrics::Registry) -> Self {
        let help = "Time from the start until /healthz/ready said yes for the first time.";
        let took = metrics.gauge("istio_agent_startup_duration_seconds", help, &[]);
        Self { begun: Instant::now(), took }
    }

    fn done(&self) {
        if self.took.value().is_none() {
            self.took.set(self.begun.elapsed().as_secs_f64());
        }
    }
}

/// What is done when the answer has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Drain,
    Quit,
}

/// Answers until told to stop.
pub async fn serve(
    listener: TcpListener,
    port: Port,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let port = Arc::new(port);
    let (ours, others) = (Crowd::new(OURS, OURS), Crowd::new(OTHERS, OF_ONE));
    let mut connections = JoinSet::new();
    // Cancel safe: a connection is accepted whole or not at all. What is open at the end is
    // dropped with the set.
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let crowd = if is_here(peer) { &ours } else { &others };
                    let Some(place) = crowd.admit(machine(peer.ip())) else {
                        web::turn_away(|text| stream.try_write(text));
                        continue;
                    };
                    let port = Arc::clone(&port);
                    connections.spawn(async move {
                        let then = Arc::new(Mutex::new(Then::Nothing));
                        let answer = |request| {
                            let (port, then) = (Arc::clone(&port), Arc::clone(&then));
                            async move { answer(&request, peer, &port, &then).await }
                        };
                        drop(timeout(LIFE, web::converse(stream, answer)).await);
                        drop(place);
                        let then = *then.lock();
                        port.act(then).await;
                    });
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

async fn answer(
    request: &Request<Incoming>,
    peer: SocketAddr,
    port: &Port,
    then: &Mutex<Then>,
) -> Reply {
    let here = is_here(peer);
    let reply = match request.uri().path() {
        "/healthz/ready" => port.ready().await,
        "/metrics" | "/stats/prometheus" if !here && port.audience == Audience::ThisMachine => {
            forbidden()
        }
        "/metrics" | "/stats/prometheus" => port.metrics(request).await,
        path if path.starts_with("/app-health/") || path.starts_with("/app-lifecycle/") => {
            port.probes.answer(path, request.headers(), &port.facts).await
        }
        path if LOCAL.contains(&path) || path.starts_with(PPROF) => {
            if here {
                local(path, request.method(), port, then)
            } else {
                forbidden()
            }
        }
        _ => whole(StatusCode::NOT_FOUND, TEXT, THERE_ARE),
    };
    gzip::packed(request.headers(), reply)
}

/// What is for this machine alone.
fn local(path: &str, method: &Method, port: &Port, then: &Mutex<Then>) -> Reply {
    let act = |what| {
        *then.lock() = what;
        whole(StatusCode::OK, TEXT, "OK")
    };
    match path {
        NAMES => port.names(),
        QUIT | DRAIN if *method != Method::POST => web::nowhere(path, &[], &[QUIT, DRAIN]),
        QUIT => act(Then::Quit),
        DRAIN => match &port.facts.mesh {
            Some(mesh) => {
                // Whoever asks next whether the machine is ready hears of it.
                mesh.drain.begin();
                act(Then::Drain)
            }
            None => {
                whole(StatusCode::NOT_FOUND, TEXT, "there is no Envoy with certificates alone\n")
            }
        },
        _ => whole(StatusCode::NOT_IMPLEMENTED, TEXT, NO_PPROF),
    }
}

impl Port {
    /// The reason is in the body, for whoever asks by hand.
    async fn ready(&self) -> Reply {
        match ready::ready(&self.facts).await {
            Ok(()) => {
                self.startup.done();
                whole(StatusCode::OK, TEXT, "")
            }
            Err(reason) => whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        }
    }

    async fn metrics(&self, request: &Request<Incoming>) -> Reply {
        let (told, query) = (request.headers(), request.uri().query());
        match self.scraper.gather(told, query, self.facts.metrics()).await {
            Some(merged) => web::streamed(merged.content_type(), merged),
            None => whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, "too many scrape at a time\n"),
        }
    }

    /// The name table, or what Istio's agent says when there is none.
    fn names(&self) -> Reply {
        let dns = self.facts.mesh.as_ref().and_then(|mesh| mesh.dns.clone());
        let known = dns.and_then(|dns| dns.proxy.names().map(|known| (dns, known)));
        let Some((dns, known)) = known else {
            return whole(StatusCode::NOT_FOUND, JSON, "{}");
        };
        web::written(JSON, move |out| ndsz::write(&known.names, dns.proxy.scope(), out))
    }

    /// Does what was asked for, when whoever asked has its answer.
    async fn act(&self, what: Then) {
        match (what, &self.facts.mesh) {
            (Then::Nothing, _) | (Then::Drain, None) => {}
            (Then::Quit, _) => self.quit.cancel(),
            // As in Istio: what comes in goes on until it ends, and the admin socket takes it back.
            (Then::Drain, Some(mesh)) => {
                let admin = Admin::new(mesh.admin).with_limit(PATIENCE);
                if let Err(error) = admin.post(DRAIN_INBOUND).await {
                    debug!(error = %hawser_rt::Chain(&error), "envoy not drained");
                }
            }
        }
    }
}

/// Whether somebody is on this machine, as far as the connection says: what Envoy leads here is.
fn is_here(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

fn forbidden() -> Reply {
    whole(StatusCode::FORBIDDEN, TEXT, "this is for this machine alone\n")
}

const NAMES: &str = "/debug/ndsz";
const QUIT: &str = "/quitquitquit";
const DRAIN: &str = "/drain";
const LOCAL: [&str; 3] = [NAMES, QUIT, DRAIN];
const PPROF: &str = "/debug/pprof/";
const NO_PPROF: &str = "hawser is not written in Go and has no profiler of its own; where time is \
    spent, `perf record -g -p $(pidof hawser)` knows, and what memory there is, /metrics\n";
const THERE_ARE: &str = "there are /healthz/ready, /metrics, /stats/prometheus, /app-health/..., \
    /app-lifecycle/..., and for this machine alone /debug/ndsz, POST /drain, POST /quitquitquit\n";
const DRAIN_INBOUND: &str = "/drain_listeners?inboundonly&graceful&skip_exit";
const PAUSE: Duration = Duration::from_millis(100);
/// Time for a request, from its first byte to the last of its answer: more than any scrape takes.
const LIFE: Duration = Duration::from_secs(60);
/// How many connections this machine has, others have, and each of these.
const OURS: usize = 32;
const OTHERS: usize = 32;
const OF_ONE: usize = 8;
