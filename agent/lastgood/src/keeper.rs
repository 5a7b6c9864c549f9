//! The thread of a shelf: all that touches the disk, in the order in which it was told.

mod reading;
mod shares;
mod trouble;
mod volume;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::debug;

pub use self::shares::PROGRAM;
pub(crate) use self::{
    reading::item,
    shares::{Closed, Owner},
};
use self::{trouble::Trouble, volume::Volume};
use crate::{
    Error, Options, Standing,
    log::{Log, Said, Terms},
    order::{Fate, Form, Order, Space, Ticket},
    place,
    write::Piece,
};

/// Keeps the books.
pub(crate) struct Keeper {
    directory: PathBuf,
    limit: u64,
    closed: Closed,
    terms: Terms,
    volumes: BTreeMap<Arc<str>, Volume>,
    drafts: HashMap<u64, Writing>,
    space: Space,
    generation: u64,
    trouble: Trouble,
    standing: watch::Sender<Standing>,
    flushed: Instant,
    retried: Instant,
}

/// A draft that somebody holds.
#[derive(Debug)]
struct Writing {
    of: Ticket,
    type_url: String,
    whole: bool,
    fate: Fate,
    /// None if it was given up.
    number: Option<u32>,
}

impl Keeper {
    pub(crate) fn new(options: &Options, space: Space, standing: watch::Sender<Standing>) -> Self {
        let now = Instant::now();
        Self {
            directory: options.directory.clone(),
            limit: options.limit,
            closed: Closed::default(),
            terms: Terms {
                versions: options.versions.max(1),
                versions_bytes: options.versions_bytes,
            },
            volumes: BTreeMap::new(),
            drafts: HashMap::new(),
            space,
            generation: 0,
            trouble: Trouble::new(&options.metrics),
            standing,
            flushed: now,
            retried: now,
        }
    }

    /// Does what it is told until nobody is there to tell it anything.
    pub(crate) fn run(mut self, orders: &mpsc::Receiver<Order>) {
        self.open();
        loop {
            let order = match self.patience() {
                Some(patience) => orders.recv_timeout(patience),
                None => orders.recv().map_err(mpsc::RecvTimeoutError::from),
            };
            let closing = match order {
                Ok(Order::Close { reply }) => Some(Some(reply)),
                Ok(order) => {
                    self.follow(order);
                    None
                }
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => Some(None),
            };
            if let Some(reply) = closing {
                self.flush();
                if let Some(reply) = reply
                    && reply.send(()).is_err()
                {
                    debug!("nobody waited for the end of the last-good store");
                }
                return;
            }
            self.go_on();
        }
    }

