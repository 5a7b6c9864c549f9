//! The log of one type: written at the end, read anywhere, compacted beside.
//!
//! What is true at any moment: the file up to `end` is what a restart reads; a draft that is not
//! accepted is in it but counts for nothing; what was accepted but could not be written yet waits,
//! and nothing is written before it.

mod compact;
mod copy;
mod load;
mod reserve;
mod same;
mod wanted;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::{self, IoSlice},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use hawser_wire::Flavour;

use self::compact::Compaction;
use crate::{
    Error,
    format::{Accepted, Hash, Head, Kind, Title, salted},
    hashes::Hashes,
    kept::Kept,
    lacks::{Came, Lacks},
    place,
    step::step,
    write::{Partial, Piece, Stroke, write_at},
};

/// What holds for every log of a shelf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) versions: usize,
    pub(crate) versions_bytes: u64,
}

/// What a book may grow by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) left: u64,
    pub(crate) limit: u64,
}

/// The log of one type.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    terms: Terms,
    pub(crate) title: Title,
    /// None until something is to be written.
    file: Option<Arc<File>>,
    writable: bool,
    /// Where the title ends.
    begin: u64,
    end: u64,
    /// Up to where there is room on the disk that was taken ahead.
    reserved: u64,
    pub(crate) kept: Kept,
    drafts: BTreeMap<u32, Taken>,
    partial: Option<Partial>,
    /// The draft whose records are the last of the file, and where they begin.
    tail: Option<(u32, u64)>,
    waiting: VecDeque<(u32, Accepted)>,
    /// Something was accepted and is not flushed to disk.
    pub(crate) dirty: bool,
    /// What Envoy has taken and could not be written.
    pub(crate) lacks: Lacks,
    wanted: Option<Hashes>,
    compaction: Option<Box<Compaction>>,
    /// Bytes of compaction that are due, so that it is faster than what is written meanwhile.
    due: u64,
    /// Not compacted again before the file has this many bytes.
    rest: u64,
}

/// A draft that is being written, or waits to be accepted.
#[derive(Debug)]
struct Taken {
    kind: Kind,
    whole: bool,
    /// Came as they were.
    same: Hashes,
    /// It takes something away.
    removes: bool,
}

