//! Versions of the set beside each other, and the switch from one to the next.

use std::{io, os::unix::fs::MetadataExt};

use hawser_pki::{Bundle, Identity};
use tracing::debug;
use zeroize::Zeroizing;

use crate::{
    Error, Options,
    directory::{self, Directory},
    set::{self, Entry, NAMES},
};

/// What a switch has found and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Whether there is a new set.
    pub(crate) switched: bool,
    /// The version in use.
    pub(crate) version: String,
    /// Whether the others were told of it.
    pub(crate) told: bool,
}

/// Puts the set in place, if it is not there.
pub(crate) fn switch(
    options: &Options,
    identity: &Identity,
    trusted: &Bundle,
) -> Result<Outcome, Error> {
    let set = set::of(options, identity, trusted);
    let directory = Directory::open(&options.directory)?;
    let mut versions = Versions::of(&directory)?;
    versions.sweep(&directory);
    let linked = NAMES.map(|name| links(&directory, name));
    if let Some(current) = versions.current
        && linked == [true; 3]
        && shows(&directory, current, &set)
    {
        let version = name(current);
        let told = directory.target(TOLD).is_some_and(|told| told == *version);
        return Ok(Outcome { switched: false, version, told });
    }

    take_over(options, &directory, &mut versions)?;
    let version = versions.put(&directory, &set)?;
    versions.sweep(&directory);
    Ok(Outcome { switched: true, version, told: false })
}

/// Remembers that the others know of a version.
pub(crate) fn told(options: &Options, version: &str) -> Result<(), Error> {
    let directory = Directory::open(&options.directory)?;
    directory.link(TOLD, version)?;
    directory.flush()
}

/// Has all three names lead to the current version, with what they show now unchanged.
///
/// Files of others are copied into a version of their own first, so that no name is ahead of
/// another in the meantime. The names lead to where nothing is yet when there is no version.
fn take_over(
    options: &Options,
    directory: &Directory,
    versions: &mut Versions,
) -> Result<(), Error> {
    let foreign = |&name: &&'static str| !links(directory, name);
    let missing: Vec<_> = NAMES.into_iter().filter(foreign).collect();
    let shown = NAMES.map(|name| (name, versions.shown(directory, name)));
    if shown.iter().any(|(name, body)| missing.contains(name) && body.is_some()) {
        let copies = shown
            .iter()
            .filter_map(|(name, body)| body.as_ref().map(|body| set::entry(options, name, body)));
        versions.put(directory, &copies.collect::<Vec<_>>())?;
    }
    for name in &missing {
        directory.link(name, &format!("{CURRENT}/{name}"))?;
    }
    if !missing.is_empty() {
        directory.flush()?;
    }
    Ok(())
}

/// The versions in a directory, by number.
struct Versions {
    all: Vec<u64>,
    current: Option<u64>,
}

impl Versions {
    fn of(directory: &Directory) -> Result<Self, Error> {
        let mut all: Vec<_> = directory.names()?.iter().filter_map(|name| number(name)).collect();
        all.sort_unstable();
        let current = match directory.target(CURRENT) {
            None => None,
            Some(target) => match target.to_str().and_then(number) {
                Some(current) => Some(current),
                // A volume of the kubelet, or what works like one.
                None => return Err(Error::Kept { path: directory.path_of(CURRENT) }),
            },
        };
        Ok(Self { all, current })
    }

    /// Removes all but the current version and the one before it.
    fn sweep(&mut self, directory: &Directory) {
        let before = self.all.iter().copied().filter(|&number| Some(number) < self.current).max();
        let (kept, gone): (Vec<_>, _) =
            self.all.iter().partition(|&&number| [self.current, before].contains(&Some(number)));
        self.all = kept;
        for number in gone {
            if let Err(error) = remove(directory, &name(number)) {
                debug!(%error, number, "old version not removed");
            }
        }
        if let Err(error) = directory.remove(directory::TEMPORARY) {
            debug!(%error, "leftover not removed");
        }
    }

    /// Makes files the current version.
    fn put(&mut self, directory: &Directory, files: &[Entry]) -> Result<String, Error> {
        let last = self.all.last().copied().max(self.current).unwrap_or(0);
        let number = last.saturating_add(1);
        let name = name(number);
        let version = directory.make(&name)?;
        for file in files {
            version.create(file)?;
        }
        version.opened_up()?;
        version.flush()?;
        directory.flush()?;
        directory.link(CURRENT, &name)?;
        directory.flush()?;
        self.all.push(number);
        self.current = Some(number);
        Ok(name)
    }

    /// What a reader of `file` sees, as far as it can be copied.
    fn shown(&self, directory: &Directory, file: &str) -> Option<Zeroizing<Vec<u8>>> {
        let found = if links(directory, file) {
            directory.directory(&name(self.current?)).ok()?.file(file).ok()?
        } else {
            let found = directory.file(file).ok()?;
            // With a name elsewhere it may be anybody's, and a copy would show it to others.
            (found.metadata().ok()?.nlink() == 1).then_some(found)?
        };
        directory::read(&found).ok()
    }
}

fn links(directory: &Directory, name: &str) -> bool {
    directory.target(name).is_some_and(|target| *target == *format!("{CURRENT}/{name}"))
}

/// Whether a version is this set, with the access it is to have.
fn shows(directory: &Directory, number: u64, set: &[Entry]) -> bool {
    let same = |version: &Directory, entry: &Entry| -> io::Result<bool> {
        let file = version.file(entry.name)?;
        let (found, access) = (file.metadata()?, entry.access);
        Ok(found.mode() & 0o7777 == access.mode
            && access.owner.is_none_or(|owner| found.uid() == owner)
            && access.group.is_none_or(|group| found.gid() == group)
            && directory::read(&file)? == entry.body)
    };
    directory
        .directory(&name(number))
        .is_ok_and(|version| set.iter().all(|entry| same(&version, entry).unwrap_or(false)))
}

/// Only what a version consists of; one that somebody put something into stays.
fn remove(directory: &Directory, name: &str) -> io::Result<()> {
    let version = directory.directory(name)?;
    for name in NAMES {
        version.remove(name)?;
    }
    directory.remove_directory(name)
}

fn name(number: u64) -> String {
    format!("{VERSION}{number}")
}

/// The number in a name that [`name`] has made.
fn number(text: &str) -> Option<u64> {
    let number = text.strip_prefix(VERSION)?.parse().ok()?;
    (name(number) == text).then_some(number)
}

/// The link that all names go through.
const CURRENT: &str = "..data";
const VERSION: &str = "..hawser-";
/// A link to the version that the others were last told of.
const TOLD: &str = "..poked";

#[cfg(test)]
mod tests;
