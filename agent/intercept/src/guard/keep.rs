//! What is loaded, kept as it is wanted: replaced when the plan changes, opened and shut by gates,
//! looked at now and then, and put back where somebody else has changed it.

use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::apply::{self, Places};
use crate::gates::{self, Gates, Open};
use crate::nft::Nft;
use crate::plan::{Gate, Plan};
use crate::report::{self, Drift, Hit};
use crate::trial::{self, Trial};

/// How long questions are redirected to an agent that nobody vouches for any more.
const FRESH: Duration = Duration::from_secs(10);
/// How often it is vouched for.
const REFRESH: Duration = Duration::from_secs(4);

/// Who loads and unloads.
#[derive(Debug)]
pub(super) struct Keep {
    nft: Nft,
    places: Places,
    loaded: Option<Loaded>,
    /// Whether something is there that this guard has not loaded, or not as it is.
    left: bool,
    /// When the gate for questions was opened last.
    refreshed: Option<Instant>,
    pub(super) repairs: u64,
    pub(super) drift: Option<Drift>,
    pub(super) hits: Vec<Hit>,
}

#[derive(Debug)]
struct Loaded {
    plan: Plan,
    /// The control groups that it was loaded for: others of the same name are others.
    groups: Vec<u64>,
    /// As nft has printed it then.
    listing: String,
    opened: Gates<bool>,
    trial: Trial,
}

/// What is to be loaded.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) plan: &'a Plan,
    pub(super) groups: &'a [u64],
    pub(super) gates: Gates<bool>,
}

impl Keep {
    pub(super) fn new(nft: Nft, places: Places) -> Self {
        Self {
            nft,
            places,
            loaded: None,
            left: false,
            refreshed: None,
            repairs: 0,
            drift: None,
            hits: Vec::new(),
        }
    }

    /// What an earlier guard has left open.
    pub(super) async fn found(&mut self) -> Result<Gates<bool>, Error> {
        let listing = self.nft.table().await?;
        self.left = listing.is_some();
        let listing = listing.unwrap_or_default();
        Ok(gates::listed(&listing).map(|_, open| open.is_open()))
    }

    /// Loads what is wanted, if it is not. Before any gate is to be open nothing is loaded.
    pub(super) async fn put(&mut self, wanted: &Wanted<'_>) -> Result<Trial, Error> {
        let used = wanted.plan.gates();
        let gates = wanted.gates.map(|gate, open| *open && used.contains(&gate));
        // A trial that begins meanwhile is not to find its gates opened for good.
        let _alone = self.places.alone()?;
        let trial = Trial::read(&self.places)?;
        let left = trial.left(trial::now());
        let open = gates.map(|gate, wanted| opened(gate, *wanted, left));
        let same = self
            .loaded
            .as_ref()
            .filter(|loaded| loaded.plan == *wanted.plan && loaded.groups == wanted.groups);
        match same {
            Some(loaded) => {
                let mut turned: Vec<_> = used.to_vec();
                if loaded.trial == trial {
                    turned.retain(|gate| loaded.opened.of(*gate) != gates.of(*gate));
                }
                let due = self.refreshed.is_none_or(|last| last.elapsed() >= REFRESH);
                if gates.dns && due && !turned.contains(&Gate::Dns) {
                    turned.push(Gate::Dns);
                }
                if turned.is_empty() {
                    return Ok(trial);
                }
                self.nft.gates(&open, &turned).await?;
            }
            None if self.loaded.is_none() && !self.left && gates == Gates::default() => {
                return Ok(trial);
            }
            None => {
                let listing = apply::apply(&self.nft, wanted.plan, &open, &self.places).await?;
                self.left = false;
                self.loaded = listing.map(|listing| Loaded {
                    plan: wanted.plan.clone(),
                    groups: wanted.groups.to_vec(),
                    listing: gates::still(&listing),
                    opened: gates,
                    trial,
                });
            }
        }
        if gates.dns {
            self.refreshed = Some(Instant::now());
        }
        if let Some(loaded) = &mut self.loaded {
            loaded.opened = gates;
            loaded.trial = trial;
        }
        Ok(trial)
    }

    /// Looks whether everything is as it was loaded; what is not, in words. It is to be put again
    /// then.
    pub(super) async fn look(&mut self) -> Result<Option<String>, Error> {
        let Some(loaded) = &self.loaded else { return Ok(None) };
        let listing = self.nft.table().await?;
        let wrong = match &listing {
            None => Some("the table inet hawser was removed".to_owned()),
            Some(now) if gates::still(now) != loaded.listing => {
                Some("rules of the table inet hawser were changed".to_owned())
            }
            Some(now) => {
                let open = gates::listed(now);
                let shut = |gate: &&Gate| *loaded.opened.of(**gate) && !open.of(**gate).is_open();
                let left = loaded.trial.left(trial::now());
                let shut = Gate::ALL.iter().filter(|_| left.is_some()).find(shut);
                match shut {
                    Some(gate) => Some(format!("the gate {} was shut", gate.set())),
                    None => apply::routes_drift(&loaded.plan)?.into_iter().next(),
                }
            }
        };
        self.hits = listing.as_deref().map(report::hits).unwrap_or_default();
        if let Some(what) = &wrong {
            self.loaded = None;
            self.left = listing.is_some();
            self.refreshed = None;
            self.repairs = self.repairs.saturating_add(1);
            self.drift = Some(Drift { at: report::seconds(), what: what.clone() });
        }
        Ok(wrong)
    }

    /// Whether anything is loaded.
    pub(super) fn holds(&self) -> bool {
        self.loaded.is_some() || self.left
    }

    /// Which gates were opened last.
    pub(super) fn opened(&self) -> Gates<bool> {
        self.loaded.as_ref().map(|loaded| loaded.opened).unwrap_or_default()
    }

    /// Takes everything out, and forgets what was remembered.
    pub(super) async fn clear(&mut self) -> Result<(), Error> {
        let _alone = self.places.alone()?;
        apply::clear(&self.nft, &self.places).await?;
        self.loaded = None;
        self.left = false;
        Trial::forget(&self.places)
    }
}

/// How a gate is opened that is to be: questions for as long as they are vouched for, and all of
/// them no longer than a trial lasts.
fn opened(gate: Gate, wanted: bool, left: Option<Duration>) -> Open {
    match left {
        Some(left) if wanted => match (gate, left) {
            (Gate::Dns, left) => Open::For(left.min(FRESH)),
            (_, Duration::MAX) => Open::Lasting,
            (_, left) => Open::For(left),
        },
        _ => Open::Shut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_open_no_longer_than_a_trial_and_questions_no_longer_than_vouched_for() {
        let (second, ever) = (Duration::from_secs(1), Some(Duration::MAX));
        let cases = [
            (Gate::Outbound, true, ever, Open::Lasting),
            (Gate::Inbound, true, Some(second * 60), Open::For(second * 60)),
            (Gate::Outbound, true, None, Open::Shut),
            (Gate::Outbound, false, ever, Open::Shut),
            (Gate::Dns, true, ever, Open::For(FRESH)),
            (Gate::Dns, true, Some(second * 3), Open::For(second * 3)),
            (Gate::Dns, true, None, Open::Shut),
        ];
        for (gate, wanted, left, expected) in cases {
            assert_eq!(opened(gate, wanted, left), expected, "{gate:?} {left:?}");
        }
    }
}
