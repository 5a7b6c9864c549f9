//! Carries one session: Envoy's stream on one side, istiod's on the other.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_istiod::Istiod;
use hawser_proto::type_url;
use hawser_rt::{Chain, Throttle};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{debug, warn};

use hawser_wire::Flavour;

use crate::{
    Seen,
    outage::Outage,
    session::{Note, Session},
    upstream::{Lost, MOST_AT_ONCE, Upstream},
};

/// A stream that Envoy has opened.
pub(crate) struct Accepted {
    pub(crate) flavour: Flavour,
    pub(crate) requests: Streaming<Bytes>,
    /// Closed without a status, the stream ends with OK.
    pub(crate) responses: mpsc::Sender<Result<Bytes, Status>>,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// What all streams share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) istiod: Istiod,
    pub(crate) seen: Seen,
    pub(crate) outage: Arc<Outage>,
    pub(crate) stop: CancellationToken,
}

/// Joins Envoy's stream to a new one to istiod, until either ends.
pub(crate) async fn join(accepted: Accepted, shared: Shared) {
    let Accepted { flavour, requests, responses, slot: _slot } = accepted;
    let relay = Relay { flavour, session: Session::new(flavour), shared, heard: false };
    relay.shared.seen.change(|standing| standing.streams += 1);
    let (seen, flavour) = (relay.shared.seen.clone(), flavour.name());
    debug!(flow = "xds", flavour, "stream opened");
    if let Err(status) = relay.run(requests, &responses).await {
        // Envoy may be gone; then nobody needs to be told.
        responses.send(Err(status)).await.ok();
    }
    seen.change(|standing| standing.streams -= 1);
    debug!(flow = "xds", flavour, "stream closed");
}

struct Relay {
    flavour: Flavour,
    session: Session,
    shared: Shared,
    /// Whether istiod has answered.
    heard: bool,
}

/// Who has ended the session.
enum Ended {
    /// With what it is to be told.
    Envoy(Status),
    Istiod(Lost),
}

impl Relay {
    /// Joins until an end; an error is what Envoy is to be told.
    async fn run(
        mut self,
        mut requests: Streaming<Bytes>,
        responses: &mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<(), Status> {
        let mut again = 0;
        loop {
            match self.attempt(&mut requests, responses).await {
                Ok(()) => return Ok(()),
                Err(Ended::Envoy(status)) => return Err(status),
                Err(Ended::Istiod(lost)) => {
                    let may = lost.has_alternative() && again < MOST_AT_ONCE;
                    if !may || !self.session.begin_again() {
                        return self.lost(&lost);
                    }
                    again += 1;
                    let error = Chain(&lost).to_string();
                    debug!(flow = "xds", error, "trying with something else to show");
                }
            }
        }
    }

    /// Moves messages over one stream to istiod until an end.
    async fn attempt(
        &mut self,
        requests: &mut Streaming<Bytes>,
        responses: &mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<(), Ended> {
        let (to_istiod, outgoing) = mpsc::channel(1);
        let istiod = self.shared.istiod.clone();
        let stop = self.shared.stop.clone();
        let mut opening =
            pin!(Upstream::open(&istiod, self.flavour, ReceiverStream::new(outgoing)));
        let mut upstream: Option<Upstream> = None;
        let mut response: Option<Bytes> = None;
        // Every branch is cancel-safe: what is taken from a stream or a queue is handed on in the
        // same turn, or stays in `session` and `response`.
        let ended = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                () = responses.closed() => break Ok(()),
                request = requests.message() => match self.take(request) {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(status) => break Err(Ended::Envoy(status)),
                },
                permit = to_istiod.reserve(),
                    if self.session.has_request() && !to_istiod.is_closed() =>
                {
                    // If istiod has closed its ear, its voice tells why.
                    if let (Ok(permit), Some(message)) = (permit, self.session.next_request()) {
                        permit.send(message);
                    }
                }
                opened = &mut opening, if upstream.is_none() => match opened {
                    Ok(opened) => upstream = Some(self.joined(opened)),
                    Err(lost) => break Err(Ended::Istiod(lost)),
                },
                incoming = next(&mut upstream), if response.is_none() => match incoming {
                    Ok(Some(message)) => response = self.pass(message),
                    Ok(None) => break Ok(()),
                    Err(lost) => break Err(Ended::Istiod(lost)),
                },
                permit = responses.reserve(), if response.is_some() => {
                    if let (Ok(permit), Some(message)) = (permit, response.take()) {
                        permit.send(Ok(message));
                    }
                }
            }
        };
        if upstream.is_some() {
            self.shared.seen.change(|standing| standing.joined -= 1);
        }
        ended
    }

    /// Takes what came from Envoy; false at the end of its stream.
    fn take(&mut self, request: Result<Option<Bytes>, Status>) -> Result<bool, Status> {
        match request {
            Ok(Some(message)) => {
                let note = self
                    .session
                    .request(message)
                    .map_err(|error| Status::resource_exhausted(error.to_string()))?;
                self.note(note);
                Ok(true)
            }
            Ok(None) => Ok(false),
            // Envoy stops or restarts: its pipe breaks.
            Err(error) => {
                debug!(flow = "xds", error = %Chain(&error), "stream from envoy broken");
                Ok(false)
            }
        }
    }

    fn joined(&self, opened: Upstream) -> Upstream {
        self.shared.seen.change(|standing| standing.joined += 1);
        opened
    }

    /// The response, if it is for Envoy.
    fn pass(&mut self, message: Bytes) -> Option<Bytes> {
        let (passes, note) = self.session.response(&message);
        self.heard = true;
        self.shared.outage.over();
        self.note(note);
        passes.then_some(message)
    }

    fn lost(&self, lost: &Lost) -> Result<(), Status> {
        let error = Chain(lost).to_string();
        if self.heard {
            // istiod ends each connection now and then; Envoy's next stream shows how it stands.
            debug!(flow = "xds", error, "istiod lost");
        } else {
            let failure = self.shared.outage.failed(&error);
            self.shared.seen.change(|standing| standing.failure = Some(failure));
        }
        Err(Status::from(lost))
    }

    fn note(&self, note: Note) {
        debug!(flow = "xds", flavour = self.flavour.name(), ?note, "message");
        if let Note::Rejected { type_url, version, error } = &note
            && let Some(suppressed) = refusals(type_url).allow()
        {
            warn!(flow = "xds", type_url, version, error, suppressed, "envoy refuses a push");
        }
        self.shared.seen.note(note, SystemTime::now());
    }
}

/// The next response of a stream that is open; never, while it is not.
async fn next(upstream: &mut Option<Upstream>) -> Result<Option<Bytes>, Lost> {
    match upstream {
        Some(upstream) => upstream.next().await,
        None => std::future::pending().await,
    }
}

/// Refusals are told once a minute for each type: one of listeners must not hide behind one of
/// clusters.
fn refusals(type_url: &str) -> &'static Throttle {
    static TOLD: [Throttle; 5] = [const { Throttle::new(Duration::from_secs(60)) }; 5];
    let [clusters, listeners, routes, endpoints, others] = &TOLD;
    match type_url {
        type_url::CLUSTER => clusters,
        type_url::LISTENER => listeners,
        type_url::ROUTE => routes,
        type_url::ENDPOINT => endpoints,
        _ => others,
    }
}