impl Log {
    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        if self.file.is_some() { self.end } else { 0 }
    }

    /// The file as it is now.
    pub(crate) fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }

    /// A draft begins. One that was in the middle of a resource is given up by that.
    pub(crate) fn draft(&mut self, flavour: Flavour, whole: bool) -> u32 {
        let kind = match flavour {
            Flavour::Sotw => Kind::Any,
            Flavour::Delta => Kind::Resource,
        };
        let number = self.kept.next;
        self.kept.next = number.saturating_add(1);
        self.drafts.insert(number, Taken { kind, whole, same: Hashes::default(), removes: false });
        number
    }

    /// Writes pieces of a draft; `room` is what the book may grow by. After an error the draft is
    /// no more. Returns the bytes written.
    pub(crate) fn write(
        &mut self,
        draft: u32,
        pieces: Vec<Piece>,
        room: Room,
    ) -> Result<u64, Error> {
        let written = self.append(draft, pieces, room);
        if written.is_err() {
            self.forget(draft);
        }
        written
    }

    fn append(&mut self, draft: u32, pieces: Vec<Piece>, room: Room) -> Result<u64, Error> {
        if let Some(other) = self.partial.filter(|partial| partial.draft != draft) {
            self.forget(other.draft);
        }
        self.settle()?;
        let Some(taken) = self.drafts.get(&draft) else { return Err(Error::Malformed) };
        let kind = taken.kind;
        if self.file.is_none() {
            self.create()?;
        }
        let mut stroke =
            Stroke::new(self.title.salt, draft, kind, self.end, (self.partial, pieces.len()));
        let mut same = Vec::new();
        for piece in pieces {
            match self.as_it_was(draft, &stroke, &piece) {
                Some(hash) => same.push(hash),
                None if stroke.add(piece) => {}
                None => return Err(Error::Malformed),
            }
        }
        let length = stroke.length();
        if length > room.left {
            return Err(Error::Full { path: self.path.clone(), limit: room.limit });
        }
        if length > 0 {
            self.create()?;
            self.reserve(length, room);
            let file = self.file.as_ref().ok_or(Error::Malformed)?;
            stroke.write(file).map_err(|source| self.failed(source))?;
            self.tail = match self.tail {
                Some((last, at)) if last == draft => Some((last, at)),
                _ => Some((draft, self.end)),
            };
        }
        self.end = stroke.end;
        self.due += 2 * length;
        self.partial = stroke.partial;
        for (hash, place) in stroke.records {
            self.kept.record(draft, hash, place);
        }
        self.want(&same);
        if let Some(taken) = self.drafts.get_mut(&draft) {
            taken.same.extend(same);
        }
        Ok(length)
    }

    /// Envoy has taken a draft.
    pub(crate) fn accept(&mut self, draft: u32, said: Said) -> Result<(), Error> {
        let Some(taken) = self.drafts.remove(&draft) else { return Ok(()) };
        let staged = self.kept.staged.get(&draft);
        let own: Vec<Hash> = staged.into_iter().flat_map(HashMap::keys).copied().collect();
        let mut same: Vec<Hash> = taken.same.into_iter().collect();
        same.retain(|hash| !staged.is_some_and(|staged| staged.contains_key(hash)));
        self.want(&own);
        self.want(&same);
        let whole = taken.whole || said.unnamed;
        let lost: Vec<Hash> =
            same.iter().filter(|hash| !self.kept.index.contains_key(*hash)).copied().collect();
        self.lacks.settle(&own);
        self.lacks.settle(&same);
        let mut accepted = Accepted {
            number: self.kept.number + 1,
            at: said.at,
            whole,
            added: 0,
            changed: 0,
            removed: 0,
            version: said.version,
            same: if whole { same } else { Vec::new() },
            own,
            gone: said.gone,
        };
        if whole {
            self.lacks = Lacks::default();
        }
        lost.into_iter().for_each(|hash| self.lacks.lose_one(hash));
        self.lacks.settle(&accepted.gone);
        self.kept.weigh(draft, &mut accepted);
        self.kept.accept(draft, &accepted, u64::MAX);
        self.waiting.push_back((draft, accepted));
        self.settle()
    }

    /// Envoy has taken a draft that was given up: what is known of it is what is no more.
    pub(crate) fn accept_lost(&mut self, whole: bool, mut said: Said) -> Result<(), Error> {
        if said.unnamed || (whole && said.came.is_untold()) {
            self.lacks.lose_untold();
        } else if whole {
            // It has told all there is: what it did not name is no more.
            let came = said.came.hashes();
            said.gone = self.kept.index.keys().filter(|it| !came.contains(*it)).copied().collect();
        }
        self.lacks.lose(&said.came);
        if said.gone.is_empty() {
            return Ok(());
        }
        let version = self.kept.version.clone();
        let draft = self.draft(Flavour::Delta, false);
        self.accept(draft, Said { version, unnamed: false, ..said })
    }

    /// Writes down what was accepted, if nothing is in the way.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        while self.partial.is_none()
            && let Some((draft, accepted)) = self.waiting.front()
        {
            let (draft, accepted) = (*draft, accepted.clone());
            self.create()?;
            let body = accepted.encode();
            let length = u32::try_from(body.len()).ok().ok_or(Error::Malformed)?;
            let head = Head { kind: Kind::Accepted, draft, length }.encode(self.title.salt);
            let crc = salted(self.title.salt, &body).to_le_bytes();
            let parts = [&head[..], &body, &crc];
            let file = self.file.as_ref().ok_or(Error::Malformed)?;
            write_at(file, parts.map(IoSlice::new).to_vec(), self.end)
                .map_err(|source| self.failed(source))?;
            let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
            self.end += length;
            self.due += 2 * length;
            for version in &mut self.kept.versions {
                if version.number == accepted.number {
                    version.end = self.end;
                }
            }
            self.tail = None;
            self.dirty = true;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Whether something accepted waits to be written.
    pub(crate) fn owes(&self) -> bool {
        self.partial.is_none() && !self.waiting.is_empty()
    }

    /// A draft was refused, or given up.
    pub(crate) fn forget(&mut self, draft: u32) {
        self.drafts.remove(&draft);
        self.kept.staged.remove(&draft);
        let partial = self.partial.take_if(|partial| partial.draft == draft);
        let cut = match self.tail {
            Some((last, at)) if last == draft => Some(at),
            _ => partial.map(|partial| partial.at),
        };
        if let Some(cut) = cut {
            self.tail = None;
            self.cut(cut);
        }
    }

    /// What is behind `end` is no more.
    fn cut(&mut self, end: u64) {
        if self.compaction.as_ref().is_some_and(|compaction| compaction.copied > end) {
            self.abandon();
        }
        self.end = end;
        self.reserved = 0;
        step();
        // If that fails, it is written over or, after a restart, passed over: nobody accepted it.
        if let Some(file) = &self.file
            && let Err(error) = file.set_len(end)
        {
            tracing::debug!(%error, path = %self.path.display(), "log not cut");
        }
    }

    /// Brings what was accepted to the disk.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.settle()?;
        self.give_back();
        if let Some(file) = self.file.as_ref().filter(|_| self.dirty) {
            step();
            file.sync_data().map_err(|source| self.failed(source))?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Makes the file, or opens it for writing.
    fn create(&mut self) -> Result<(), Error> {
        if self.file.is_some() && self.writable {
            return Ok(());
        }
        let directory = self.path.parent().unwrap_or(&self.path);
        // The shelf too: who can write there can put another book in the place of this one.
        directory.parent().map_or(Ok(()), place::directory)?;
        place::directory(directory)?;
        if self.file.is_some() {
            return self.reopen();
        }
        let path = self.path.clone();
        let fail = |source| Error::Write { path: path.clone(), source };
        let (file, beside) = place::create_beside(&self.path).map_err(fail)?;
        let title = self.title.encode();
        write_at(&file, vec![IoSlice::new(&title)], 0).map_err(fail)?;
        step();
        file.sync_all().map_err(fail)?;
        place::replace(&beside, &self.path)
            .map_err(|source| Error::Replace { path: path.clone(), source })?;
        self.begin = title.len() as u64;
        self.end = self.begin;
        self.file = Some(Arc::new(file));
        self.writable = true;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let fail = |source| Error::Write { path: self.path.clone(), source };
        match place::open(&self.path, true).map_err(fail)? {
            place::Opened::Log(file, title, _, true) if title == self.title => {
                // What an earlier process has left behind the end.
                step();
                file.set_len(self.end).map_err(fail)?;
                self.file = Some(file);
                self.writable = true;
                Ok(())
            }
            _ => Err(fail(io::ErrorKind::ReadOnlyFilesystem.into())),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }
}

/// What is said when a draft is accepted.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) version: String,
    pub(crate) at: SystemTime,
    /// What it tells of, if it does not tell all.
    pub(crate) came: Came,
    pub(crate) gone: Vec<Hash>,
    /// There are resources without a name.
    pub(crate) unnamed: bool,
}
