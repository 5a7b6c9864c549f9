//! What is kept for a boot without istiod is what Envoy took, or it is not used: whatever happens
//! to the files, the disk and the agent, and whoever the machine has become.

mod damaged;
mod disk;
mod identities;
mod killed;

use std::{
    fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::rig::Rig;

/// Where it is kept.
const SHELF: &str = "var/lib/hawser/configuration";

/// The directory of the only node that there has been.
fn book(rig: &Rig) -> Result<PathBuf> {
    let mut books = books(rig)?;
    ensure!(books.len() == 1, "not one book: {books:?}");
    books.pop().context("no book")
}

/// Those of all nodes, by name.
fn books(rig: &Rig) -> Result<Vec<PathBuf>> {
    entries(&rig.file(SHELF))
}

/// The logs in a book, by name.
fn logs(book: &Path) -> Result<Vec<PathBuf>> {
    let mut logs = entries(book)?;
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    Ok(logs)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let entries = entries.map(|entry| Ok(entry?.path()));
    let mut entries = entries.collect::<Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

/// Numbers that nobody has chosen, the same again for the same seed (SplitMix64).
#[derive(Debug, Clone, Copy)]
struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    fn new() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        Self { seed, state: seed }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> Result<T> {
        let place = usize::try_from(self.below(all.len() as u64))?;
        all.get(place).cloned().context("nothing to choose from")
    }
}
