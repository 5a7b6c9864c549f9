//! What is known of the files that are wanted: which to read, what they held, what was said.
//!
//! Pure: reads nothing, tells nothing. What is true of every file:
//!
//! - What was read well stays until something else is read well. A revocation list alone goes
//!   when its file goes, for that is how one takes it back.
//! - It is read by one at a time, and once more if it changed meanwhile.
//! - What is wrong with it is said once, and so is that it is over, however often it is looked at
//!   or asked for between.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use hawser_rt::Chain;

use crate::{
    file::{self, Held, Unfit},
    name::File,
    revocation::Revocations,
};

/// Files that are read for one purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Secret(File),
    Revocations(PathBuf),
}

/// What was read.
#[derive(Clone, Debug)]
pub(crate) enum Good {
    Secret(Arc<Held>),
    Revocations(Arc<Revocations>),
}

/// What the end of a reading means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing new.
    Same,
    /// There is content where there was other or none.
    Changed { mended: bool },
    /// All is as it was before something was wrong.
    Mended,
    /// It has gone, and that counts.
    Gone,
    /// It cannot be served, for the reason that it could not the last time, or for a new one.
    Wrong { reason: String, kept: bool, new: bool },
}

/// All files that are wanted.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    slots: BTreeMap<Source, Slot>,
    /// What was said of each, and is not said again. Outlives the slots: a file that is asked
    /// for every second would be complained about as often.
    told: BTreeMap<Source, String>,
}

#[derive(Debug, Default)]
struct Slot {
    wanted: bool,
    reading: bool,
    /// To be read, or to be read again.
    due: bool,
    wrong: Option<String>,
    good: Option<Good>,
}

impl Source {
    /// Every path that decides on the content.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Secret(file) => file.paths(),
            Self::Revocations(path) => vec![path.clone()],
        }
    }

    /// Reads and checks. Blocks.
    pub(crate) fn read(&self) -> Result<Good, Unfit> {
        match self {
            Self::Secret(file) => file.read().map(Arc::new).map(Good::Secret),
            Self::Revocations(path) => file::revocations(path).map(Arc::new).map(Good::Revocations),
        }
    }
}

impl Good {
    fn version(&self) -> &str {
        match self {
            Self::Secret(held) => &held.version,
            Self::Revocations(revocations) => &revocations.version,
        }
    }
}

impl Shelf {
    /// Keeps these and no others.
    pub(crate) fn want(&mut self, sources: &BTreeSet<Source>) {
        for source in sources {
            let slot = self.slots.entry(source.clone()).or_default();
            // Nobody has watched it until now.
            slot.due |= !slot.wanted;
            slot.wanted = true;
        }
        for (source, slot) in &mut self.slots {
            if !sources.contains(source) {
                *slot = Slot { reading: slot.reading, ..Slot::default() };
            }
        }
        // One that is being read stays until it has been: a file system that hangs does not
        // hang twice.
        self.slots.retain(|_, slot| slot.wanted || slot.reading);
    }

    /// Any of them may have changed.
    pub(crate) fn look_again(&mut self) {
        for slot in self.slots.values_mut() {
            slot.due = true;
        }
    }

    /// Those that could not be read may be readable now: not every change of that is seen.
    pub(crate) fn look_again_where_wrong(&mut self) {
        for slot in self.slots.values_mut().filter(|slot| slot.wrong.is_some()) {
            slot.due = true;
        }
    }

    /// Whether anything is wrong.
    pub(crate) fn any_wrong(&self) -> bool {
        self.slots.values().any(|slot| slot.wanted && slot.wrong.is_some())
    }

    /// The next that is to be read now.
    pub(crate) fn next_due(&mut self) -> Option<Source> {
        let due = |slot: &Slot| slot.wanted && slot.due && !slot.reading;
        let (source, slot) = self.slots.iter_mut().find(|(_, slot)| due(slot))?;
        slot.due = false;
        slot.reading = true;
        Some(source.clone())
    }

    /// Takes what was read.
    pub(crate) fn take(&mut self, source: &Source, read: Result<Good, Unfit>) -> Outcome {
        let Some(slot) = self.slots.get_mut(source) else { return Outcome::Same };
        slot.reading = false;
        if !slot.wanted {
            self.slots.remove(source);
            return Outcome::Same;
        }
        match read {
            Ok(good) => {
                slot.wrong = None;
                let mended = self.told.remove(source).is_some();
                let same = slot.good.as_ref().map(Good::version) == Some(good.version());
                slot.good = Some(good);
                match (same, mended) {
                    (false, mended) => Outcome::Changed { mended },
                    (true, true) => Outcome::Mended,
                    (true, false) => Outcome::Same,
                }
            }
            Err(Unfit::Absent { .. }) if matches!(source, Source::Revocations(_)) => {
                slot.wrong = None;
                self.told.remove(source);
                if slot.good.take().is_some() { Outcome::Gone } else { Outcome::Same }
            }
            Err(unfit) => {
                let (reason, kept) = (Chain(&unfit).to_string(), slot.good.is_some());
                let before = slot.wrong.replace(reason.clone());
                Outcome::Wrong { new: before.as_ref() != Some(&reason), reason, kept }
            }
        }
    }

    /// Whether that was not said yet.
    pub(crate) fn is_news(&self, source: &Source, reason: &str) -> bool {
        self.told.get(source).is_none_or(|told| told != reason)
    }

    /// It is said now.
    pub(crate) fn told(&mut self, source: &Source, reason: String) {
        if self.told.len() >= MOST_TOLD {
            self.told.pop_first();
        }
        self.told.insert(source.clone(), reason);
    }

    /// All that was read well.
    pub(crate) fn good(&self) -> impl Iterator<Item = (&Source, &Good)> {
        self.slots.iter().filter_map(|(source, slot)| Some((source, slot.good.as_ref()?)))
    }

    /// Every path that decides on any of the content.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let wanted = self.slots.iter().filter(|(_, slot)| slot.wanted);
        wanted.flat_map(|(source, _)| source.paths()).collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(file) => file.fmt(f),
            Self::Revocations(path) => path.display().fmt(f),
        }
    }
}

/// What is said of files that nobody asks for any more is remembered this far.
const MOST_TOLD: usize = 256;
