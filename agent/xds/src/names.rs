//! The name table, on a stream of the agent's own: DNS must not wait for Envoy.
//!
//! State-of-the-world, one type. A table is published first and acknowledged then; one that
//! cannot be read is refused, and the last good one stays in use, as it does when istiod is lost.

mod table;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_istiod::Istiod;
use hawser_node::Node;
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

use self::table::{Conversation, Heard};
use crate::{
    Error, Failure, Flavour, Rejection, Seen, Version,
    outage::Outage,
    upstream::{Lost, Upstream},
};

/// Keeps the published table up to date until `stop`, through every loss of istiod.
pub async fn follow_names(
    node: Node,
    istiod: Istiod,
    publish: watch::Sender<Option<Arc<NameTable>>>,
    seen: Seen,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut follower = Follower {
        node,
        istiod,
        publish,
        seen,
        outage: Outage::new("names"),
        backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
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
    publish: watch::Sender<Option<Arc<NameTable>>>,
    seen: Seen,
    outage: Outage,
    backoff: Backoff,
}

impl Follower {
    async fn run(&mut self) -> std::convert::Infallible {
        loop {
            let mut heard = false;
            let ended = self.converse(&mut heard).await;
            self.seen.change(|standing| standing.names.joined = None);
            let error = match ended {
                Ok(()) => "istiod ended the stream".to_owned(),
                Err(lost) => Chain(&lost).to_string(),
            };
            let failure = if heard {
                // istiod ends each connection now and then; the next attempt shows how it stands.
                debug!(flow = "names", error, "istiod lost");
                Failure { at: SystemTime::now(), error }
            } else {
                self.outage.failed(&error)
            };
            self.seen.change(|standing| standing.names.failure = Some(failure));
            let retry_in = self.backoff.next(fastrand::f64());
            debug!(flow = "names", ?retry_in, "waiting to reconnect");
            sleep(retry_in).await;
        }
    }

    /// One stream, from its opening to its end.
    async fn converse(&mut self, heard: &mut bool) -> Result<(), Lost> {
        let (requests, outgoing) = mpsc::channel::<Bytes>(1);
        let (mut conversation, first) = Conversation::begin(crate::node::introduce(&self.node));
        // There is room for one.
        requests.try_send(first.encode_to_vec().into()).ok();
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
                debug!(flow = "names", "istiod takes no acknowledgement");
            }
        }
        Ok(())
    }

    fn tell(&mut self, news: table::News) {
        let at = SystemTime::now();
        if !matches!(news, table::News::Refused { .. }) {
            self.backoff.reset();
        }
        match news {
            table::News::Table { table, version } => {
                let names = table.table.len();
                let first = self.publish.send_replace(Some(Arc::new(table))).is_none();
                if first {
                    info!(flow = "names", names, version, "name table received");
                } else {
                    debug!(flow = "names", names, version, "name table received");
                }
                let version = Some(Version { version, at, resources: names });
                self.seen.change(|standing| standing.names.table = version);
            }
            table::News::Refused { version, error } => {
                if let Some(suppressed) = REFUSALS.allow() {
                    warn!(flow = "names", version, error, suppressed, "name table refused");
                }
                let rejected = Some(Rejection { version, at, error });
                self.seen.change(|standing| standing.names.rejected = rejected);
            }
            table::News::Nothing => {}
        }
    }
}

static REFUSALS: Throttle = Throttle::new(Duration::from_secs(60));
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
