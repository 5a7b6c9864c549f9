//! Opening a log that is there.

use std::path::PathBuf;

use hawser_rt::Chain;
use tracing::{info, warn};

use super::{Log, Terms, reserve::give_back_of};
use crate::{
    Error,
    format::Title,
    kept::Kept,
    place::{self, Opened},
    scan::Scan,
    step::step,
};

/// A log as it was found, and what is wrong with it.
pub(crate) struct Loaded {
    pub(crate) log: Log,
    pub(crate) trouble: Option<Error>,
}

impl Log {
    /// Opens the log at `path`, which need not be there. What is not a log of this key and type is
    /// set aside; what is damaged is cut.
    pub(crate) fn load(path: PathBuf, key: &str, type_url: &str, terms: Terms) -> Loaded {
        let title = Title { salt: fastrand::u64(..), key: key.into(), type_url: type_url.into() };
        let mut log = Self {
            path,
            terms,
            title,
            file: None,
            writable: false,
            begin: 0,
            end: 0,
            reserved: 0,
            kept: Kept::new(terms.versions),
            drafts: Default::default(),
            partial: None,
            tail: None,
            waiting: Default::default(),
            dirty: false,
            lacks: Default::default(),
            wanted: None,
            compaction: None,
            due: 0,
            rest: 0,
        };
        let trouble = log.read().err();
        Loaded { log, trouble }
    }

    fn read(&mut self) -> Result<(), Error> {
        let fail = |path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Read { path, source }
        };
        self.path.parent().map_or(Ok(()), place::trusted)?;
        let opened = place::open(&self.path, true).map_err(fail(&self.path))?;
        let (file, title, begin, writable) = match opened {
            Opened::Absent => return Ok(()),
            Opened::Foreign(reason) => return self.set_aside(&reason),
            Opened::Log(_, title, ..)
                if (&title.key, &title.type_url) != (&self.title.key, &self.title.type_url) =>
            {
                return self.set_aside("it is of another node or type");
            }
            Opened::Log(file, title, begin, writable) => (file, title, begin, writable),
        };
        let size = file.metadata().map_err(fail(&self.path))?.len();
        let mut scan = Scan::new(file.clone(), title.salt, begin, self.terms.versions);
        scan.finish(size).map_err(fail(&self.path))?;
        let (sound, damaged) = (scan.sound, scan.damaged || scan.kept.broken);
        self.kept = scan.kept;
        self.kept.staged.clear();
        self.kept.broken = false;
        if damaged {
            let (lost, path) = (self.kept.lost, self.path.display());
            warn!(%path, lost, cut = size - sound, "last-good log is damaged; the rest is used");
        }
        self.title = title;
        self.begin = begin;
        self.end = sound;
        self.writable = writable;
        if writable && sound < size {
            step();
            file.set_len(sound).map_err(|source| self.failed(source))?;
        }
        if writable {
            give_back_of(&file, sound);
        }
        self.file = Some(file);
        Ok(())
    }

    fn set_aside(&self, reason: &str) -> Result<(), Error> {
        let path = self.path.display();
        match place::set_aside(&self.path) {
            Ok(aside) => {
                warn!(%path, aside = %aside.display(), reason, "last-good log set aside");
                Ok(())
            }
            Err(error) => {
                info!(%path, reason, error = %Chain(&error), "last-good log ignored");
                Err(error)
            }
        }
    }
}
