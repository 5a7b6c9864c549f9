//! The agent's own stream: names, and the roots of the mesh. DNS must not wait for Envoy, and
//! trust must not either.
//!
//! State-of-the-world, one stream for both types. What comes is published first and acknowledged
//! then; what cannot be read is refused, and the last good one stays in use, as it does when
//! istiod is lost. Names that are in use outlive an empty table for a while.

mod conversation;
mod hold;
mod stream;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_audit::ROOTS_CHANGED;
use hawser_node::Node;
use hawser_pki::Bundle;
use hawser_proto::Names;
use hawser_rt::{Backoff, Chain, Throttle};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    conversation::{Conversation, Heard, News, Topic},
    hold::{GRACE, Hold, Named},
    stream::{Message, Stream},
};
use crate::{
    Error, Failure, Rejection, Seen, Version,
    outage::Outage,
    source::{Lost, Source, until_again},
};

/// Where what comes on the agent's own stream goes.
#[derive(Debug)]
pub struct Own {
    /// The names of the mesh.
    pub names: watch::Sender<Option<Names>>,
    /// Roots of the mesh besides those that come with a certificate; none if istiod is not to be
    /// asked for them.
    pub trust: Option<watch::Sender<Option<Arc<Bundle>>>>,
}

/// Keeps what is published up to date until `stop`, through every loss of istiod. A node that
/// changes introduces itself anew.
pub async fn follow(
    node: watch::Receiver<Arc<Node>>,
    source: impl Source,
    own: Own,
    seen: Seen,
    stop: CancellationToken,
) -> Result<(), Error> {
    seen.change(|standing| standing.trust.asked = own.trust.is_some());
    let mut follower = Follower {
        node,
        source,
        own,
        seen,
        hold: Hold::default(),
        outage: Outage::new("own"),
        backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
        at_once: 0,
        patience: PATIENCE,
    };
    // Whatever is dropped half-way belongs to a stream that is given up.
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        never = follower.run() => match never {},
    }
}

struct Follower<S> {
    node: watch::Receiver<Arc<Node>>,
    source: S,
    own: Own,
    seen: Seen,
    hold: Hold,
    outage: Outage,
    backoff: Backoff,
    /// How often in a row it was tried again without waiting.
    at_once: u32,
    /// How long a stream may stay silent at first.
    patience: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("istiod has not answered within {waited:?}")]
struct Silent {
    waited: Duration,
}

/// How a stream ended that was not lost.
enum End {
    /// istiod has ended it.
    Over,
    /// The machine introduces itself anew.
    Moved,
}

impl<S: Source> Follower<S> {
    async fn run(&mut self) -> Infallible {
        loop {
            let mut heard = false;
            let ended = self.converse(&mut heard).await;
            self.hold.lost();
            self.seen.change(|standing| standing.names.joined = None);
            let again = self.again(ended.as_ref().err());
            let error = match ended {
                Ok(End::Moved) => {
                    debug!(flow = "own", node = self.node.borrow().id, "node has changed");
                    continue;
                }
                Ok(End::Over) => "istiod ended the stream".to_owned(),
                Err(lost) => Chain(&*lost.reason).to_string(),
            };
            if again {
                debug!(flow = "own", error, "trying with something else to show");
                continue;
            }
            self.failed(heard, error);
            let retry_in = self.backoff.next(fastrand::f64());
            debug!(flow = "own", ?retry_in, "waiting to reconnect");
            // Another address may be what was missing.
            tokio::select! {
                () = until_again(&self.source, retry_in) => {}
                () = changed(&mut self.node) => {}
            }
        }
    }

    fn failed(&self, heard: bool, error: String) {
        let failure = if heard {
            // istiod ends each connection now and then; the next attempt shows how it stands.
            debug!(flow = "own", error, "istiod lost");
            Failure { at: SystemTime::now(), error }
        } else {
            self.outage.failed(&error)
        };
        self.seen.change(|standing| {
            standing.names.away.get_or_insert(failure.at);
            standing.names.failure = Some(failure);
        });
    }

    /// Whether waiting is of no use, because istiod is going to be shown something else.
    fn again(&mut self, lost: Option<&Lost>) -> bool {
        let again = lost.is_some_and(|lost| lost.at_once) && self.at_once < MOST_AT_ONCE;
        self.at_once = if again { self.at_once + 1 } else { 0 };
        again
    }

    /// One stream, from its opening to its end.
    async fn converse(&mut self, heard: &mut bool) -> Result<End, Lost> {
        let (requests, outgoing) = mpsc::channel::<Bytes>(FIRST_REQUESTS);
        let node = crate::node::introduce(&self.node.borrow_and_update());
        let (mut conversation, first) = Conversation::begin(node, self.own.trust.is_some());
        for request in first {
            // There is room for these.
            requests.try_send(request.encode_to_vec().into()).ok();
        }
        let latest = Instant::now() + self.patience;
        let mut stream = tokio::select! {
            opened = Stream::open(&self.source, outgoing) => opened?,
            () = sleep_until(latest) => return Err(self.silence()),
            () = changed(&mut self.node) => return Ok(End::Moved),
        };
        self.seen.change(|standing| standing.names.joined(stream.who(), SystemTime::now()));
        loop {
            let message = tokio::select! {
                message = stream.next() => message?,
                () = until(self.hold.due()) => {
                    self.give_in();
                    continue;
                }
                () = sleep_until(latest), if !*heard => {
                    stream.failed();
                    return Err(self.silence());
                }
                () = changed(&mut self.node) => return Ok(End::Moved),
            };
            let Heard { news, reply } = match message {
                None => return Ok(End::Over),
                Some(Message::Whole(message)) => conversation.hear(&message),
                Some(Message::TooLarge { length, tail }) => conversation.hear_of(length, tail),
            };
            if let Some(news) = news {
                if !std::mem::replace(heard, true) {
                    stream.heard();
                    self.patience = PATIENCE;
                }
                self.outage.over();
                self.seen.change(|standing| standing.names.away = None);
                self.tell(news);
            }
            if let Some(reply) = reply
                && requests.send(reply.encode_to_vec().into()).await.is_err()
            {
                // Its end of the stream tells why it takes no more.
                debug!(flow = "own", "istiod takes no acknowledgement");
            }
        }
    }

