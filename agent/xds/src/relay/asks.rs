//! What Envoy asks, on its way to whoever answers.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use bytes::Bytes;
use hawser_fit::Loadable;
use hawser_lastgood::Book;
use hawser_rt::Chain;
use tokio::time::{Instant, timeout};
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
        let Heard { note, accepted, less, has } = self.session().request(message)?;
        self.shared.metrics.requests.increment();
        let who = self.session().who().cloned();
        if let (Some(who), None) = (who, self.client.get()) {
            self.meet(&who).await;
        }
        if let (Some(type_url), Some(book)) = (has, self.book()) {
            // A disk that does not answer must not hold Envoy.
            if let Ok(known) = timeout(BOOK, book.known(&type_url)).await {
                let known = known.into_iter().map(|known| (known.name, known.version));
                let known: Vec<_> = known.collect();
                self.session().reconcile(&type_url, &known);
            }
        }
        if let Some(kept) = accepted {
            kept.accepted();
        }
        if let Some(type_url) = less {
            self.wants_less(&type_url);
        }
        self.note(note);
        self.away.lock().since.get_or_insert_with(Instant::now);
        self.turned.notify_one();
        self.wished.notify_one();
        Ok(())
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
        } else if self.shared.options.fit == Fit::Stock && !program {
            warn!(flow = "xds", "this envoy does not say what it can load, nothing is left out");
        }
        let book = self.open_book(who).await;
        if program {
            self.shared.seen.change(|standing| standing.programs += 1);
        } else if loadable.is_none() {
            // An Envoy that lacks something has it on the list already, where it came back.
            self.shared.seen.change(|standing| standing.lacks = BTreeSet::new());
        }
        self.client.set(Client { program, book, loadable }).ok();
    }

    async fn open_book(&self, who: &Introduction) -> Option<Book> {
        let generator = who.metadata("GENERATOR").unwrap_or_default();
        // The machine keeps what it has when it moves: a node is not its address.
        let id: Vec<&str> = who.id().split('~').collect();
        let name =
            id.get(2..).filter(|name| !name.is_empty()).map_or(id.concat(), |it| it.join("~"));
        let key = format!("{name} {} {generator}", self.shared.options.spiffe);
        // A disk that does not answer must not hold Envoy.
        let opened = timeout(BOOK, self.shared.parts.shelf.book(key.trim_end())).await;
        if opened.is_err() {
            warn!(flow = "xds", waited = ?BOOK, "the disk is slow, nothing is kept of this stream");
        }
        opened.ok()
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

/// How long a disk may take to say what it has.
const BOOK: Duration = Duration::from_secs(1);
