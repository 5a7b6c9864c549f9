//! A journal of the test's own: the socket that programs send their entries to.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use hawser_audit::Kind;
use parking_lot::Mutex;

/// The fields of an entry.
pub(crate) type Entry = BTreeMap<String, String>;

/// Takes entries until it is dropped.
pub(crate) struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// That of the machine under `root`.
    pub(crate) fn under(root: &Path) -> Result<Self> {
        let path = root.join("run/systemd/journal/socket");
        fs::create_dir_all(path.parent().context("a path without a parent")?)?;
        let socket = UnixDatagram::bind(&path).context("bind the journal's socket")?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (entries, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (kept, stopped): (Arc<Mutex<Vec<Entry>>>, _) =
            (Arc::clone(&entries), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut datagram = vec![0; 256 << 10];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut datagram) {
                    kept.lock().push(parsed(&datagram[..length]));
                }
            }
        });
        Ok(Self { entries, stop, thread: Some(thread) })
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().clone()
    }

    /// Those of a kind.
    pub(crate) fn of(&self, kind: Kind) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.get("MESSAGE_ID").is_some_and(|id| id == kind.id));
        entries
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// `NAME=value` and a line feed; or the name, a line feed, how long the value is, and the value.
fn parsed(mut datagram: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&datagram[..end]).into_owned();
        datagram = &datagram[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            entry.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let Some((length, rest)) = datagram.split_first_chunk::<8>() else { break };
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(rest.len());
        entry.insert(line, String::from_utf8_lossy(&rest[..length]).into_owned());
        datagram = rest.get(length + 1..).unwrap_or_default();
    }
    entry
}
