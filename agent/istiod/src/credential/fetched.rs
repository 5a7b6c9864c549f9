//! Tokens that have to be asked for, kept in memory for most of their lives.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use hawser_rt::{Chain, Clock};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{token_source::TokenSource, unusable::Unusable};
use crate::token;

/// What one source has given. Never on disk.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// One asks, the others wait and take what it got.
    turn: tokio::sync::Mutex<()>,
    /// How often the source has answered.
    rounds: AtomicU64,
    last: Mutex<Last>,
}

/// The last answer.
#[derive(Debug, Default)]
enum Last {
    #[default]
    None,
    Token(Kept),
    Failure {
        text: String,
        until: SystemTime,
    },
}

/// A token, and from when to when it is used without asking again.
struct Kept {
    token: Zeroizing<String>,
    from: SystemTime,
    until: SystemTime,
}

impl Fetched {
    /// The token, if it is still good enough.
    pub(crate) fn kept(&self, now: SystemTime) -> Option<Zeroizing<String>> {
        match &*self.last.lock() {
            Last::Token(kept) if kept.serves_at(now) => Some(kept.token.clone()),
            _ => None,
        }
    }

    /// Why the last attempt failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        match &*self.last.lock() {
            Last::Failure { text, .. } => Some(text.clone()),
            _ => None,
        }
    }

    /// Whether asking again so soon is a nuisance: every dial of every stream would.
    fn has_just_failed(&self, now: SystemTime) -> bool {
        // A clock that was set back must not make the rest longer than it is.
        let resting = |until: &SystemTime| {
            until.duration_since(now).is_ok_and(|left| !left.is_zero() && left <= REST)
        };
        matches!(&*self.last.lock(), Last::Failure { until, .. } if resting(until))
    }

    /// istiod has refused the token: the next dial asks for another.
    pub(crate) fn forget(&self) {
        let mut last = self.last.lock();
        if matches!(*last, Last::Token(_)) {
            *last = Last::None;
        }
    }

    /// Asks the source. Whoever comes while another asks takes that answer: three dials must not
    /// wait for a program that hangs one after the other.
    pub(crate) async fn ask(
        &self,
        source: &TokenSource,
        clock: &Clock,
    ) -> Result<Option<Zeroizing<String>>, Failed> {
        let round = self.rounds.load(Ordering::Acquire);
        let _turn = self.turn.lock().await;
        if let Some(token) = self.kept(clock.now()) {
            return Ok(Some(token));
        }
        let since = self.rounds.load(Ordering::Acquire) != round;
        if (since && self.failure().is_some()) || self.has_just_failed(clock.now()) {
            return Err(Failed::Elsewhere);
        }
        let asked = source.obtain().await;
        let now = clock.now();
        let (last, outcome) = match asked {
            Ok(Some(token)) => {
                let until = keep_until(&token, now);
                (Last::Token(Kept { token: token.clone(), from: now, until }), Ok(Some(token)))
            }
            Ok(None) => (Last::None, Ok(None)),
            Err(error) => {
                let text = Chain(&error).to_string();
                let until = now.checked_add(REST).unwrap_or(now);
                (Last::Failure { text, until }, Err(Failed::Here(error)))
            }
        };
        *self.last.lock() = last;
        self.rounds.fetch_add(1, Ordering::Release);
        outcome
    }
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum Failed {
    /// This is the one to say it.
    Here(Unusable),
    /// Whoever asked has said it.
    Elsewhere,
}

impl Kept {
    /// A clock that was set back is no reason to keep a token for longer.
    fn serves_at(&self, now: SystemTime) -> bool {
        self.from <= now && now < self.until
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Four fifths of the life that a token has left; five minutes if it does not say.
fn keep_until(token: &str, now: SystemTime) -> SystemTime {
    let keep = match token::open(token).ok().and_then(|facts| facts.expires) {
        Some(expires) => expires.duration_since(now).unwrap_or_default() / 5 * 4,
        None => UNSAID,
    };
    now.checked_add(keep).unwrap_or(now)
}

const REST: Duration = Duration::from_secs(10);
const UNSAID: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
