//! A log is written anew, without what is no more, in slices between which it is used on.
//!
//! The new log begins with what was kept at the oldest version that is to be shown, as one
//! acceptance that says all; from there on it is the old one, byte for byte. While the old one
//! grows its end is copied too, and when there is nothing left to copy the new one, read back as
//! a restart would, takes its place.

mod run;

use std::{
    collections::BTreeSet, fs::File, io, io::IoSlice, os::unix::fs::FileExt, path::PathBuf,
    sync::Arc,
};

use hawser_rt::Chain;
use tracing::debug;

use self::run::Run;
use super::{Log, copy::copy};
use crate::{
    Error,
    format::{Accepted, HEAD, Hash, Head, Kind, TRAILER, Trailer, salted},
    kept::Place,
    place,
    scan::{Found, Scan},
    step::step,
    write::write_at,
};

/// A log that is being written anew.
#[derive(Debug)]
pub(super) struct Compaction {
    file: Arc<File>,
    beside: PathBuf,
    phase: Phase,
    begin: u64,
    /// Of the new log.
    end: u64,
    versions: usize,
    /// Where the acceptance ends from which on the old log is copied.
    from: u64,
    /// How far the old log is copied.
    pub(super) copied: u64,
    unflushed: u64,
    run: Run,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Phase {
    /// The old log is read up to the oldest version.
    Survey { scan: Box<Scan>, base: Option<Accepted> },
    /// What was kept then is copied.
    Base { jobs: std::vec::IntoIter<Job>, base: Accepted },
    /// What came since is copied, and read back.
    Tail { scan: Box<Scan> },
}

#[derive(Clone, Copy, Debug)]
struct Job {
    hash: Hash,
    place: Place,
    /// Not accepted then.
    staged: bool,
}

impl Log {
    /// Whether more than half of the file is of no use.
    pub(crate) fn is_wasteful(&self) -> bool {
        let Some(oldest) = self.kept.oldest(self.end, self.terms.versions_bytes) else {
            return false;
        };
        let useful = self.kept.live + self.end.saturating_sub(oldest.end);
        self.end > self.rest.max(2 * useful + FLOOR) && self.waiting.is_empty()
    }

    /// Whether it is being compacted.
    pub(crate) fn is_compacting(&self) -> bool {
        self.compaction.is_some()
    }

    /// Begins to compact.
    pub(crate) fn compact(&mut self) -> Result<(), Error> {
        self.abandon();
        let (Some(file), true) = (&self.file, self.writable && self.waiting.is_empty()) else {
            return Ok(());
        };
        let bytes = self.terms.versions_bytes;
        let Some(oldest) = self.kept.oldest(self.end, bytes) else { return Ok(()) };
        let from = oldest.end;
        let scan = Scan::new(Arc::clone(file), self.title.salt, self.begin, self.terms.versions);
        let started = place::create_beside(&self.path).and_then(|(file, beside)| {
            let title = self.title.encode();
            write_at(&file, vec![IoSlice::new(&title)], 0)?;
            Ok((file, beside, title.len() as u64))
        });
        let (file, beside, end) = started.map_err(|source| self.failed(source))?;
        self.compaction = Some(Box::new(Compaction {
            file: Arc::new(file),
            beside,
            phase: Phase::Survey { scan: Box::new(scan), base: None },
            begin: end,
            end,
            versions: self.terms.versions,
            from,
            copied: from,
            unflushed: 0,
            run: Run::default(),
            buffer: Vec::new(),
        }));
        Ok(())
    }

    /// Does a part of the work.
    pub(crate) fn compact_on(&mut self) -> Result<(), Error> {
        let Some(mut compaction) = self.compaction.take() else { return Ok(()) };
        let mut done = compaction.go_on(self);
        while self.due > SLICE && matches!(done, Ok(false)) {
            self.due -= SLICE;
            done = compaction.go_on(self);
        }
        self.due = 0;
        match done {
            Ok(false) => {
                self.compaction = Some(compaction);
                Ok(())
            }
            Ok(true) => self.exchange(*compaction),
            Err(source) => {
                let error = self.failed(source);
                self.compaction = Some(compaction);
                self.abandon();
                Err(error)
            }
        }
    }

