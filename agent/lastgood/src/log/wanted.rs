//! What of a log Envoy subscribes to.

use super::Log;
use crate::{format::Hash, hashes::Hashes, kept::Place};

impl Log {
    /// What Envoy subscribes to; `None` is all.
    pub(crate) fn set_wanted(&mut self, wanted: Option<Hashes>) {
        if let Some(wanted) = &wanted {
            self.lacks.only(wanted);
        }
        self.wanted = wanted;
    }

    /// Envoy subscribes to these too: it asks for them, or takes them.
    pub(crate) fn want(&mut self, hashes: &[Hash]) {
        let Some(wanted) = &mut self.wanted else { return };
        let mut left_out = false;
        for hash in hashes {
            left_out |= wanted.insert(*hash) && self.kept.index.contains_key(hash);
        }
        if left_out {
            // It may leave out what was not wanted when it began.
            self.abandon();
        }
    }

    /// The places of what is kept and wanted, as they follow in the file. What is asked for by
    /// name is wanted.
    pub(crate) fn places(&self, names: Option<&[Hash]>, without: &Hashes) -> Vec<Place> {
        let wanted = |hash: &Hash| self.wanted.as_ref().is_none_or(|wanted| wanted.contains(hash));
        let mut places: Vec<Place> = match names {
            Some(names) => names
                .iter()
                .filter(|hash| !without.contains(*hash))
                .filter_map(|hash| self.kept.index.get(hash).copied())
                .collect(),
            None => self
                .kept
                .index
                .iter()
                .filter(|(hash, _)| !without.contains(*hash) && wanted(hash))
                .map(|(_, place)| *place)
                .collect(),
        };
        places.sort_unstable_by_key(|place| place.at());
        places.dedup();
        places
    }
}
