//! Sets and maps of what are hashes already.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, Hasher},
};

use crate::format::Hash;

/// A set of hashes.
pub(crate) type Hashes = HashSet<Hash, Folds>;
/// Something for each hash.
pub(crate) type ByHash<T> = HashMap<Hash, T, Folds>;

/// Folds the sixteen bytes of a hash to eight, in each set otherwise: nobody can choose names that
/// meet there.
#[derive(Clone, Debug)]
pub(crate) struct Folds([u64; 2]);

/// Folds one hash.
#[derive(Debug)]
pub(crate) struct Fold([u64; 2]);

impl Default for Folds {
    fn default() -> Self {
        Self([fastrand::u64(..), fastrand::u64(..)])
    }
}

impl BuildHasher for Folds {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold(self.0)
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for (part, eight) in self.0.iter_mut().zip(bytes.chunks_exact(8)) {
            *part ^= eight.try_into().map_or(0, u64::from_le_bytes);
        }
    }

    /// They are all as long.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        let [one, other] = self.0.map(u128::from);
        let product = one * other;
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let halves = (product as u64, (product >> 64) as u64);
        halves.0 ^ halves.1
    }
}
