//! One Envoy stream: requests in, answers out, pushes in between.
//!
//! Polled by the server and by nobody else, so that it lives exactly as long as its connection
//! and is asked for an answer only when there is room to send one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hawser_proto::envoy::{envoy::config::core::v3::Node, google::rpc};
use hawser_rt::Throttle;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::{Stream, wrappers::WatchStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, Streaming};
use tracing::{debug, warn};

use crate::{
    Counts,
    name::Name,
    secret::Secrets,
    subscription::{Answer, Heard, Reaction, Refusal, Subscription},
    wanted::Wish,
};

/// One of the two ways to ask for secrets: how its messages map to the one core.
pub(crate) trait Flavour: Unpin + Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;

    fn node(request: &Self::Request) -> Option<&Node>;
    fn rejection(request: &Self::Request) -> Option<&rpc::Status>;
    fn hear(
        subscription: &mut Subscription,
        request: Self::Request,
        secrets: &Secrets,
    ) -> Result<Reaction, Refusal>;
    fn say(answer: Answer, secrets: &Secrets) -> Self::Response;
}

/// The answers of one stream.
pub(crate) struct Replies<F: Flavour> {
    requests: Streaming<F::Request>,
    changes: WatchStream<Arc<Secrets>>,
    secrets: Arc<Secrets>,
    subscription: Subscription,
    wish: Wish,
    introduced: bool,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    life: Life,
}

/// Counted while it lives, wherever the stream is dropped.
struct Life {
    counts: Arc<Counts>,
    stream: u64,
    _slot: OwnedSemaphorePermit,
}

impl<F: Flavour> Replies<F> {
    pub(crate) fn new(
        requests: Streaming<F::Request>,
        changes: WatchStream<Arc<Secrets>>,
        wish: Wish,
        stop: CancellationToken,
        (stream, slot): (u64, OwnedSemaphorePermit),
        counts: Arc<Counts>,
    ) -> Self {
        counts.opened();
        debug!(flow = "sds", stream, "secret stream opened");
        Self {
            requests,
            changes,
            secrets: Arc::default(),
            subscription: Subscription::new(stream),
            wish,
            introduced: false,
            stop: Box::pin(stop.cancelled_owned()),
            life: Life { counts, stream, _slot: slot },
        }
    }

    fn hear(&mut self, request: F::Request) -> Result<Option<F::Response>, Status> {
        if !self.introduced {
            let node = F::node(&request).filter(|node| !node.id.is_empty());
            let node = node.ok_or_else(|| Status::invalid_argument("missing node information"))?;
            debug!(flow = "sds", stream = self.life.stream, node = %node.id.escape_debug(), "peer");
            self.introduced = true;
        }
        if let Some(rejection) = F::rejection(&request) {
            warn_of(rejection);
        }
        let reaction = F::hear(&mut self.subscription, request, &self.secrets)
            .map_err(|refusal| self.refuse(&refusal))?;
        self.wish
            .hold(self.subscription.wanted())
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let counts = &self.life.counts;
        match reaction.heard {
            Heard::Subscription => {}
            Heard::Acceptance => counts.accept(),
            Heard::Rejection => counts.reject(),
            Heard::Stale => counts.pass_over(),
        }
        self.miss(&reaction.unknown);
        Ok(reaction.answer.map(|answer| self.say(answer)))
    }

    fn refuse(&self, refusal: &Refusal) -> Status {
        match refusal {
            Refusal::TooMuch => Status::resource_exhausted(refusal.to_string()),
            Refusal::Foreign(names) => {
                self.miss(names);
                Status::not_found(
                    refusal.to_string().chars().take(LONGEST_SAID).collect::<String>(),
                )
            }
        }
    }

    fn miss(&self, names: &[String]) {
        for name in names {
            self.life.counts.miss();
            warn_of_unknown(name);
        }
    }

    fn say(&self, answer: Answer) -> F::Response {
        self.life.counts.answered();
        debug!(flow = "sds", resource = ?answer.names, nonce = %answer.nonce, "secrets sent");
        F::say(answer, &self.secrets)
    }
}

impl<F: Flavour> Stream for Replies<F> {
    type Item = Result<F::Response, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        // The state of things first, without saying anything yet: a request is answered from
        // what there is now, and before anything is pushed.
        while let Poll::Ready(Some(secrets)) = Pin::new(&mut this.changes).poll_next(cx) {
            this.secrets = secrets;
        }
        while let Poll::Ready(request) = Pin::new(&mut this.requests).poll_next(cx) {
            match request {
                Some(Ok(request)) => match this.hear(request) {
                    Ok(None) => {}
                    Ok(Some(response)) => return Poll::Ready(Some(Ok(response))),
                    Err(refusal) => return Poll::Ready(Some(Err(refusal))),
                },
                // Envoy stops, restarts or drops a cluster: its streams break off.
                Some(Err(error)) => {
                    debug!(flow = "sds", %error, "secret stream broken");
                    return Poll::Ready(None);
                }
                None => return Poll::Ready(None),
            }
        }
        match this.subscription.changed(&*this.secrets) {
            Some(answer) => Poll::Ready(Some(Ok(this.say(answer)))),
            None => Poll::Pending,
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.counts.closed();
        debug!(flow = "sds", stream = self.stream, "secret stream closed");
    }
}

fn warn_of(rejection: &rpc::Status) {
    static SAID: Throttle = Throttle::new(PERIOD);
    if let Some(suppressed) = SAID.allow() {
        let error: String = rejection.message.chars().take(LONGEST_SAID).collect();
        let error = error.escape_debug();
        warn!(flow = "sds", code = rejection.code, %error, suppressed, "secret rejected by peer");
    }
}

fn warn_of_unknown(name: &str) {
    static SAID: Throttle = Throttle::new(PERIOD);
    if let Some(suppressed) = SAID.allow() {
        let error = Name::parse(name).err().map(|error| error.to_string());
        let resource: String = name.chars().take(LONGEST_SAID).collect();
        warn!(
            flow = "sds",
            ?resource,
            error,
            suppressed,
            "secret asked for that is not served here"
        );
    }
}

const PERIOD: Duration = Duration::from_secs(60);
const LONGEST_SAID: usize = 256;
