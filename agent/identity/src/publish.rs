//! Where every source brings what it has: the pair, the roots, and how it goes.
//!
//! - Roots are published before the pair that came with them: who reads both finds them fitting.
//! - What has not changed is not published again, or every reader would start over.
//! - The same trouble is told once when it begins and once when it is over.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_audit::{CERTIFICATE_REFUSED, ROOTS_CHANGED};
use hawser_pki::{Bundle, Identity};
use hawser_rt::{Chain, Clock, Gate};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{debug, field::display, info, warn};

use crate::{
    Error, Outlets, Progress, brought,
    span::Span,
    trust::{joined, same},
};

/// The one writer of all that is published.
#[derive(Debug)]
pub(crate) struct Publisher {
    outlets: Outlets,
    mesh: watch::Receiver<Option<Arc<Bundle>>>,
    clock: Clock,
    ready: Mutex<Option<Gate>>,
    told: Mutex<Vec<String>>,
}

impl Publisher {
    /// `ready` opens with the first pair that is published.
    pub(crate) fn new(
        outlets: Outlets,
        mesh: watch::Receiver<Option<Arc<Bundle>>>,
        clock: Clock,
        ready: Gate,
    ) -> Self {
        let (ready, told) = (Mutex::new(Some(ready)), Mutex::default());
        Self { outlets, mesh, clock, ready, told }
    }

    /// What is served.
    pub(crate) fn served(&self) -> Option<Arc<Identity>> {
        self.outlets.identity.borrow().clone()
    }

    /// Who is told of the pair that is served.
    pub(crate) fn watched(&self) -> watch::Receiver<Option<Arc<Identity>>> {
        self.outlets.identity.subscribe()
    }

    /// Serves a pair, and believes `learned`.
    pub(crate) fn serve(&self, identity: Arc<Identity>, learned: Bundle) {
        self.learn(learned);
        self.outlets.identity.send_if_modified(|served| {
            if served.as_ref().is_some_and(|served| is_same(served, &identity)) {
                return false;
            }
            *served = Some(identity);
            true
        });
        if let Some(ready) = self.ready.lock().take() {
            ready.open();
        }
    }

    /// Serves a pair that somebody else has brought, with its roots, and says what the mesh is
    /// going to make of it.
    pub(crate) fn serve_brought(&self, identity: Arc<Identity>) {
        let remark = brought::remark(&identity);
        let said = self.outlets.progress.borrow().remark.clone();
        if let Some(remark) = remark.as_deref().filter(|remark| said.as_deref() != Some(*remark)) {
            warn!(id = identity.name(), remark, "certificate is not one of the mesh");
        }
        if said != remark {
            self.progress(|progress| progress.remark = remark);
        }
        let learned = identity.roots.clone();
        self.serve(identity, learned);
    }

    /// Believes these roots, and those that the mesh pushes.
    pub(crate) fn learn(&self, learned: Bundle) {
        let (before, roots) = (self.outlets.learned.borrow().is_some(), learned.len());
        if replace(&self.outlets.learned, Some(learned)) && before {
            info!(message_id = ROOTS_CHANGED.id, roots, "roots that are believed have changed");
        }
        self.merge();
    }

    /// Believes what the mesh pushes, whenever it does. Never ends.
    pub(crate) async fn follow_mesh(&self) {
        let mut mesh = self.mesh.clone();
        loop {
            self.merge();
            if mesh.changed().await.is_err() {
                // Nobody will push any more.
                return std::future::pending().await;
            }
        }
    }

    fn merge(&self) {
        let mesh = self.mesh.borrow().clone();
        let learned = self.outlets.learned.borrow().clone();
        // Before there is an answer of our own, the mesh's word is not known to be the mesh's.
        let trusted = learned.map(|learned| joined(&learned, mesh.as_deref()));
        replace(&self.outlets.trusted, trusted);
    }

    /// Changes what is said of how it goes.
    pub(crate) fn progress(&self, edit: impl FnOnce(&mut Progress)) {
        self.outlets.progress.send_modify(edit);
    }

    /// Something is wrong, and that is looked at again at `next`.
    pub(crate) fn trouble(&self, error: &Error, advice: &str, next: SystemTime) {
        let now = self.clock.now();
        let text = format!("{}{advice}", Chain(error));
        let retry_in = Span(next.duration_since(now).unwrap_or_default());
        let served = self.served();
        let expires_in = served.map(|served| display(Span(left(&served, now))));
        if self.is_news(error.gist()) {
            let message_id = CERTIFICATE_REFUSED.id;
            warn!(message_id, error = text, %retry_in, expires_in, "no new certificate");
        } else {
            debug!(error = text, %retry_in, expires_in, "still no new certificate");
        }
        self.progress(|progress| {
            let since = progress.wrong.as_ref().map_or(now, |(_, since)| *since);
            progress.wrong = Some((text, since));
            progress.next = Some(next);
        });
    }

    /// Nothing is wrong, any more.
    pub(crate) fn well(&self) {
        self.told.lock().clear();
        let mut wrong = None;
        self.outlets.progress.send_if_modified(|progress| {
            wrong = progress.wrong.take();
            wrong.is_some()
        });
        if let Some((_, since)) = wrong {
            let wrong_for = self.clock.now().duration_since(since).unwrap_or_default();
            info!(wrong_for = %Span(wrong_for), "certificate obtained again");
        }
    }

    /// Whether this has not been told since all was well. Of more kinds of trouble than one can
    /// keep apart, the last are not told.
    fn is_news(&self, gist: String) -> bool {
        let mut told = self.told.lock();
        let news = told.len() < MOST_TOLD && !told.contains(&gist);
        if news {
            told.push(gist);
        }
        news
    }
}

/// The life that a certificate has left.
pub(crate) fn left(identity: &Identity, now: SystemTime) -> Duration {
    identity.not_after().duration_since(now).unwrap_or_default()
}

fn is_same(one: &Identity, other: &Identity) -> bool {
    one.chain.ders() == other.chain.ders() && one.roots == other.roots
}

/// Whether that is another one than before.
fn replace(outlet: &watch::Sender<Option<Arc<Bundle>>>, new: Option<Bundle>) -> bool {
    outlet.send_if_modified(|old| {
        let unchanged = match (old.as_deref(), &new) {
            (Some(old), Some(new)) => same(old, new),
            (None, None) => true,
            _ => false,
        };
        if !unchanged {
            *old = new.map(Arc::new);
        }
        !unchanged
    })
}

const MOST_TOLD: usize = 16;
