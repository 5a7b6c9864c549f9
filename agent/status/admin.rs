//! The door for `hawser status`: whoever connects is told everything, and is not listened to.

use std::{convert::Infallible, time::SystemTime};

use hawser_rt::uds::{Door, Incoming, Peers};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, task::JoinSet, time::timeout};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::Facts;

/// Tells whoever connects, until told to stop.
///
/// Root and the agent's own user, that is: see [`Peers`].
pub async fn serve(
    door: Door,
    peers: Peers,
    facts: Facts,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut incoming = Incoming::new(door, peers);
    let mut answers = JoinSet::new();
    // Cancel safe: a connection is accepted whole or not at all.
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(Ok(stream)) = incoming.next(), if answers.len() < MAX_ANSWERS => {
                answers.spawn(timeout(PATIENCE, tell(stream, facts.clone())));
            }
            Some(_) = answers.join_next() => {}
        }
    }
}

async fn tell(mut stream: UnixStream, facts: Facts) {
    let snapshot = facts.snapshot(SystemTime::now()).await;
    // Both fail only when nobody listens any more.
    if let Ok(mut text) = serde_json::to_vec(&snapshot) {
        text.push(b'\n');
        drop(stream.write_all(&text).await);
    }
}

const MAX_ANSWERS: usize = 16;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
