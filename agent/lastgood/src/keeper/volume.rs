//! The logs of one key.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::PathBuf,
    sync::{Arc, Weak},
};

use crate::{
    Error,
    lacks::Lacks,
    log::{Log, Said, Terms},
    order::Ticket,
    place::{self, Opened},
};

/// The logs of one key.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) key: Arc<str>,
    pub(super) directory: PathBuf,
    /// Who has opened it, the newest last.
    held: Vec<(u64, Weak<()>)>,
    /// Who was the last that might write.
    wrote: u64,
    /// What those took who may not write, by who and type: should they write again, it is lacking.
    missed: BTreeMap<(u64, String), Lacks>,
    logs: BTreeMap<String, Log>,
}

impl Volume {
    /// Opens all logs that are there; what is wrong with which.
    pub(super) fn open(
        directory: PathBuf,
        ticket: &Ticket,
        terms: Terms,
    ) -> (Self, Vec<(String, Error)>) {
        let mut volume = Self {
            key: Arc::clone(&ticket.key),
            directory,
            held: vec![(ticket.generation, Arc::downgrade(&ticket.alive))],
            wrote: ticket.generation,
            missed: BTreeMap::new(),
            logs: BTreeMap::new(),
        };
        let mut troubles = Vec::new();
        if let Err(error) = place::trusted(&volume.directory) {
            troubles.push((String::new(), error));
            return (volume, troubles);
        }
        for path in place::logs(&volume.directory).unwrap_or_default() {
            // What it is not is found out, and set aside, when it is loaded.
            let type_url = match place::open(&path, false) {
                Ok(Opened::Log(_, title, ..))
                    if place::file(&volume.directory, &title.type_url) == path =>
                {
                    title.type_url
                }
                _ => String::new(),
            };
            let loaded = Log::load(path, &ticket.key, &type_url, terms);
            if let Some(error) = loaded.trouble {
                troubles.push((type_url.clone(), error));
            }
            if loaded.log.file().is_some() && volume.logs.len() < TYPES {
                volume.logs.insert(type_url, loaded.log);
            }
        }
        (volume, troubles)
    }

    /// Somebody has opened the book again: what is wanted, that stream has yet to say.
    pub(super) fn newer(&mut self, ticket: &Ticket) {
        self.held.retain(|(_, held)| held.strong_count() > 0);
        self.held.push((ticket.generation, Arc::downgrade(&ticket.alive)));
        self.wrote = ticket.generation;
        let held = &self.held;
        self.missed.retain(|(missed, _), _| held.iter().any(|(holder, _)| holder == missed));
        for log in self.logs_mut() {
            log.set_wanted(None);
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.writer().is_some()
    }

    /// Whether that one may write. Who does so again, after a newer one that has gone, has yet to
    /// say again what is wanted.
    pub(super) fn admits(&mut self, generation: u64) -> bool {
        let may = self.writer() == Some(generation);
        if may && std::mem::replace(&mut self.wrote, generation) != generation {
            self.logs_mut().for_each(|log| log.set_wanted(None));
            for ((who, type_url), missed) in std::mem::take(&mut self.missed) {
                if who != generation {
                    self.missed.insert((who, type_url), missed);
                } else if let Some(log) = self.logs.get_mut(&type_url) {
                    log.lacks.add(missed);
                }
            }
        }
        may
    }

    /// One who may not write has taken something.
    pub(super) fn miss(&mut self, generation: u64, type_url: &str, whole: bool, said: &Said) {
        let missed = self.missed.entry((generation, type_url.to_owned())).or_default();
        missed.lose(&said.came);
        if whole || said.unnamed || !said.gone.is_empty() {
            missed.lose_untold();
        }
    }

    /// The newest of those who still hold it.
    fn writer(&self) -> Option<u64> {
        let held = self.held.iter().rev().find(|(_, held)| held.strong_count() > 0);
        held.map(|(generation, _)| *generation)
    }

    /// Bytes on disk.
    pub(super) fn size(&self) -> u64 {
        self.logs().map(Log::size).sum()
    }

    pub(super) fn logs(&self) -> impl Iterator<Item = &Log> {
        self.logs.values()
    }

    pub(super) fn logs_mut(&mut self) -> impl Iterator<Item = &mut Log> {
        self.logs.values_mut()
    }

    pub(super) fn log(&self, type_url: &str) -> Option<&Log> {
        self.logs.get(type_url)
    }

    pub(super) fn log_mut(&mut self, type_url: &str) -> Option<&mut Log> {
        self.logs.get_mut(type_url)
    }

    /// The log of a type; an empty one if there is none.
    pub(super) fn enter(&mut self, type_url: &str, terms: Terms) -> Result<&mut Log, Error> {
        if type_url.len() > place::NAME || self.key.len() > place::NAME {
            return Err(Error::Name { limit: place::NAME });
        }
        let full = self.logs.len() >= TYPES;
        match self.logs.entry(type_url.to_owned()) {
            Entry::Occupied(log) => Ok(log.into_mut()),
            Entry::Vacant(_) if full => {
                Err(Error::Types { path: self.directory.clone(), limit: TYPES })
            }
            Entry::Vacant(place) => {
                let path = place::file(&self.directory, type_url);
                let loaded = Log::load(path, &self.key, type_url, terms);
                Ok(place.insert(loaded.log))
            }
        }
    }
}

/// Types that a book may hold.
const TYPES: usize = 64;
