//! Who is at the other end of a connection, and whether they may be.

use std::{
    fs::File,
    io::{self, Read as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::unistd::geteuid;
use tokio::net::UnixStream;
use tracing::warn;

use crate::Throttle;

/// Who may connect. Root and the process' own user always may.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// Users who may.
    pub uids: Vec<u32>,
    /// Groups whose members may.
    pub groups: Vec<u32>,
    /// How many were refused, of all sockets that share it.
    pub refused: Arc<AtomicU64>,
}

/// Who somebody was when they connected, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Of the process that connected; none if it lives in another process namespace.
    pub(super) pid: Option<i32>,
}

impl Peers {
    /// Whether somebody who has connected may stay. Strangers are counted and told of.
    pub(super) fn admit(&self, stream: &UnixStream) -> bool {
        let admitted = match stream.peer_cred() {
            Ok(peer) => {
                let peer = Peer { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() };
                let known = self.know(&peer, groups);
                if !known && let Some(suppressed) = STRANGERS.allow() {
                    let Peer { uid, gid, pid } = peer;
                    warn!(uid, gid, pid, suppressed, "stranger refused");
                }
                known
            }
            Err(error) => {
                if let Some(suppressed) = NAMELESS.allow() {
                    warn!(%error, suppressed, "peer without credentials refused");
                }
                false
            }
        };
        if !admitted {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// The supplementary groups are looked up only when nothing else is left.
    fn know(&self, peer: &Peer, groups: impl Fn(&Peer) -> io::Result<Vec<u32>>) -> bool {
        let Peer { uid, gid, .. } = *peer;
        if uid == ROOT || uid == geteuid().as_raw() || self.uids.contains(&uid) {
            return true;
        }
        if self.groups.is_empty() || self.groups.contains(&gid) {
            return !self.groups.is_empty();
        }
        match groups(peer) {
            Ok(groups) => groups.iter().any(|group| self.groups.contains(group)),
            Err(error) => {
                if let Some(suppressed) = UNREADABLE.allow() {
                    warn!(%error, uid, suppressed, "groups of a peer not known, it is refused");
                }
                false
            }
        }
    }
}

/// The supplementary groups of the process that connected, for as long as it runs. A confined agent
/// sees no processes of others; whom it is to know without looking is among the users.
fn groups(peer: &Peer) -> io::Result<Vec<u32>> {
    let pid = peer.pid.filter(|pid| *pid > 0).ok_or(io::ErrorKind::NotFound)?;
    let mut status = String::new();
    File::open(format!("/proc/{pid}/status"))?.take(MOST_READ).read_to_string(&mut status)?;
    listed(&status, peer).ok_or_else(|| io::Error::other("not the process that connected"))
}

/// The `Groups` of a status file. None if the process has another user than the peer has: its
/// number was given to another one since.
fn listed(status: &str, peer: &Peer) -> Option<Vec<u32>> {
    let numbers = |name: &str| {
        let mut lines = status.split_inclusive('\n');
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        // A line that was cut off may end in a part of a number.
        let whole = if line.ends_with('\n') { line } else { line.rsplit_once(' ')?.0 };
        whole.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
    };
    let uids: Vec<u32> = numbers("Uid")?;
    let effective = *uids.get(1)?;
    if effective == peer.uid { numbers("Groups") } else { None }
}

static STRANGERS: Throttle = Throttle::new(PERIOD);
static NAMELESS: Throttle = Throttle::new(PERIOD);
static UNREADABLE: Throttle = Throttle::new(PERIOD);
const PERIOD: Duration = Duration::from_secs(10);
const ROOT: u32 = 0;
/// More groups than fit into this are no use to anybody.
const MOST_READ: u64 = 64 << 10;

#[cfg(test)]
mod tests;
