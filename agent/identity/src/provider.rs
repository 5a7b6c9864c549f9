//! Another program of this machine as the source: asked for ever, believed while it answers.
//!
//! Its socket is never touched. What it gave is served until something better is there, which in
//! [`Standing::Preferred`] may come from the authority: when three quarters of the life of what it
//! gave are over and nothing newer has come, it does not count as answering any more.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_audit::CERTIFICATE_REPLACED;
use hawser_pki::Identity;
use hawser_rt::{Backoff, Chain, Clock, files::Watch};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::{
    AtRest, Error, Speaks, Wish,
    publish::{Publisher, left},
    schedule::Life,
    span::Span,
    subscription::Subscription,
};

/// Whether there is another source to fall back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is none: its absence is trouble.
    Sole,
    /// There is: its absence is trouble only after it has been there.
    Preferred,
}

/// Until when what the provider gave is good enough for nobody else to be asked.
#[derive(Debug)]
pub(crate) struct Hold(watch::Sender<Option<SystemTime>>);

impl Hold {
    pub(crate) fn new(until: Option<SystemTime>) -> Self {
        Self(watch::Sender::new(until))
    }

    /// Returns when the authority is to be asked.
    pub(crate) async fn over(&self, clock: &Clock) {
        let mut until = self.0.subscribe();
        loop {
            let due = *until.borrow_and_update();
            let Some(due) = due.filter(|due| clock.now() < *due) else { return };
            // Cancel safe: both only wait. A clock that was set is looked at again.
            tokio::select! {
                _ = clock.wait(due) => {}
                Ok(()) = until.changed() => {}
            }
        }
    }

    /// Returns when the authority is not to be asked any more.
    pub(crate) async fn renewed(&self, clock: &Clock) {
        let mut until = self.0.subscribe();
        let held = until.wait_for(|until| until.is_some_and(|until| clock.now() < until));
        if held.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn until(&self, until: SystemTime) {
        self.0.send_replace(Some(until));
    }

    fn release(&self) {
        self.0.send_replace(None);
    }
}

/// The provider's loop.
#[derive(Debug)]
pub(crate) struct Provider<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) speaks: Speaks,
    pub(crate) wish: Wish,
    pub(crate) clock: &'a Clock,
    pub(crate) publisher: &'a Publisher,
    pub(crate) hold: &'a Hold,
    pub(crate) standing: Standing,
}

impl Provider<'_> {
    /// Serves what the provider gives, whenever it gives something. Never ends.
    pub(crate) async fn follow(&self) {
        if self.standing == Standing::Sole {
            self.publisher.progress(|progress| {
                SOURCE.clone_into(&mut progress.source);
                progress.at_rest = AtRest::NotOurs;
            });
        }
        let mut watch = Watch::new([PathBuf::from(self.socket)]);
        let mut backoff = Backoff::new(FIRST, LAST);
        // What it gave last.
        let mut given = None;
        loop {
            let before = given;
            let error = self.listen(&mut given).await;
            if given != before {
                backoff.reset();
            }
            if given.is_none() {
                self.hold.release();
            }
            let next = self.clock.now() + backoff.next(fastrand::f64());
            self.tell(&error, given, next);
            // Cancel safe: both only wait.
            tokio::select! {
                _ = self.clock.wait(next) => {}
                () = watch.changed() => {}
            }
        }
    }

    /// One stream; why it is over.
    async fn listen(&self, given: &mut Option<Life>) -> Error {
        let mut subscription = match Subscription::open(self.socket, self.speaks, &self.wish).await
        {
            Ok(subscription) => subscription,
            Err(error) => return error,
        };
        loop {
            let now = self.clock.now();
            let renewed = renewed_by(*given, now);
            // Cancel safe: so is `next`, and the other only waits.
            let next = tokio::select! {
                biased;
                next = subscription.next() => next,
                _ = self.clock.wait(renewed) => {
                    if self.clock.now() < renewed {
                        continue;
                    }
                    // The stream is not what it seems.
                    return Error::NotRenewed { socket: self.socket.to_owned() };
                }
            };
            match next {
                Ok(Some(identity)) => self.take(Arc::new(identity), given),
                Ok(None) => {}
                Err(error @ Error::UnusableSecret { .. }) => {
                    self.tell(&error, *given, now + LAST);
                }
                Err(error) => return error,
            }
        }
    }

    fn take(&self, identity: Arc<Identity>, given: &mut Option<Life>) {
        let socket = || self.socket.to_owned();
        let (now, life) = (self.clock.now(), Life::of(&identity));
        if !identity.valid_at(now) {
            let error = Error::SecretNotValid { socket: socket() };
            return self.tell(&error, *given, now + LAST);
        }
        // One that is all but over is nothing new, and no reason to leave a better source.
        let stale = life.three_quarters() <= now;
        let served = self.publisher.served().filter(|served| served.valid_at(now));
        if stale && (*given == Some(life) || served.is_some() && self.has_another()) {
            return;
        }
        let found = identity.name().to_owned();
        let other = self.wish.expected.clone().filter(|id| identity.spiffe_id() != Some(id));
        if *given != Some(life) {
            let expires_in = Span(left(&identity, now));
            let (id, message_id) = (&found, CERTIFICATE_REPLACED.id);
            info!(message_id, %id, %expires_in, "certificate given by the SPIFFE provider");
        }
        *given = Some(life);
        self.publisher.progress(|progress| {
            SOURCE.clone_into(&mut progress.source);
            progress.at_rest = AtRest::NotOurs;
            progress.next = None;
        });
        self.publisher.serve_brought(identity);
        self.hold.until(life.three_quarters());
        let Some(expected) = other else { return self.publisher.well() };
        let expected = Box::new(expected);
        let error = Error::SecretForOther { socket: socket(), found, expected };
        self.publisher.trouble(&error, "", life.end);
    }

    fn has_another(&self) -> bool {
        self.standing == Standing::Preferred
    }

    /// Where there is another source, it is no trouble that there is no provider.
    fn tell(&self, error: &Error, given: Option<Life>, next: SystemTime) {
        let served = self.publisher.served().map(|served| Life::of(&served));
        if !self.has_another() || given.is_some() && served == given {
            self.publisher.trouble(error, "", next);
        } else {
            debug!(error = %Chain(error), "no SPIFFE provider");
        }
    }
}

/// When a new certificate is to have come, so that a stream is believed to be one.
fn renewed_by(given: Option<Life>, now: SystemTime) -> SystemTime {
    let due = given.map_or(now + LONG, Life::three_quarters);
    if now < due { due } else { now + LAST }
}

pub(crate) const SOURCE: &str = "SPIFFE provider";
const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(24 * 3600);
