//! The agent's own stream: names, and the roots of the mesh. DNS must not wait for Envoy, and
//! trust must not either.
//!
//! State-of-the-world, one stream for both types. What comes is published first and acknowledged
//! then; what cannot be read is refused, and the last good one stays in use, as it does when
//! istiod is lost.

mod conversation;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_istiod::Istiod;
use hawser_node::Node;
use hawser_pki::Bundle;
use hawser_proto::istio::nds::NameTable;
use hawser_rt::{Backoff, Chain, Throttle};
use prost::Message;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::conversation::{Conversation, Heard, News, Topic};
use hawser_wire::Flavour;

use crate::{
    Error, Failure, Rejection, Seen, Version,
    outage::Outage,
    upstream::{Lost, MOST_AT_ONCE, Upstream},
};

/// Where what comes on the agent's own stream goes.
#[derive(Debug)]
pub struct Own {
    /// The names of the mesh.
    pub names: watch::Sender<Option<Arc<NameTable>>>,
    /// Roots of the mesh besides those that come with a certificate; none if istiod is not to be
    /// asked for them.
    pub trust: Option<watch::Sender<Option<Arc<Bundle>>>>,
}

/// Keeps what is published up to date until `stop`, through every loss of istiod.
pub async fn follow(
    node: Node,
    istiod: Istiod,
    own: Own,
    seen: Seen,
    stop: CancellationToken,
) -> Result<(), Error> {
    seen.change(|standing| standing.trust.asked = own.trust.is_some());
    let mut follower = Follower {
        node,
        istiod,
        own,
        seen,
        outage: Outage::new("own"),
        backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
        at_once: 0,
    };
    // Whatever is dropped half-way belongs to a stream that is given up.
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        never = follower.run() => match never {},
    }
}

struct Follower {
    node: Node,
    istiod: Istiod,
    own: Own,
    seen: Seen,
    outage: Outage,
    backoff: Backoff,
    /// How often in a row it was tried again without waiting.
    at_once: u32,
}

impl Follower {
    async fn run(&mut self) -> Infallible {
        loop {
            let mut heard = false;
            let ended = self.converse(&mut heard).await;
            self.seen.change(|standing| standing.names.joined = None);
            let again = self.again(ended.as_ref().err());
            let error = match ended {
                Ok(()) => "istiod ended the stream".to_owned(),
                Err(lost) => Chain(&lost).to_string(),
            };
            if again {
                debug!(flow = "own", error, "trying with something else to show");
                continue;
            }
            let failure = if heard {
                // istiod ends each connection now and then; the next attempt shows how it stands.
                debug!(flow = "own", error, "istiod lost");
                Failure { at: SystemTime::now(), error }
            } else {
                self.outage.failed(&error)
            };
            self.seen.change(|standing| standing.names.failure = Some(failure));
            let retry_in = self.backoff.next(fastrand::f64());
            debug!(flow = "own", ?retry_in, "waiting to reconnect");
            sleep(retry_in).await;
        }
    }

    /// Whether waiting is of no use, because istiod is going to be shown something else.
    fn again(&mut self, lost: Option<&Lost>) -> bool {
        let again = lost.is_some_and(Lost::has_alternative) && self.at_once < MOST_AT_ONCE;
        self.at_once = if again { self.at_once + 1 } else { 0 };
        again
    }

    /// One stream, from its opening to its end.
    async fn converse(&mut self, heard: &mut bool) -> Result<(), Lost> {
        let (requests, outgoing) = mpsc::channel::<Bytes>(FIRST_REQUESTS);
        let node = crate::node::introduce(&self.node);
        let (mut conversation, first) = Conversation::begin(node, self.own.trust.is_some());
        for request in first {
            // There is room for these.
            requests.try_send(request.encode_to_vec().into()).ok();
        }
        let outgoing = ReceiverStream::new(outgoing);
        let mut upstream = Upstream::open(&self.istiod, Flavour::Sotw, outgoing).await?;
        self.seen.change(|standing| standing.names.joined = Some(SystemTime::now()));
        while let Some(message) = upstream.next().await? {
            let Heard { news, reply } = conversation.hear(&message);
            if let Some(news) = news {
                *heard = true;
                self.outage.over();
                self.tell(news);
            }
            if let Some(reply) = reply
                && requests.send(reply.encode_to_vec().into()).await.is_err()
            {
                // Its end of the stream tells why it takes no more.
                debug!(flow = "own", "istiod takes no acknowledgement");
            }
        }
        Ok(())
    }

    fn tell(&mut self, news: News) {
        let at = SystemTime::now();
        if !matches!(news, News::Refused { .. }) {
            self.backoff.reset();
        }
        match news {
            News::Names { table, version } => self.publish_names(table, version, at),
            News::Trust { bundle, version } => self.publish_trust(bundle, version, at),
            News::Refused { topic, version, error } => {
                self.refuse(topic, Rejection { version, at, error });
            }
            News::Nothing => {}
        }
    }

    fn publish_names(&self, table: NameTable, version: String, at: SystemTime) {
        let names = table.table.len();
        let first = self.own.names.send_replace(Some(Arc::new(table))).is_none();
        if first {
            info!(flow = "own", names, version, "name table received");
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
            info!(flow = "own", roots, skipped, version, suppressed, "roots of the mesh changed");
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

const PERIOD: Duration = Duration::from_secs(60);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// One for each type.
const FIRST_REQUESTS: usize = 2;