    /// The source has said nothing for so long that another may be better. It may also have been
    /// busy, so it has more time the next time.
    fn silence(&mut self) -> Lost {
        let silent = Silent { waited: self.patience };
        self.patience = (2 * self.patience).min(LONGEST_PATIENCE);
        Lost::new(silent)
    }

    fn tell(&mut self, news: News) {
        let at = SystemTime::now();
        if !matches!(news, News::Refused { .. }) {
            self.backoff.reset();
        }
        match news {
            News::Names { table, version } => self.take_names(Named { table, version }, at),
            News::Trust { bundle, version } => self.publish_trust(bundle, version, at),
            News::Refused { topic, version, error } => {
                self.refuse(topic, Rejection { version, at, error });
            }
            News::Nothing => {}
        }
    }

    fn take_names(&mut self, named: Named, at: SystemTime) {
        static TOLD: Throttle = Throttle::new(PERIOD);
        let known = self.own.names.borrow().as_ref().is_some_and(|table| !table.is_empty());
        let in_use = known && self.source.forgets();
        if let Some(named) = self.hold.take(named, in_use, Instant::now()) {
            self.publish_names(named, at);
        } else if let Some(suppressed) = TOLD.allow() {
            warn!(flow = "own", stay = ?GRACE, suppressed, "empty name table, names stay in use");
        }
    }

    /// Believes that there are no names, since istiod has said nothing else for so long.
    fn give_in(&mut self) {
        if let Some(named) = self.hold.over() {
            self.publish_names(named, SystemTime::now());
        }
    }

    fn publish_names(&self, Named { table, version }: Named, at: SystemTime) {
        let names = table.len();
        let before = self.own.names.send_replace(Some(table));
        let were = before.as_ref().map(Names::len);
        // The names of a mesh come and go, all of them at once do not.
        if were.is_none_or(|were| (were == 0) != (names == 0)) {
            info!(flow = "own", names, were, version, "name table received");
        } else {
            debug!(flow = "own", names, version, "name table received");
        }
        let version = Some(Version { version, at, resources: names });
        self.seen.change(|standing| standing.names.table = version);
    }

    /// Roots that are the same ones again are no news to anybody.
    fn publish_trust(&self, bundle: Option<Bundle>, version: String, at: SystemTime) {
        static TOLD: Throttle = Throttle::new(PERIOD);
        let Some(trust) = &self.own.trust else { return };
        let roots = bundle.as_ref().map_or(0, Bundle::len);
        let skipped = bundle.as_ref().map_or(0, Bundle::skipped);
        let changed = trust.send_if_modified(|published| {
            let changed = published.as_deref() != bundle.as_ref();
            if changed {
                *published = bundle.map(Arc::new);
            }
            changed
        });
        if changed && let Some(suppressed) = TOLD.allow() {
            let message_id = ROOTS_CHANGED.id;
            info!(
                message_id,
                flow = "own",
                roots,
                skipped,
                version,
                suppressed,
                "roots of the mesh changed"
            );
        } else {
            debug!(flow = "own", roots, skipped, version, "roots of the mesh received");
        }
        let version = Some(Version { version, at, resources: roots });
        self.seen.change(|standing| standing.trust.bundle = version);
    }

    fn refuse(&self, topic: Topic, rejection: Rejection) {
        static NAMES: Throttle = Throttle::new(PERIOD);
        static TRUST: Throttle = Throttle::new(PERIOD);
        let Rejection { version, error, .. } = &rejection;
        match topic {
            Topic::Names => {
                if let Some(suppressed) = NAMES.allow() {
                    warn!(flow = "own", version, error, suppressed, "name table refused");
                }
                self.seen.change(|standing| standing.names.rejected = Some(rejection));
            }
            Topic::Trust => {
                if let Some(suppressed) = TRUST.allow() {
                    warn!(flow = "own", version, error, suppressed, "roots of the mesh refused");
                }
                self.seen.change(|standing| standing.trust.rejected = Some(rejection));
            }
        }
    }
}

/// Returns at that time, or never.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Returns when there is another node, or never if there will be none.
async fn changed(node: &mut watch::Receiver<Arc<Node>>) {
    if node.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

const PERIOD: Duration = Duration::from_secs(60);
/// Whatever else there is to show or to ask was tried by then.
const MOST_AT_ONCE: u32 = 8;
/// How long the first answer may take, at first and in the end.
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_PATIENCE: Duration = Duration::from_secs(300);
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// One for each type.
const FIRST_REQUESTS: usize = 2;
