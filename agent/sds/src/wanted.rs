//! Which file secrets are wanted, and by how many streams.
//!
//! A stream holds what it wants and lets go of it when it ends, however it ends. What nobody
//! holds any more is gone from the list, and whoever keeps the files sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::watch;

use crate::name::{File, Name};

/// The list, shared by all streams.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(Arc<watch::Sender<BTreeMap<File, usize>>>);

/// What one stream wants.
#[derive(Debug)]
pub(crate) struct Wish {
    wanted: Wanted,
    held: BTreeSet<File>,
}

/// More files than an Envoy on a machine asks for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {MOST_FILES} secrets made of files are served at a time")]
pub(crate) struct TooManyFiles;

impl Default for Wanted {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }
}

impl Wanted {
    /// A stream that wants nothing yet.
    pub(crate) fn wish(&self) -> Wish {
        Wish { wanted: self.clone(), held: BTreeSet::new() }
    }

    /// The list, and every change of what is on it.
    pub(crate) fn follow(&self) -> watch::Receiver<BTreeMap<File, usize>> {
        self.0.subscribe()
    }

    /// Counts one stream more for each file of `added`, and one less for those of `dropped`.
    fn count(
        &self,
        dropped: impl Iterator<Item = File>,
        added: impl Iterator<Item = File>,
        mut taken: impl FnMut(File),
    ) -> Result<(), TooManyFiles> {
        let mut result = Ok(());
        self.0.send_if_modified(|counts| {
            let mut changed = false;
            for file in dropped {
                if let Some(count) = counts.get_mut(&file) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&file);
                        changed = true;
                    }
                }
            }
            for file in added {
                if !counts.contains_key(&file) {
                    if counts.len() == MOST_FILES {
                        result = Err(TooManyFiles);
                        break;
                    }
                    changed = true;
                }
                *counts.entry(file.clone()).or_default() += 1;
                taken(file);
            }
            changed
        });
        result
    }
}

impl Wish {
    /// Holds the files among these names and no others.
    pub(crate) fn hold<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), TooManyFiles> {
        let file = |name| match Name::parse(name) {
            Ok(Name::File(file)) => Some(file),
            _ => None,
        };
        let files: BTreeSet<File> = names.into_iter().filter_map(file).collect();
        if files == self.held {
            return Ok(());
        }
        let dropped: Vec<File> = self.held.difference(&files).cloned().collect();
        let added: Vec<File> = files.difference(&self.held).cloned().collect();
        self.held.retain(|file| files.contains(file));
        let taken = |file| {
            self.held.insert(file);
        };
        self.wanted.count(dropped.into_iter(), added.into_iter(), taken)
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        // Nothing is added, so nothing is too much.
        self.hold([]).ok();
    }
}

const MOST_FILES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(wanted: &Wanted) -> Vec<(String, usize)> {
        wanted.0.borrow().iter().map(|(file, count)| (file.to_string(), *count)).collect()
    }

    fn entry(name: &str, count: usize) -> (String, usize) {
        (name.to_owned(), count)
    }

    #[test]
    fn a_file_is_wanted_for_as_long_as_a_stream_holds_it() {
        let wanted = Wanted::default();
        let mut follower = wanted.follow();
        let (mut one, mut two) = (wanted.wish(), wanted.wish());

        one.hold(["default", "file-root:/a", "nonsense"]).unwrap();
        assert!(follower.has_changed().unwrap());
        follower.mark_unchanged();
        two.hold(["file-root:/a"]).unwrap();
        one.hold(["file-root:/a", "default"]).unwrap();
        assert_eq!(list(&wanted), [entry("file-root:/a", 2)]);
        assert!(!follower.has_changed().unwrap(), "how many want it is nobody's business");

        one.hold(["file-root:/b"]).unwrap();
        assert_eq!(list(&wanted), [entry("file-root:/a", 1), entry("file-root:/b", 1)]);
        drop(two);
        assert_eq!(list(&wanted), [entry("file-root:/b", 1)]);
        drop(one);
        assert_eq!(list(&wanted), []);
        assert!(follower.has_changed().unwrap());
    }

    #[test]
    fn there_is_an_end_to_what_can_be_wanted_and_it_can_be_given_back() {
        let wanted = Wanted::default();
        let names: Vec<String> =
            (0..=MOST_FILES).map(|index| format!("file-root:/{index:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut greedy = wanted.wish();
        assert_eq!(greedy.hold(names.iter().copied()), Err(TooManyFiles));
        assert_eq!(list(&wanted).len(), MOST_FILES);

        let mut modest = wanted.wish();
        assert_eq!(modest.hold([names[MOST_FILES]]), Err(TooManyFiles));
        modest.hold([names[0]]).unwrap();

        drop(greedy);
        assert_eq!(list(&wanted), [entry("file-root:/000", 1)]);
        modest.hold([names[MOST_FILES]]).unwrap();
        assert_eq!(list(&wanted), [entry(names[MOST_FILES], 1)]);
    }
}
