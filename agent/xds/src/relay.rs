//! One stream of Envoy's, served for as long as Envoy wants it.
//!
//! A few flows in one task: what Envoy asks ([`asks`]), what it is answered ([`answers`]), what
//! changes around both, and what of it could not be kept ([`mending`]). They share the session, which
//! none of them holds across an await.

mod age;
mod answers;
mod asks;
mod detour;
mod fitting;
mod gone;
mod hearing;
mod mending;
mod notes;
mod ours;
mod pace;
mod replay;

use std::{
    convert::Infallible,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use hawser_fit::Loadable;
use hawser_lastgood::{Book, Pending};
use hawser_node::Node;
use hawser_rt::Throttle;
use hawser_wire::{Flavour, Tail};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Notify, OnceCell, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, warn};

pub(crate) use self::{age::Ages, detour::Remote};
use self::{ours::Ours, pace::Renewals};
use crate::{
    Options, Parts, Seen, Stale,
    downstream::{Accepted, Requests, Voice},
    metrics::Metrics,
    outage::Outage,
    passage::Came,
    session::{Address, Note, Sent, Session, brief},
};

/// What all streams share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) options: Arc<Options>,
    pub(crate) parts: Parts,
    pub(crate) seen: Seen,
    pub(crate) outage: Arc<Outage>,
    pub(crate) ages: Arc<Ages>,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
}

/// Serves a stream until Envoy ends it, or the agent stops.
pub(crate) async fn relay(accepted: Accepted, shared: Shared) {
    static TOLD: Throttle = Throttle::new(PERIOD);
    let Accepted { flavour, requests, voice, slot: _slot } = accepted;
    let seen = shared.seen.clone();
    seen.change(|standing| standing.streams += 1);
    debug!(flow = "xds", flavour = flavour.name(), "stream opened");
    let metrics = shared.metrics.clone();
    let relay = Relay::new(flavour, voice.clone(), shared);
    let ended = relay.run(requests).await;
    relay.over();
    match ended {
        Ended::Stopped => {}
        Ended::Envoy => metrics.envoy_ended.expected.increment(),
        Ended::Refused(status) => {
            metrics.envoy_ended.broken.increment();
            if let Some(suppressed) = TOLD.allow() {
                let reason = status.message();
                warn!(flow = "xds", reason, suppressed, "stream of a client refused");
            }
            voice.end(status).await;
        }
    }
    seen.change(|standing| standing.streams -= 1);
    debug!(flow = "xds", flavour = flavour.name(), "stream closed");
}

/// How Envoy's stream ends.
#[derive(Debug)]
enum Ended {
    Stopped,
    /// By Envoy.
    Envoy,
    /// For what Envoy has sent.
    Refused(Status),
}

#[derive(Debug)]
pub(crate) struct Relay {
    shared: Shared,
    number: u64,
    flavour: Flavour,
    voice: Voice,
    session: Mutex<Session<Pending>>,
    /// Where requests go, while there is a stream to whoever answers.
    outgoing: Mutex<Option<mpsc::Sender<bytes::Bytes>>>,
    away: Mutex<Away>,
    age: Mutex<Age>,
    client: OnceLock<Client>,
    /// There may be something to send.
    turned: Notify,
    /// There may be something to answer out of what is kept.
    wished: Notify,
    renewals: Mutex<Renewals>,
    /// What is told beside what whoever answers says, if anything is.
    ours: Option<Ours>,
    /// The stream to whoever answers is to be begun anew.
    renew: Notify,
    /// A first request has come.
    met: Notify,
    /// Something was asked.
    asked: Notify,
    /// The disk did not say in time what is kept.
    late: Notify,
    /// Something is to be asked for anew.
    doubted: Notify,
    /// Envoy has refused what it is told, and has nothing else.
    fallen: Notify,
}

/// How old what Envoy has is, if nobody confirms it.
#[derive(Debug, Default)]
struct Age {
    stale: Option<Stale>,
    /// What was told of it.
    told: Option<Stale>,
}

/// Who has opened the stream, known with its first request.
#[derive(Debug)]
struct Client {
    program: bool,
    /// What its book is called.
    key: String,
    book: OnceCell<Book>,
    /// Something has passed while there was no book: what was kept is not what Envoy has.
    missed: AtomicBool,
    /// What it can load, if what it cannot is to be left out.
    loadable: Option<Loadable>,
}

/// Since when Envoy waits, or may have to.
#[derive(Debug, Default)]
struct Away {
    /// None before Envoy has asked.
    since: Option<Instant>,
    /// An attempt has failed since.
    failed: bool,
}

impl Relay {
    fn new(flavour: Flavour, voice: Voice, shared: Shared) -> Self {
        let address = address(&shared.parts.node.borrow());
        Self {
            number: shared.ages.number(),
            flavour,
            voice,
            session: Mutex::new(Session::new(flavour, address)),
            outgoing: Mutex::default(),
            away: Mutex::default(),
            age: Mutex::default(),
            client: OnceLock::new(),
            turned: Notify::new(),
            wished: Notify::new(),
            renewals: Mutex::new(Renewals::new()),
            ours: Ours::new(flavour, &*shared.parts.source),
            renew: Notify::new(),
            met: Notify::new(),
            asked: Notify::new(),
            late: Notify::new(),
            doubted: Notify::new(),
            fallen: Notify::new(),
            shared,
        }
    }