    /// Gives a compaction up, if there is one.
    pub(super) fn abandon(&mut self) {
        let Some(compaction) = self.compaction.take() else { return };
        self.rest = self.end + self.end / 4;
        step();
        if let Err(error) = std::fs::remove_file(&compaction.beside) {
            debug!(error = %Chain(&error), path = %compaction.beside.display(), "file not removed");
        }
    }

    /// Puts the new log in the place of the old one.
    fn exchange(&mut self, compaction: Compaction) -> Result<(), Error> {
        let Compaction { file, beside, phase, end, copied, .. } = compaction;
        let Phase::Tail { scan } = phase else { return Ok(()) };
        let path = self.path.clone();
        self.rest = self.end + self.end / 4;
        step();
        file.sync_data().map_err(|source| self.failed(source))?;
        let replaced = place::replace(&beside, &path);
        replaced.map_err(|source| Error::Replace { path, source })?;
        let moved = |at: u64| (at + end).saturating_sub(copied);
        let next = self.kept.next;
        self.kept = scan.kept;
        self.kept.next = self.kept.next.max(next);
        let drafts = &self.drafts;
        self.kept.staged.retain(|draft, _| drafts.contains_key(draft));
        if let Some(partial) = &mut self.partial {
            partial.at = moved(partial.at);
        }
        self.tail = self
            .tail
            .filter(|(_, at)| *at >= compaction.from)
            .map(|(draft, at)| (draft, moved(at)));
        self.end = end;
        self.reserved = 0;
        self.file = Some(file);
        self.rest = 0;
        Ok(())
    }
}

impl Compaction {
    /// Does a part of the work; true when there is nothing left to do.
    fn go_on(&mut self, log: &Log) -> io::Result<bool> {
        let Some(old) = log.file() else { return Err(io::ErrorKind::NotFound.into()) };
        match &mut self.phase {
            Phase::Survey { scan, base } => {
                if survey(scan, base, self.from)? {
                    self.phase = plan(scan, base.take(), log)?;
                }
            }
            Phase::Base { .. } => self.base(old, log.title.salt)?,
            Phase::Tail { .. } => return self.tail(old, log),
        }
        Ok(false)
    }

    fn base(&mut self, old: &File, salt: u64) -> io::Result<()> {
        let begun = self.end;
        while self.end - begun < SLICE {
            let Phase::Base { jobs, base } = &mut self.phase else { return Ok(()) };
            let into = (&*self.file, self.end);
            let (copied, length) =
                self.run.copy((old, salt), jobs.as_slice(), into, &mut base.own)?;
            if let Some(last) = copied.checked_sub(1) {
                jobs.nth(last);
                self.end += length;
                continue;
            }
            let Some(job) = jobs.next() else {
                let base = base.clone();
                return self.based(&base, salt);
            };
            let Some((head, length)) = measure(old, salt, job.place)? else { continue };
            let head = if job.staged { head } else { Head { draft: BASE, ..head } };
            if !job.staged {
                base.own.push(job.hash);
            }
            write_at(&self.file, vec![IoSlice::new(&head.encode(salt))], self.end)?;
            self.end += HEAD as u64;
            let (from, to) = ((old, job.place.body()), (&*self.file, self.end));
            copy(from, to, length, &mut self.buffer)?;
            self.end += length;
        }
        self.unflushed += self.end - begun;
        self.flush()
    }

    /// The base is copied: says so.
    fn based(&mut self, base: &Accepted, salt: u64) -> io::Result<()> {
        let body = base.encode();
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let head = Head { kind: Kind::Accepted, draft: BASE, length }.encode(salt);
        let crc = salted(salt, &body).to_le_bytes();
        let parts = [&head[..], &body, &crc];
        write_at(&self.file, parts.map(IoSlice::new).to_vec(), self.end)?;
        self.end += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let scan = Scan::new(Arc::clone(&self.file), salt, self.begin, self.versions);
        self.phase = Phase::Tail { scan: Box::new(scan) };
        Ok(())
    }