    /// How long there is nothing to do but to wait for orders; `None` is for ever.
    fn patience(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut due: Option<Instant> = None;
        let mut at = |then: Instant| due = Some(due.map_or(then, |due| due.min(then)));
        for log in self.volumes.values().flat_map(Volume::logs) {
            if log.is_compacting() {
                at(now);
            }
            if log.owes() {
                at(self.retried + RETRY);
            } else if log.dirty {
                at(self.flushed + FLUSH);
            }
        }
        due.map(|due| due.saturating_duration_since(now))
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Book { key, reply } => self.book(&key, reply),
            Order::Draft { draft, of, type_url, form, fate } => {
                self.draft(draft, (of, type_url), form, fate);
            }
            Order::Write { draft, pieces, room } => {
                self.write(draft, pieces);
                drop(room);
                self.space.given_back();
            }
            Order::Removes { draft } => self.removes(draft),
            Order::GiveUp { draft, error } => self.give_up(draft, &error),
            Order::Forget { draft } => self.forget(draft),
            Order::Accept { draft, said } => self.accept(draft, said),
            Order::Wanted { of, type_url, names } => {
                if let Some(log) = self.log(&of, &type_url) {
                    log.set_wanted(names);
                }
            }
            Order::Plan { of, type_url, which, reply } => {
                let volume = self.volumes.get_mut(&of.key);
                let log = volume.and_then(|volume| volume.log_mut(&type_url));
                drop(reply.send(log.and_then(|log| reading::plan(log, &which))));
            }
            Order::Look { source, places, bodies, reply } => {
                drop(reply.send(reading::look(&source, &places, bodies)));
            }
            Order::Read { source, parts, reply } => {
                drop(reply.send(reading::read(&source, &parts)));
            }
            Order::Close { .. } => {}
        }
    }

    /// What is to be done between orders.
    fn go_on(&mut self) {
        let now = Instant::now();
        let (flush, retry) = (now >= self.flushed + FLUSH, now >= self.retried + RETRY);
        let mut changed = false;
        for volume in self.volumes.values_mut() {
            let key = Arc::clone(&volume.key);
            for log in volume.logs_mut() {
                let mut done = Ok(());
                if log.is_compacting() {
                    done = log.compact_on();
                    changed |= !log.is_compacting();
                }
                if done.is_ok() && log.owes() && retry {
                    self.retried = now;
                    done = log.settle();
                    if done.is_ok() && is_kept(log, &key, &self.drafts) {
                        self.trouble.over((&key, &log.title.type_url));
                        changed = true;
                    }
                } else if done.is_ok() && log.dirty && flush {
                    self.flushed = now;
                    done = log.flush();
                }
                changed |= self.trouble.note((&key, &log.title.type_url), done.err());
            }
        }
        if changed {
            self.publish();
        }
    }

    fn open(&mut self) {
        let opened = place::directory(&self.directory);
        if self.trouble.note(("", ""), opened.err()) {
            self.publish();
        }
    }

    fn book(&mut self, key: &str, reply: oneshot::Sender<Ticket>) {
        self.generation += 1;
        let ticket = Ticket { key: key.into(), generation: self.generation, alive: Arc::new(()) };
        let directory = place::book(&self.directory, key);
        if let Some(volume) = self.volumes.get_mut(key) {
            volume.newer(&ticket);
        } else {
            let (volume, troubles) = Volume::open(directory, &ticket, self.terms);
            for (type_url, error) in troubles {
                self.trouble.note((key, &type_url), Some(error));
            }
            self.volumes.insert(Arc::clone(&ticket.key), volume);
        }
        self.thin_out(key);
        self.publish();
        // Who asked may have gone; then the book is just not written to.
        drop(reply.send(ticket));
    }

    fn draft(&mut self, draft: u64, (of, type_url): (Ticket, String), form: Form, fate: Fate) {
        let number = self.log(&of, &type_url).map(|log| log.draft(form.flavour, form.whole));
        if number.is_none() {
            fate.give_up();
        }
        let writing = Writing { of, type_url, whole: form.whole, fate, number };
        self.drafts.insert(draft, writing);
    }

    fn write(&mut self, draft: u64, pieces: Vec<Piece>) {
        let Some(writing) = self.drafts.get(&draft) else { return };
        let Some(number) = writing.number else { return };
        let (key, type_url) = (Arc::clone(&writing.of.key), writing.type_url.clone());
        let room = self.room(&key);
        let Some(volume) = self.volumes.get_mut(&key) else { return };
        let Some(log) = volume.log_mut(&type_url) else { return };
        match log.write(number, pieces, room) {
            Ok(bytes) => self.trouble.written(bytes),
            Err(error) => {
                self.give_up(draft, &error);
                if matches!(error, Error::Full { .. }) {
                    self.make_room(draft);
                }
            }
        }
    }

    fn removes(&mut self, draft: u64) {
        let Some(writing) = self.drafts.get(&draft) else { return };
        if let (Some(number), Some(volume)) =
            (writing.number, self.volumes.get_mut(&writing.of.key))
            && let Some(log) = volume.log_mut(&writing.type_url)
        {
            log.removes(number);
        }
    }

    /// Compacts what there is to compact in the book of a draft that had no room.
    fn make_room(&mut self, draft: u64) {
        let Some(writing) = self.drafts.get(&draft) else { return };
        let Some(volume) = self.volumes.get_mut(&writing.of.key) else { return };
        for log in volume.logs_mut() {
            if !log.is_compacting() && log.is_wasteful() {
                let failed = log.compact().err();
                self.trouble.note((&writing.of.key, &log.title.type_url), failed);
            }
        }
    }

    fn give_up(&mut self, draft: u64, error: &Error) {
        let Some(writing) = self.drafts.get_mut(&draft) else { return };
        writing.fate.give_up();
        let number = writing.number.take();
        let (of, type_url) = (writing.of.clone(), writing.type_url.clone());
        if let (Some(number), Some(volume)) = (number, self.volumes.get_mut(&of.key))
            && let Some(log) = volume.log_mut(&type_url)
        {
            log.forget(number);
        }
        if self.trouble.given_up((&of.key, &type_url), error) {
            self.publish();
        }
    }

    fn forget(&mut self, draft: u64) {
        let Some(writing) = self.drafts.remove(&draft) else { return };
        let Some(number) = writing.number else { return };
        if let Some(volume) = self.volumes.get_mut(&writing.of.key)
            && let Some(log) = volume.log_mut(&writing.type_url)
        {
            log.forget(number);
        }
    }

    fn accept(&mut self, draft: u64, said: Said) {
        let Some(Writing { of, type_url, whole, number, .. }) = self.drafts.remove(&draft) else {
            return;
        };
        let Some(log) = self.log(&of, &type_url) else {
            // Of an older book: the newer one knows better.
            if let Some(volume) = self.volumes.get_mut(&of.key) {
                volume.miss(of.generation, &type_url, whole, &said);
                if let (Some(number), Some(log)) = (number, volume.log_mut(&type_url)) {
                    log.forget(number);
                }
            }
            return;
        };
        let accepted = match number {
            Some(number) => log.accept(number, said).map(|()| true),
            None => log.accept_lost(whole, said).map(|()| false),
        };
        let compacted =
            if log.is_wasteful() && !log.is_compacting() { log.compact() } else { Ok(()) };
        match accepted.and_then(|kept| compacted.map(|()| kept)) {
            Ok(true) => self.over(&of.key, &type_url),
            Ok(false) => {}
            Err(error) => drop(self.trouble.note((&of.key, &type_url), Some(error))),
        };
        self.publish();
    }

    /// Something was written: what was wrong with the log is over, unless it still lacks something.
    fn over(&mut self, key: &Arc<str>, type_url: &str) {
        let log = self.volumes.get(key).and_then(|volume| volume.log(type_url));
        if log.is_some_and(|log| is_kept(log, key, &self.drafts)) {
            self.trouble.over((key, type_url));
        }
    }

    /// The log of a type, for the newest holder of its book; made if there is none.
    fn log(&mut self, of: &Ticket, type_url: &str) -> Option<&mut Log> {
        let terms = self.terms;
        let volume = self.volumes.get_mut(&of.key)?;
        if !volume.admits(of.generation) {
            return None;
        }
        match volume.enter(type_url, terms) {
            Ok(log) => Some(log),
            Err(error) => {
                self.trouble.note((&of.key, ""), Some(error));
                None
            }
        }
    }

    fn flush(&mut self) {
        for volume in self.volumes.values_mut() {
            let key = Arc::clone(&volume.key);
            for log in volume.logs_mut() {
                let failed = log.flush().err();
                self.trouble.note((&key, &log.title.type_url), failed);
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        let mut standing = Standing { trouble: self.trouble.said(), ..Standing::default() };
        for (key, volume) in &self.volumes {
            standing.bytes += volume.size();
            let kept: BTreeMap<_, _> = volume
                .logs()
                .filter(|log| log.kept.any())
                .map(|log| (log.title.type_url.clone(), reading::kept(log)))
                .collect();
            standing.books.insert(key.to_string(), kept);
        }
        self.trouble.size(standing.bytes);
        self.standing.send_if_modified(|before| {
            let changed = *before != standing;
            *before = standing;
            changed
        });
    }
}

/// Whether a log has all that Envoy has taken, and will if it takes what it was sent.
fn is_kept(log: &Log, key: &Arc<str>, drafts: &HashMap<u64, Writing>) -> bool {
    let given_up = |draft: &Writing| {
        draft.number.is_none() && draft.of.key == *key && draft.type_url == log.title.type_url
    };
    !log.lacks.any() && !drafts.values().any(given_up)
}

/// What was accepted is on the disk after this time.
const FLUSH: Duration = Duration::from_secs(1);
/// What could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);
