//! How much of the disk is whose. Envoy's books, and those of programs, have a share each: what
//! programs are told displaces nothing of Envoy's, and all books together are bounded.

use std::{path::PathBuf, sync::Arc};

use tracing::debug;

use super::Keeper;
use crate::{log::Room, place};

/// Whose a book is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Envoy,
    /// One that speaks xDS by itself; there may be many, of many users.
    Program,
}

/// Bytes that the books on disk have which are not open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) envoy: u64,
    pub(crate) program: u64,
}

/// Bytes for books.
#[derive(Clone, Copy, Debug)]
struct Share {
    each: u64,
    all: u64,
}

/// What the keys of programs' books end with.
pub const PROGRAM: &str = " grpc";

impl Owner {
    pub(crate) fn of(key: &str) -> Self {
        if key.ends_with(PROGRAM) { Self::Program } else { Self::Envoy }
    }

    /// Where Envoy's book may have `limit` bytes.
    fn share(self, limit: u64) -> Share {
        match self {
            Self::Envoy => Share { each: limit, all: limit.saturating_add(limit / 2) },
            Self::Program => Share { each: limit / 8, all: limit / 2 },
        }
    }
}

impl Closed {
    pub(crate) fn of(&mut self, owner: Owner) -> &mut u64 {
        match owner {
            Owner::Envoy => &mut self.envoy,
            Owner::Program => &mut self.program,
        }
    }
}

impl Keeper {
    /// What a book may grow by.
    pub(super) fn room(&mut self, key: &str) -> Room {
        let owner = Owner::of(key);
        let share = owner.share(self.limit);
        let own = self.volumes.get(key).map_or(0, |volume| volume.size());
        let all = self.taken(owner) + *self.closed.of(owner);
        let left = share.each.saturating_sub(own).min(share.all.saturating_sub(all));
        Room { left, limit: own + left }
    }

    /// Bytes of the open books.
    fn taken(&self, owner: Owner) -> u64 {
        let volumes = self.volumes.values().filter(|volume| Owner::of(&volume.key) == owner);
        volumes.map(|volume| volume.size()).sum()
    }

    /// Closes books that nobody holds, and leaves of those on disk the newest, as far as the one of
    /// that key has its share beside them.
    pub(super) fn thin_out(&mut self, key: &str) {
        let idle: Vec<Arc<str>> = self
            .volumes
            .iter()
            .filter(|(other, volume)| &***other != key && !volume.is_held())
            .map(|(other, _)| Arc::clone(other))
            .collect();
        for other in idle {
            if let Some(mut volume) = self.volumes.remove(&other) {
                let failed = volume.logs_mut().find_map(|log| log.flush().err());
                self.trouble.note((&other, ""), failed);
                self.trouble.forget(&other);
            }
        }
        let ours: Vec<PathBuf> =
            self.volumes.values().map(|volume| volume.directory.clone()).collect();
        let own = self.volumes.get(key).map_or(0, |volume| volume.size());
        let room = |owner: Owner| {
            let share = owner.share(self.limit);
            let taken = self.taken(owner);
            let mine = Owner::of(key) == owner;
            share.all.saturating_sub(if mine { taken - own.min(taken) + share.each } else { taken })
        };
        match place::thin_out(&self.directory, &ours, room) {
            Ok(closed) => self.closed = closed,
            Err(error) => debug!(%error, "old last-good books not looked for"),
        }
    }
}
