//! Whose signatures are believed: the roots of the last good answer, and those that earlier ones
//! had.
//!
//! When an authority changes its root, peers go on showing leaves under the old one until they
//! have renewed. So a root that has gone out of the answers is kept for one more lifetime. Time
//! here is what the answers say, not what this machine's clock does: a clock that jumps ahead
//! takes no root away. A root is dropped only on the occasion of a good answer.

use std::time::{Duration, SystemTime};

use hawser_pki::Bundle;

/// The roots that the authority's answers had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Those of the last one.
    current: Bundle,
    retired: Vec<Retired>,
}

/// Roots that the answers had until some time ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) roots: Bundle,
    /// When they are dropped.
    pub(crate) until: SystemTime,
}

impl Trust {
    pub(crate) fn new(current: Bundle, retired: Vec<Retired>) -> Self {
        Self { current, retired }
    }

    /// What is believed after an answer with these `roots`, given at the time `answered`, where
    /// certificates live for `lifetime`.
    pub(crate) fn after(&self, roots: &Bundle, answered: SystemTime, lifetime: Duration) -> Self {
        let until = answered + lifetime;
        let mut retired: Vec<Retired> = self
            .retired
            .iter()
            .filter(|one| answered < one.until)
            .filter_map(|one| {
                let roots = one.roots.without(roots)?;
                // One that was retired by a wrong time is not kept for ever.
                Some(Retired { roots, until: one.until.min(until) })
            })
            .collect();
        retired.extend(self.current.without(roots).map(|roots| Retired { roots, until }));
        let surplus = retired.len().saturating_sub(MOST_RETIRED);
        retired.drain(..surplus);
        Self { current: roots.clone(), retired }
    }

    pub(crate) fn retired(&self) -> &[Retired] {
        &self.retired
    }

    /// All of them, the present ones first.
    pub(crate) fn learned(&self) -> Bundle {
        self.retired.iter().fold(self.current.clone(), |all, one| joined(&all, Some(&one.roots)))
    }
}

/// These roots and the `others`, each once. Others are left out where that would be too many.
pub(crate) fn joined(roots: &Bundle, others: Option<&Bundle>) -> Bundle {
    let joined = others.and_then(|others| roots.merge(others).ok());
    joined.unwrap_or_else(|| roots.clone())
}

/// Whether two bundles hold the same roots. In which order does not matter to anybody.
pub(crate) fn same(one: &Bundle, other: &Bundle) -> bool {
    one.len() == other.len() && one.ders().iter().all(|der| other.ders().contains(der))
}

/// Rotations in one lifetime, of which there is rarely one.
const MOST_RETIRED: usize = 8;

#[cfg(test)]
mod tests;
