//! What is noted of a kept module, beside it: what it is, how it was asked for, and when last.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::Path,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::Key;
use crate::{Error, checksum::Checksum};

/// A note, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    format: u32,
    /// What it is called without checksum.
    name: String,
    /// What it is asked for by: of an image, that of its manifest.
    checksum: String,
    /// That of the file.
    content: String,
    pub(super) bytes: u64,
    /// Seconds since 1970.
    used: u64,
    /// The addresses at which it was found, each with who asked in which version.
    pub(super) addresses: BTreeMap<String, Asked>,
}

/// How an address was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Seconds since 1970: of several modules found at one address the newest counts.
    pub(super) found: u64,
    /// Names of extensions, and the version of the resource behind them.
    pub(super) versions: BTreeMap<String, String>,
}

impl Note {
    pub(super) fn new(key: &Key, content: Checksum, bytes: u64, now: SystemTime) -> Self {
        Self {
            format: FORMAT,
            name: key.name.clone(),
            checksum: key.checksum.to_string(),
            content: content.to_string(),
            bytes,
            used: seconds(now),
            addresses: BTreeMap::new(),
        }
    }

    /// A note that says something.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let mut text = Vec::new();
        let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        if found.len() > LARGEST {
            return None;
        }
        fs::File::open(path).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let note: Self = serde_json::from_slice(text).ok()?;
        let is_whole = note.checksum.parse::<Checksum>().is_ok()
            && note.content.parse::<Checksum>().is_ok()
            && note.format == FORMAT;
        is_whole.then_some(note)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        // Maps of texts: nothing of it cannot be written as JSON.
        let text = serde_json::to_vec(self).unwrap_or_default();
        // Addresses may hold passwords.
        hawser_state::write_file(path, 0o600, &text)
            .map_err(|source| Error::Note { path: path.to_owned(), source })
    }

    pub(super) fn key(&self) -> Key {
        Key { name: self.name.clone(), checksum: self.sum(&self.checksum) }
    }

    pub(super) fn content(&self) -> Checksum {
        self.sum(&self.content)
    }

    pub(super) fn used(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(self.used))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Notes a use; whether it is worth writing.
    pub(super) fn touch(&mut self, now: SystemTime) -> bool {
        let now = seconds(now);
        let worth = now.abs_diff(self.used) >= WORTH_NOTING;
        if worth {
            self.used = now;
        }
        worth
    }

    /// Notes where it was found, and by whom; whether that is new.
    pub(super) fn found(
        &mut self,
        address: &str,
        extension: &str,
        version: &str,
        now: SystemTime,
    ) -> bool {
        if self.addresses.len() >= MOST_ADDRESSES && !self.addresses.contains_key(address) {
            self.addresses.clear();
        }
        let asked = self
            .addresses
            .entry(address.to_owned())
            .or_insert_with(|| Asked { found: seconds(now), versions: BTreeMap::new() });
        if asked.versions.get(extension).is_some_and(|known| known == version) {
            return false;
        }
        if asked.versions.len() >= MOST_VERSIONS && !asked.versions.contains_key(extension) {
            asked.versions.clear();
        }
        asked.versions.insert(extension.to_owned(), version.to_owned());
        true
    }

    /// It was found elsewhere since: it is to be found anew.
    pub(super) fn lose(&mut self, address: &str) {
        self.addresses.remove(address);
    }

    fn sum(&self, text: &str) -> Checksum {
        // `parse` and `new` have let nothing else in.
        text.parse().unwrap_or_else(|_| Checksum::of(self.name.as_bytes()))
    }
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const FORMAT: u32 = 1;
const LARGEST: u64 = 1 << 20;
/// Uses closer to each other than this are one.
const WORTH_NOTING: u64 = 600;
const MOST_ADDRESSES: usize = 16;
const MOST_VERSIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_only_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("note.json");
        let key = Key { name: "http://a/b".to_owned(), checksum: Checksum::of(b"a") };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut note = Note::new(&key, Checksum::of(b"b"), 7, now);
        assert!(note.found("http://a/b", "x", "1", now));
        assert!(!note.found("http://a/b", "x", "1", now));
        note.write(&path).unwrap();

        assert_eq!(Note::read(&path).unwrap(), note);
        assert_eq!((note.key(), note.content(), note.used()), (key, Checksum::of(b"b"), now));
        let text = fs::read(&path).unwrap();
        for end in 0..text.len() {
            assert_eq!(Note::parse(&text[..end]), None, "{end}");
        }
        let other = String::from_utf8(text).unwrap().replace("\"format\":1", "\"format\":2");
        assert_eq!(Note::parse(other.as_bytes()), None);
    }

    #[test]
    fn a_note_does_not_grow_without_bound() {
        let key = Key { name: String::new(), checksum: Checksum::of(b"") };
        let mut note = Note::new(&key, Checksum::of(b""), 0, SystemTime::UNIX_EPOCH);
        for count in 0..10_000_u32 {
            let (address, extension) = ((count % 40).to_string(), count.to_string());
            note.found(&address, &extension, "1", SystemTime::UNIX_EPOCH);
        }

        assert!(note.addresses.len() <= MOST_ADDRESSES);
        assert!(note.addresses.values().all(|asked| asked.versions.len() <= MOST_VERSIONS));
    }
}
