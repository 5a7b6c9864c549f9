//! Whom to ask, kept right while the machine changes around it: the file is followed, loops are
//! looked for, and each is told to the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::watch::{Follower, Resolv};
use crate::loops::{Loop, Loops, Patrol, patrol};

/// When no resolver replies, the file is looked at at most this often.
const LOOKS: Duration = Duration::from_secs(5);

/// What is kept right.
#[derive(Debug)]
pub struct Keep {
    /// What is followed, if anything is, as it was read first.
    pub follower: Option<Follower>,
    /// The addresses that we listen on.
    pub own: Vec<SocketAddr>,
    /// The resolvers that the operator has named, to be asked over plain DNS: then those of the
    /// file are not asked, while its search domains are taken.
    pub fixed: Option<Vec<SocketAddr>>,
    /// Where queries that come back are noticed.
    pub loops: Arc<Loops>,
    /// Notified when no resolver replies.
    pub lost: Arc<Notify>,
}

/// Does so until `stop`: `put` is called with what was read whenever it is another, `mark` with the
/// resolvers that lead back here, whenever they are others.
pub async fn keep(
    kept: Keep,
    mut put: impl FnMut(&Resolv),
    mut mark: impl FnMut(&[Loop]),
    stop: CancellationToken,
) {
    let Keep { mut follower, own, fixed, loops, lost } = kept;
    let asked = |follower: Option<&Follower>| match (&fixed, follower) {
        (Some(fixed), _) => fixed.clone(),
        (None, Some(follower)) => follower.now().servers.clone(),
        (None, None) => Vec::new(),
    };
    let (list, resolvers) = watch::channel(asked(follower.as_ref()));
    let (bring, mut brought) = watch::channel(Vec::new());
    let told = move |looping: &[Loop]| {
        mark(looping);
        bring.send_replace(looping.iter().map(|known| known.resolver).collect());
    };
    let follow = async {
        let Some(follower) = &mut follower else { return std::future::pending().await };
        let mut look_at = Instant::now();
        loop {
            // Cancel safe, all of them.
            let changed = tokio::select! {
                _ = follower.changed() => true,
                Ok(()) = brought.changed() => {
                    let looping = brought.borrow_and_update().clone();
                    follower.avoid(looping).await
                }
                () = async {
                    lost.notified().await;
                    sleep_until(look_at).await;
                } => {
                    look_at = Instant::now() + LOOKS;
                    follower.look().await
                }
            };
            if changed {
                put(follower.now());
                list.send_if_modified(|list| {
                    let now = asked(Some(follower));
                    let other = *list != now;
                    *list = now;
                    other
                });
            }
        }
    };
    let patrol = patrol(Patrol { loops, resolvers, own, mark: told }, stop.clone());
    // The patrol ends when it is told to; the other one never does.
    tokio::select! {
        () = follow => {}
        () = patrol => {}
    }
}

#[cfg(test)]
mod tests;
