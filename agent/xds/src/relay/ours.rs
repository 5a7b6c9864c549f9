//! What is made on this machine, told to Envoy beside what others say.
//!
//! Of what Envoy wants whole, that of others comes first: Envoy counts as started with the first answer,
//! and should not be so without them. If they do not come, it does not wait for ever.

use std::{collections::BTreeMap, future::pending, sync::Arc, time::SystemTime};

use bytes::Bytes;
use hawser_proto::type_url;
use hawser_rt::Throttle;
use hawser_wire::Flavour;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Duration, Instant, sleep_until},
};
use tracing::{debug, warn};

use super::{Ended, PERIOD, Relay};
use crate::{
    Source, Supply,
    beside::{OURS, Parts, Split},
    downstream::Deaf,
    local::{Letter, changed},
    session::{Note, Refusal},
};

/// What is made here, on one stream of Envoy's.
#[derive(Debug)]
pub(super) struct Ours {
    split: Mutex<Split>,
    supply: watch::Receiver<Arc<Supply>>,
    /// When types were first asked for that others come first in.
    asked: Mutex<BTreeMap<String, Instant>>,
    /// There may be something to tell.
    turned: Notify,
}

impl Ours {
    /// None where nothing is made here, or none of it can be told: a whole state is that of one.
    pub(super) fn new(flavour: Flavour, source: &dyn Source) -> Option<Self> {
        let mut supply = source.beside().filter(|_| flavour == Flavour::Delta)?.supply();
        let split = Split::new(Arc::clone(&supply.borrow_and_update()), fastrand::u64(..));
        let (asked, turned) = (Mutex::default(), Notify::new());
        Some(Self { split: Mutex::new(split), supply, asked, turned })
    }

    /// When the next type has waited so long for others.
    fn due(&self, patience: Duration) -> Option<Instant> {
        let (asked, now) = (self.asked.lock(), Instant::now());
        asked.values().map(|at| *at + patience).filter(|due| *due > now).min()
    }
}

impl Relay {
    /// What of a request is for others.
    pub(super) fn share(&self, message: &Bytes) -> Result<Option<Bytes>, Refusal> {
        let Some(ours) = &self.ours else { return Ok(Some(message.clone())) };
        let Parts { theirs, type_url, verdict } = ours.split.lock().hear(message)?;
        if FIRST.contains(&type_url.as_str()) {
            ours.asked.lock().entry(type_url).or_insert_with(Instant::now);
        }
        if let Some(verdict) = verdict {
            self.note_ours(&verdict);
        }
        ours.turned.notify_one();
        Ok(theirs)
    }

    /// An Envoy that asks for whole states is told one, and that is the mesh's.
    pub(super) fn look_for_ours(&self) {
        static TOLD: Throttle = Throttle::new(PERIOD);
        if self.ours.is_none()
            && self.shared.parts.source.beside().is_some()
            && let Some(suppressed) = TOLD.allow()
        {
            warn!(
                flow = "xds",
                suppressed,
                "this envoy asks for whole states and is not told of services of the file: use delta"
            );
        }
    }

    /// Whether what has that name is told beside what others say.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        self.ours.is_some() && name.starts_with(OURS)
    }

    /// Others have told something, or have nothing to tell.
    pub(super) fn others_told(&self) {
        if let Some(ours) = &self.ours {
            ours.turned.notify_one();
        }
    }

    /// Tells what is made here whenever there is something else of it, while Envoy listens.
    pub(super) async fn tell_ours(&self) -> Ended {
        let Some(ours) = &self.ours else { return pending().await };
        let patience = self.shared.options.stale_after;
        let mut supply = ours.supply.clone();
        loop {
            loop {
                let letter = ours.split.lock().next(&mut |type_url| self.may_tell(ours, type_url));
                let Some(letter) = letter else { break };
                if self.say_ours(letter).await.is_err() {
                    return Ended::Envoy;
                }
            }
            tokio::select! {
                () = changed(&mut supply) => {
                    let supply = Arc::clone(&supply.borrow_and_update());
                    ours.split.lock().restock(supply);
                }
                () = ours.turned.notified() => {}
                () = until(ours.due(patience)) => {}
            }
        }
    }

    fn may_tell(&self, ours: &Ours, type_url: &str) -> bool {
        let waited = |since: &Instant| since.elapsed() >= self.shared.options.stale_after;
        !FIRST.contains(&type_url)
            || !self.session().awaits(type_url)
            || ours.asked.lock().get(type_url).is_some_and(waited)
    }

    async fn say_ours(&self, mut letter: Letter) -> Result<(), Deaf> {
        let note = Note::Sent {
            type_url: letter.type_url.clone(),
            version: letter.version.clone(),
            resources: letter.resources,
        };
        self.note_ours(&note);
        self.shared.metrics.responses.increment();
        let floor = self.voice.floor().await;
        while let Some(chunk) = letter.chunk() {
            self.voice.say([chunk].into()).await?;
        }
        drop(floor);
        Ok(())
    }

    /// What is made here is no news of others.
    fn note_ours(&self, note: &Note) {
        debug!(flow = "xds", ?note, "message of what is made here");
        if !self.is_program() {
            let turn = self.shared.seen.note_made(note.clone(), SystemTime::now());
            self.tell(note, turn);
        }
    }
}

/// Returns at that time, or never.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// What Envoy wants whole, and starts with.
const FIRST: [&str; 2] = [type_url::CLUSTER, type_url::LISTENER];
