//! What Envoy asks, on its way to whoever answers.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use hawser_fit::Loadable;
use hawser_lastgood::{Book, Pending};
use hawser_rt::{Chain, Throttle};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout},
};
use tonic::Status;
use tracing::{debug, warn};

use super::{Client, Ended, Relay};
use crate::{
    Fit,
    downstream::{Requests, Unheard},
    session::{Heard, Introduction, Refusal},
};

impl Relay {
    /// Takes Envoy's requests, and hands on what is to be handed on.
    pub(super) async fn listen(&self, mut requests: Requests) -> Ended {
        loop {
            let request = tokio::select! {
                request = requests.next() => request,
                never = self.feed() => match never {},
            };
            match request {
                Ok(Some(message)) => {
                    if let Err(refusal) = self.take(&message).await {
                        return Ended::Refused((&refusal).into());
                    }
                }
                Ok(None) => return Ended::Envoy,
                Err(error @ Unheard::Gone { .. }) => {
                    debug!(flow = "xds", error = %Chain(&error), "client gone");
                    return Ended::Envoy;
                }
                Err(error @ Unheard::Foreign { .. }) => {
                    return Ended::Refused(Status::internal(Chain(&error).to_string()));
                }
            }
        }
    }

    async fn take(&self, message: &Bytes) -> Result<(), Refusal> {
        self.shared.metrics.requests.increment();
        let Some(message) = self.share(message)? else {
            self.met();
            return Ok(());
        };
        let Heard { note, accepted, less, has } = self.session().request(&message)?;
        let who = self.session().who().cloned();
        if let (Some(who), None) = (who, self.client.get()) {
            self.meet(&who).await;
        }
        if let (Some(type_url), Some(book)) = (has, self.book()) {
            // A disk that does not answer must not hold Envoy.
            if let Ok(known) = timeout(BOOK, book.known(&type_url)).await {
                let known = known.into_iter().filter(|known| !self.is_ours(&known.name));
                let known: Vec<_> = known.map(|known| (known.name, known.version)).collect();
                self.session().reconcile(&type_url, &known);
            }
        }
        accepted.into_iter().for_each(Pending::accepted);
        if let Some(type_url) = less {
            self.wants_less(&type_url);
        }
        self.note(note);
        self.look_at_age();
        self.met();
        self.turned.notify_one();
        self.wished.notify_one();
        self.fallen.notify_one();
        Ok(())
    }

    /// A request has come, which may be the first.
    fn met(&self) {
        self.away.lock().since.get_or_insert_with(|| {
            self.met.notify_one();
            Instant::now()
        });
    }

    fn wants_less(&self, type_url: &str) {
        let wanted = self.session().wanted(type_url);
        if let (Some(modules), Some(wanted)) = (self.modules(type_url), &wanted) {
            modules.only(wanted);
        }
        if let Some(book) = self.book() {
            book.wanted(type_url, wanted);
        }
    }

    /// It is known who asks: what was kept for them is looked up, and what they can load.
    async fn meet(&self, who: &Introduction) {
        let program = who.is_program();
        let loadable = match self.shared.options.fit {
            _ if program => None,
            Fit::Istio => None,
            Fit::Stock => Loadable::of(who.node()),
            Fit::Auto => Loadable::of(who.node()).filter(|loadable| !loadable.has_istio()),
        };
        if let Some(version) = loadable.as_ref().map(Loadable::version) {
            debug!(flow = "xds", version, "what this envoy cannot load is left out");
        } else if self.shared.options.fit == Fit::Stock
            && !program
            && let Some(suppressed) = MUTE.allow()
        {
            warn!(
                flow = "xds",
                suppressed, "this envoy does not say what it can load, nothing is left out"
            );
        }
        if program {
            self.shared.seen.change(|standing| standing.programs += 1);
        } else if loadable.is_none() {
            // An Envoy that lacks something has it on the list already, where it came back.
            self.shared.seen.change(|standing| standing.lacks = BTreeSet::new());
        }
        if !program {
            self.look_for_ours();
        }
        let (key, book, missed) = (self.key(who), OnceCell::new(), AtomicBool::new(false));
        self.client.set(Client { program, key, book, missed, loadable }).ok();
        self.open_book().await;
    }

    /// What the book of that node is called.
    fn key(&self, who: &Introduction) -> String {
        let kind = match who.metadata("GENERATOR") {
            _ if who.is_program() => hawser_lastgood::PROGRAM.to_owned(),
            None | Some("") => String::new(),
            Some(generator) => format!(" {generator}"),
        };
        // The machine keeps what it has when it moves: a node is not its address.
        let id: Vec<&str> = who.id().split('~').collect();
        let name =
            id.get(2..).filter(|name| !name.is_empty()).map_or(id.concat(), |it| it.join("~"));
        format!("{name} {}{kind}", self.shared.options.spiffe)
    }

    async fn open_book(&self) {
        // A disk that does not answer must not hold Envoy.
        if timeout(BOOK, self.book_at_last()).await.is_ok() {
            return;
        }
        self.late.notify_one();
        if let Some(suppressed) = SLOW.allow() {
            warn!(
                flow = "xds",
                waited = ?BOOK,
                suppressed,
                "the disk is slow: what passes until it answers is not kept"
            );
        }
    }

    /// Where what Envoy takes is kept. A slow disk may take its time.
    pub(super) async fn book_at_last(&self) -> Option<&Book> {
        let Client { key, book, .. } = self.client.get()?;
        Some(book.get_or_init(|| self.shared.parts.shelf.book(key)).await)
    }

    /// Opens the book of a slow disk, however long that takes.
    pub(super) async fn open_late(&self) -> Infallible {
        self.late.notified().await;
        self.book_at_last().await;
        let missed = |client: &Client| client.missed.swap(false, Ordering::Relaxed);
        if self.client.get().is_some_and(missed) {
            debug!(flow = "xds", "all is asked for anew: some of it was not kept");
            self.session().doubt(|_| true);
            self.doubted.notify_one();
        }
        std::future::pending().await
    }

    /// Sends what is to be sent, for as long as it is let.
    async fn feed(&self) -> Infallible {
        loop {
            let outgoing = self.outgoing.lock().clone();
            let ready = self.session().has_request();
            match outgoing.filter(|outgoing| ready && !outgoing.is_closed()) {
                Some(outgoing) => {
                    let permit = tokio::select! {
                        permit = outgoing.reserve() => permit,
                        // There may be another way out by now.
                        () = self.turned.notified() => continue,
                    };
                    // If nobody takes it any more, the answering side tells why.
                    if let Ok(permit) = permit
                        && self.is_open(&outgoing)
                        && let Some(message) = self.session().next_request()
                    {
                        permit.send(message);
                        self.asked.notify_one();
                    }
                }
                None => self.turned.notified().await,
            }
        }
    }

    /// Whether that is where requests go at present.
    fn is_open(&self, outgoing: &tokio::sync::mpsc::Sender<Bytes>) -> bool {
        self.outgoing.lock().as_ref().is_some_and(|now| now.same_channel(outgoing))
    }
}

impl From<&Refusal> for Status {
    /// What Envoy is told, and writes into its log.
    fn from(refusal: &Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Overflow { .. } | Refusal::TooManyTypes => Self::resource_exhausted(text),
            Refusal::Unreadable => Self::invalid_argument(text),
        }
    }
}

static MUTE: Throttle = Throttle::new(super::PERIOD);
static SLOW: Throttle = Throttle::new(super::PERIOD);
/// How long a disk may take to say what it has.
const BOOK: Duration = Duration::from_secs(1);
