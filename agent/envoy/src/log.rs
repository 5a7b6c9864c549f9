//! What Envoy says, from a pipe to where it belongs.
//!
//! Envoy opens `/dev/stdout` for access logs, which cannot be opened when it is a socket, and under
//! systemd it is one. So it gets a pipe, and this stands between the pipe and the rest:
//!
//! - Whoever takes the lines may be slow or stuck: they wait here within a bound, and beyond it
//!   they are dropped and counted. Envoy does not wait for them.
//! - The last lines of Envoy's own log are remembered, so that its end can be explained.
//! - It ends when nobody can write to the pipe any more, and not before.

pub mod file;
pub mod level;

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use level::Level;

/// Where lines go. Given whole lines, one or more at a time; may block.
pub trait Outlet: Send + 'static {
    /// Takes lines, each with its line feed.
    fn lines(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// What is left when all was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// The last lines of Envoy's own log, the oldest first.
    pub last: Vec<String>,
    /// How many lines nobody took.
    pub dropped: u64,
}

/// Reads to the end, and hands on what it reads. Returns when all of it was handed on or the outlet
/// has failed; `said` is called before, when there is nothing more to read.
pub fn carry(
    mut from: impl Read,
    mut to: impl Outlet,
    said: impl FnOnce(&Rest),
) -> io::Result<Rest> {
    let (send, waiting) = sync_channel::<Vec<u8>>(MOST_WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let missed = Arc::clone(&dropped);
    let hand_on = move || hand_on(&waiting, &missed, &mut to);
    let writer = thread::Builder::new().name("write".to_owned()).spawn(hand_on)?;
    let mut last = Last::default();
    let mut whole = Vec::with_capacity(PIECE);
    let mut lost: u64 = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        whole.extend_from_slice(piece.get(..count).unwrap_or_default());
        // A line that is longer than any ought to be is cut where it is.
        let end = whole.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
        let end = end.or_else(|| (whole.len() >= LONGEST_LINE).then_some(whole.len()));
        if let Some(end) = end {
            let rest = whole.split_off(end);
            let lines = std::mem::replace(&mut whole, rest);
            lost += offer(&send, &dropped, &mut last, lines);
        }
    }
    if !whole.is_empty() {
        lost += offer(&send, &dropped, &mut last, whole);
    }
    drop(send);
    let rest = Rest { last: last.0.into(), dropped: lost };
    said(&rest);
    // One that is stuck for good would keep this process for ever; its parent is gone by now, and
    // the service manager ends what is left.
    drop(writer.join());
    Ok(rest)
}

/// How many lines could not be handed on.
fn offer(
    send: &SyncSender<Vec<u8>>,
    dropped: &AtomicU64,
    last: &mut Last,
    mut lines: Vec<u8>,
) -> u64 {
    if lines.last() != Some(&b'\n') {
        lines.push(b'\n');
    }
    last.note(&lines);
    match send.try_send(lines) {
        Ok(()) => 0,
        Err(TrySendError::Full(lines) | TrySendError::Disconnected(lines)) => {
            let count = lines.split(|byte| *byte == b'\n').count().saturating_sub(1);
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            dropped.fetch_add(count, Ordering::Relaxed);
            count
        }
    }
}

fn hand_on(waiting: &Receiver<Vec<u8>>, dropped: &AtomicU64, to: &mut impl Outlet) {
    for lines in waiting {
        let missed = dropped.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let note = format!("{missed} lines of envoy were dropped: nobody took them in time\n");
            drop(to.lines(note.as_bytes()));
        }
        // A disk that is full, say. What comes next may find room.
        if to.lines(&lines).is_err() {
            let lost = lines.split(|byte| *byte == b'\n').count().saturating_sub(1);
            dropped.fetch_add(u64::try_from(lost).unwrap_or_default(), Ordering::Relaxed);
        }
    }
}

/// The last lines that are not of an access log.
#[derive(Debug, Default)]
struct Last(VecDeque<String>);

impl Last {
    fn note(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = line.get(..LONGEST_KEPT).unwrap_or(line);
            if level::is_access(line) {
                continue;
            }
            if self.0.len() == MOST_KEPT {
                // A crash ends in a long trace: what came before it says more.
                let trace = self.0.iter().position(|line| level::of(line) != Some(Level::Critical));
                drop(self.0.remove(trace.unwrap_or(0)));
            }
            self.0.push_back(String::from_utf8_lossy(line).into_owned());
        }
    }
}

/// Lines to a stream, for the journal each with its priority.
#[derive(Debug)]
pub struct Stream<W> {
    to: W,
    priorities: bool,
}

impl<W: Write + Send + 'static> Stream<W> {
    /// To `to`, with `<N>` before each line if whoever reads them understands that.
    pub fn new(to: W, priorities: bool) -> Self {
        Self { to, priorities }
    }
}

impl<W: Write + Send + 'static> Outlet for Stream<W> {
    fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.priorities {
            self.to.write_all(lines)?;
            return self.to.flush();
        }
        let mut marked = Vec::with_capacity(lines.len() + lines.len() / 16);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let level = std::str::from_utf8(line).ok().and_then(level::of);
            // Every line has one, so that none can bring its own.
            let priority = level.map_or(Level::Info.priority(), Level::priority);
            marked.extend_from_slice(&[b'<', b'0' + priority, b'>']);
            marked.extend_from_slice(line);
        }
        self.to.write_all(&marked)?;
        self.to.flush()
    }
}

const PIECE: usize = 64 << 10;
const LONGEST_LINE: usize = 64 << 10;
/// Pieces that may wait: 16 MiB at most, and less than one in practice.
const MOST_WAITING: usize = 128;
const MOST_KEPT: usize = 60;
const LONGEST_KEPT: usize = 2 << 10;

#[cfg(test)]
mod tests;