    fn tail(&mut self, old: &File, log: &Log) -> io::Result<bool> {
        let length = (log.end - self.copied).min(SLICE);
        copy((old, self.copied), (&self.file, self.end), length, &mut self.buffer)?;
        self.copied += length;
        self.end += length;
        self.unflushed += length;
        self.flush()?;
        let Phase::Tail { scan } = &mut self.phase else { return Ok(false) };
        for _ in 0..RECORDS {
            if !matches!(scan.step(self.end)?, Found::End) {
                continue;
            }
            if self.copied < log.end || !log.waiting.is_empty() {
                return Ok(false);
            }
            let open = log.partial.map_or(log.end, |partial| partial.at);
            let caught_up = scan.at + (log.end - open) == self.end;
            if !caught_up || scan.kept.broken || scan.kept.number != log.kept.number {
                return Err(io::Error::other("the new log does not read as the old one"));
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Often, so that the last time takes not long.
    fn flush(&mut self) -> io::Result<()> {
        if self.unflushed >= FLUSH {
            step();
            self.file.sync_data()?;
            self.unflushed = 0;
        }
        Ok(())
    }
}

/// Reads the old log on; true when the oldest version is reached.
fn survey(scan: &mut Scan, base: &mut Option<Accepted>, until: u64) -> io::Result<bool> {
    for _ in 0..RECORDS {
        if scan.at >= until {
            return Ok(true);
        }
        match scan.step(until)? {
            Found::Accepted { mut accepted, believed: true } => {
                accepted.whole = true;
                accepted.own.clear();
                accepted.same.clear();
                accepted.gone.clear();
                *base = Some(accepted);
            }
            Found::End => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// What is to be copied of what was kept then.
fn plan(scan: &mut Scan, base: Option<Accepted>, log: &Log) -> io::Result<Phase> {
    let base = base.ok_or_else(|| io::Error::other("the oldest version is not in the log"))?;
    let wanted = |hash: &Hash| log.wanted.as_ref().is_none_or(|wanted| wanted.contains(hash));
    let index = std::mem::take(&mut scan.kept.index);
    let mut jobs: Vec<Job> = index
        .into_iter()
        .filter(|(hash, _)| wanted(hash))
        .map(|(hash, place)| Job { hash, place, staged: false })
        .collect();
    let later = log.kept.versions.iter().filter(|version| version.number > base.number);
    let of_use: BTreeSet<u32> =
        later.map(|version| version.draft).chain(log.drafts.keys().copied()).collect();
    for (draft, staged) in std::mem::take(&mut scan.kept.staged) {
        if of_use.contains(&draft) {
            jobs.extend(staged.into_iter().map(|(hash, place)| Job { hash, place, staged: true }));
        }
    }
    jobs.sort_unstable_by_key(|job| job.place.at());
    Ok(Phase::Base { jobs: jobs.into_iter(), base })
}

/// The head of a record, and how long it is without; `None` if it is damaged.
fn measure(file: &File, salt: u64, place: Place) -> io::Result<Option<(Head, u64)>> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, place.at())?;
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, place.trailer())?;
    let length = Trailer::length(&trailer).map(|length| u64::from(place.length()) + length as u64);
    Ok(Head::decode(salt, &head).zip(length))
}

/// The draft that a base is; others count from 1.
const BASE: u32 = 0;
// Small in tests, so that there is always something between two slices.
/// What is copied at a time, between drafts.
const SLICE: u64 = if cfg!(test) { 2 << 10 } else { 1 << 20 };
/// How many records are read at a time.
const RECORDS: usize = if cfg!(test) { 16 } else { 4000 };
const FLUSH: u64 = if cfg!(test) { 4 << 10 } else { 8 << 20 };
/// Less is not worth it.
const FLOOR: u64 = if cfg!(test) { 2 << 10 } else { 1 << 20 };
