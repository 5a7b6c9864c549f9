//! What is kept, in memory: names, checksums and addresses, no file.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use super::{Note, Stamp};
use crate::checksum::Checksum;

/// What a module is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its address; of an image, without tag and digest.
    pub(crate) name: String,
    pub(crate) checksum: Checksum,
}

/// A module that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Use<'a> {
    pub(crate) name: Cow<'a, str>,
    /// If it is known before it is fetched.
    pub(crate) checksum: Option<Checksum>,
    /// What it is called in full.
    pub(crate) address: Cow<'a, str>,
    /// The extension it is for.
    pub(crate) extension: Cow<'a, str>,
    /// The version of the resource behind that, and whether another one means another module.
    pub(crate) version: Cow<'a, str>,
    pub(crate) version_counts: bool,
}

impl Use<'_> {
    /// The same by a checksum: nothing is noted about its address.
    pub(crate) fn by(&self, checksum: Checksum) -> Self {
        Self { checksum: Some(checksum), ..self.clone() }
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    modules: BTreeMap<Key, Module>,
    /// What was found last at an address.
    addresses: HashMap<String, Key>,
    /// What Envoy uses, by the name of the extension.
    current: HashMap<String, Key>,
}

#[derive(Debug)]
struct Module {
    note: Note,
    /// The file as it was when its content was verified by this process.
    verified: Option<Stamp>,
}

impl Index {
    pub(super) fn insert(&mut self, note: Note) {
        let key = note.key();
        for (address, asked) in &note.addresses {
            let newer = self.addresses.get(address).and_then(|other| {
                self.modules.get(other)?.note.addresses.get(address).map(|other| other.found)
            });
            if newer.is_none_or(|other| other <= asked.found) {
                self.addresses.insert(address.clone(), key.clone());
            }
        }
        self.modules.insert(key, Module { note, verified: None });
    }

    /// What the note of a module becomes when it was found for `asked`.
    pub(super) fn noted(&self, mut note: Note, asked: &Use<'_>, now: SystemTime) -> Note {
        let known = self.modules.get(&note.key()).map(|module| module.note.addresses.clone());
        note.addresses = known.unwrap_or_default();
        note.lose(&asked.address);
        note.found(&asked.address, &asked.extension, &asked.version, now);
        note
    }

    pub(super) fn look(&self, asked: &Use<'_>) -> super::Look {
        if let Some(checksum) = asked.checksum {
            let key = Key { name: asked.name.clone().into_owned(), checksum };
            let is_here = self.modules.contains_key(&key);
            return if is_here { super::Look::Here(key) } else { super::Look::Away };
        }
        let known = self.addresses.get(&*asked.address);
        let Some((key, module)) = known.and_then(|key| self.modules.get_key_value(key)) else {
            return super::Look::Away;
        };
        let versions = module.note.addresses.get(&*asked.address).map(|asked| &asked.versions);
        let version = versions.and_then(|versions| versions.get(&*asked.extension));
        if asked.version_counts && version.is_none_or(|version| *version != *asked.version) {
            return super::Look::Older(key.clone());
        }
        super::Look::Here(key.clone())
    }

    /// Notes a use. The note, if it is worth writing.
    pub(super) fn used(&mut self, key: &Key, asked: &Use<'_>, now: SystemTime) -> Option<Note> {
        let module = self.modules.get_mut(key)?;
        let mut worth = module.note.touch(now);
        // What is asked for by checksum is found by that again.
        if asked.checksum.is_none() {
            let (extension, version) = (&asked.extension, &asked.version);
            let before = self.addresses.insert(asked.address.clone().into_owned(), key.clone());
            if before.is_none_or(|before| before != *key) {
                module.note.lose(&asked.address);
            }
            worth |= module.note.found(&asked.address, extension, version, now);
        }
        worth.then(|| module.note.clone())
    }

    pub(super) fn content(&self, key: &Key) -> Option<(Checksum, Option<Stamp>)> {
        self.modules.get(key).map(|module| (module.note.content(), module.verified))
    }

    pub(super) fn verified(&mut self, key: &Key, stamp: Stamp) {
        if let Some(module) = self.modules.get_mut(key) {
            module.verified = Some(stamp);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.modules.remove(key);
        self.addresses.retain(|_, other| other != key);
        self.current.retain(|_, other| other != key);
    }

    pub(super) fn assign(&mut self, extension: &str, key: Key) {
        self.current.insert(extension.to_owned(), key);
    }

    pub(super) fn release_but(&mut self, extensions: &[String]) {
        self.current.retain(|extension, _| extensions.contains(extension));
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.modules.keys()
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.modules.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.modules.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.modules.values().map(|module| module.note.bytes).sum()
    }

    pub(super) fn bytes_besides(&self, key: &Key) -> u64 {
        let own = self.modules.get(key).map_or(0, |module| module.note.bytes);
        self.bytes() - own
    }

    /// What was not used for longest, of what may go.
    pub(super) fn oldest(&self, besides: &Key) -> Option<Key> {
        let free = self.free().filter(|(key, _)| *key != besides);
        free.min_by_key(|(_, module)| module.note.used()).map(|(key, _)| key.clone())
    }

    pub(super) fn unused_since(&self, before: SystemTime) -> Vec<Key> {
        let expired = self.free().filter(|(_, module)| module.note.used() < before);
        expired.map(|(key, _)| key.clone()).collect()
    }

    /// What Envoy does not use.
    fn free(&self) -> impl Iterator<Item = (&Key, &Module)> {
        self.modules.iter().filter(|(key, _)| !self.current.values().any(|used| used == *key))
    }
}