    async fn run(&self, requests: Requests) -> Ended {
        // Whatever is dropped half-way belongs to a stream that is over.
        tokio::select! {
            () = self.shared.stop.cancelled() => Ended::Stopped,
            () = self.voice.closed() => Ended::Envoy,
            ended = self.listen(requests) => ended,
            ended = self.answer() => ended,
            ended = self.tell_ours() => ended,
            never = self.heed() => match never {},
            never = self.open_late() => match never {},
            never = self.mend() => match never {},
        }
    }

    pub(crate) fn flavour(&self) -> Flavour {
        self.flavour
    }

    pub(crate) fn voice(&self) -> &Voice {
        &self.voice
    }

    pub(crate) fn session(&self) -> MutexGuard<'_, Session<Pending>> {
        self.session.lock()
    }

    /// Where what Envoy takes is kept.
    pub(crate) fn book(&self) -> Option<&Book> {
        self.client.get()?.book.get()
    }

    /// Something passes that nobody keeps.
    pub(crate) fn misses(&self) {
        if let Some(client) = self.client.get() {
            client.missed.store(true, Ordering::Relaxed);
        }
    }

    fn has_missed(&self) -> bool {
        self.client.get().is_some_and(|client| client.missed.load(Ordering::Relaxed))
    }

    fn is_program(&self) -> bool {
        self.client.get().is_some_and(|client| client.program)
    }

    /// Follows the workload's health, and the machine's address.
    async fn heed(&self) -> Infallible {
        let (mut health, mut node) =
            (self.shared.parts.health.clone(), self.shared.parts.node.clone());
        let now = health.borrow_and_update().clone();
        self.session().health(now);
        loop {
            tokio::select! {
                () = changed(&mut health) => {
                    let now = health.borrow_and_update().clone();
                    self.session().health(now);
                    self.turned.notify_one();
                }
                () = changed(&mut node) => {
                    let now = address(&node.borrow_and_update());
                    if self.session().moved(now) {
                        self.renewals.lock().ask();
                        self.renew.notify_one();
                    }
                }
            }
        }
    }

    /// A response goes to Envoy.
    pub(crate) fn sent(&self, tail: &Tail, sent: Sent<Pending>, came: Came) {
        let note = Note::Sent {
            type_url: brief(&tail.type_url),
            version: brief(&tail.version),
            resources: tail.resources,
        };
        match came {
            Came::Answered => self.session().sent(&tail.type_url, sent),
            Came::Kept => self.session().replayed(&tail.type_url, Some(sent)),
        }
        self.shared.metrics.responses.increment();
        self.note(note);
        self.look_at_age();
        self.others_told();
    }

    /// A response went to Envoy in part.
    pub(crate) fn broken(&self, type_url: &str, sent: Sent<Pending>) {
        self.session().sent(type_url, sent);
    }

    /// A response is not for Envoy.
    pub(crate) fn withheld(&self, type_url: &str) {
        self.note(Note::Withheld { type_url: brief(type_url) });
    }

    /// Refuses a response in Envoy's place.
    pub(crate) fn refuse(&self, type_url: &str, nonce: &str, reason: &str) {
        self.session().refuse(type_url, nonce, reason);
        self.turned.notify_one();
        let (version, error) = (String::new(), brief(reason));
        self.note(Note::Rejected { type_url: brief(type_url), version, error });
    }

    /// Tells when what Envoy has gets old, and when it is fresh again.
    fn look_at_age(&self) {
        if self.is_program() {
            return;
        }
        let is = self.session().is_stale();
        let mut age = self.age.lock();
        let now = SystemTime::now();
        age.stale = is.then(|| age.stale.take().unwrap_or(Stale { of: now, since: now }));
        if age.stale == age.told {
            return;
        }
        let stale = age.stale.clone();
        age.told.clone_from(&stale);
        self.shared.ages.note(&self.shared.seen, self.number, stale);
    }

    /// If it is, another stream may have said that it is not.
    fn is_fresh(&self) {
        if !self.is_program() && self.age.lock().told.is_none() {
            self.shared.ages.note(&self.shared.seen, self.number, None);
        }
    }

    /// Envoy's stream is over: what it left in the books goes.
    fn over(&self) {
        let program = self.is_program();
        if self.age.lock().told.take().is_some() {
            self.shared.ages.over(&self.shared.seen, self.number);
        }
        if program {
            let who = self.who();
            self.shared.seen.change(|standing| {
                standing.programs -= 1;
                standing.refusing.retain(|(client, _), _| *client != who);
            });
        }
    }
}

/// What of a node may change.
fn address(node: &Node) -> Address {
    let ips = node.metadata.get("INSTANCE_IPS").and_then(|ips| ips.as_str()).unwrap_or_default();
    Address { id: node.id.clone(), ips: ips.to_owned() }
}

/// Done when there is another value; never, when there cannot be one.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

const PERIOD: Duration = Duration::from_secs(60);
