//! What Envoy has taken and the log does not have.

use crate::{format::Hash, hashes::Hashes};

/// The names that came with a response, as far as they were noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Came {
    hashes: Vec<Hash>,
    untold: bool,
}

/// What Envoy has taken and the log does not have.
#[derive(Debug, Default)]
pub(crate) struct Lacks {
    hashes: Hashes,
    /// There is more, and nobody knows what: it takes a response that says all.
    untold: bool,
}

impl Came {
    /// Notes one more.
    pub(crate) fn note(&mut self, hash: Hash) {
        if self.hashes.len() < MOST {
            self.hashes.push(hash);
        } else {
            self.untold = true;
        }
    }

    /// There are others.
    pub(crate) fn and_others(&mut self) {
        self.untold = true;
    }

    /// Those that are noted.
    pub(crate) fn hashes(&self) -> Hashes {
        self.hashes.iter().copied().collect()
    }

    /// Whether not all are noted.
    pub(crate) fn is_untold(&self) -> bool {
        self.untold
    }
}

impl Lacks {
    /// Whether anything is lacking.
    pub(crate) fn any(&self) -> bool {
        self.untold || !self.hashes.is_empty()
    }

    /// Envoy has taken what came, and the log has not got it.
    pub(crate) fn lose(&mut self, came: &Came) {
        self.untold |= came.untold;
        came.hashes.iter().for_each(|hash| self.lose_one(*hash));
    }

    /// As [`Self::lose`], of one.
    pub(crate) fn lose_one(&mut self, hash: Hash) {
        if self.hashes.len() < MOST {
            self.hashes.insert(hash);
        } else {
            self.untold = true;
        }
    }

    /// Something is lacking, and it is not known what.
    pub(crate) fn lose_untold(&mut self) {
        self.untold = true;
    }

    /// Others that are lacking.
    pub(crate) fn add(&mut self, others: Self) {
        self.untold |= others.untold;
        others.hashes.into_iter().for_each(|hash| self.lose_one(hash));
    }

    /// These are in the log as Envoy has them, or Envoy has them no more.
    pub(crate) fn settle(&mut self, hashes: &[Hash]) {
        if !self.hashes.is_empty() {
            for hash in hashes {
                self.hashes.remove(hash);
            }
        }
    }

    /// Envoy wants nothing else.
    pub(crate) fn only(&mut self, wanted: &Hashes) {
        self.hashes.retain(|hash| wanted.contains(hash));
    }
}

/// More are not noted one by one.
const MOST: usize = 1 << 16;
