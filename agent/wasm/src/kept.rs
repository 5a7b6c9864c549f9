//! The modules on disk: `DIRECTORY/<sha256 of the name>/<checksum>.wasm`, and beside each a note
//! of what it is.
//!
//! A file without a note, and a note without a file, are removed when the directory is opened:
//! what cannot be verified is not kept. The first time a file is used, and when it has changed
//! since, its content is read and compared with the note.

mod index;
mod note;

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_rt::{Chain, Clock, Throttle, metrics::Registry};
use parking_lot::Mutex;
use tracing::{debug, info, warn};

use self::index::Index;
pub(crate) use self::{
    index::{Key, Use},
    note::Note,
};
use crate::{Error, checksum::Checksum, checksum::Summing, partial};

/// The modules that are kept.
#[derive(Debug)]
pub(crate) struct Kept {
    directory: PathBuf,
    room: u64,
    clock: Clock,
    index: Arc<Mutex<Index>>,
    /// Held by whoever changes files, on a thread that may block.
    disk: Mutex<()>,
}

/// What is kept of a module that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is.
    Here(Key),
    /// An older one of the same address; what is there now is to be asked.
    Older(Key),
    Away,
}

/// What tells that a file is the one that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Kept {
    /// Reads the notes in the directory, and makes it if it is not there.
    pub(crate) fn open(directory: PathBuf, room: u64, clock: Clock, metrics: &Registry) -> Self {
        let index = Arc::new(Mutex::new(Index::default()));
        let kept = Self { directory, room, clock, index, disk: Mutex::new(()) };
        if let Err(error) = kept.read() {
            let path = kept.directory.display();
            warn!(%path, %error, "modules cannot be kept: filters that need one will not work");
        }
        kept.show(metrics);
        kept
    }

    fn show(&self, metrics: &Registry) {
        let index = Arc::clone(&self.index);
        let count = move || u32::try_from(index.lock().len()).ok().map(f64::from);
        metrics.computed(
            "istio_agent_wasm_cache_entries",
            "Wasm modules that are kept.",
            &[],
            count,
        );
        let index = Arc::clone(&self.index);
        #[expect(clippy::cast_precision_loss, reason = "no disk has that many bytes")]
        let bytes = move || Some(index.lock().bytes() as f64);
        metrics.computed(
            "hawser_wasm_kept_bytes",
            "Bytes of Wasm modules that are kept.",
            &[],
            bytes,
        );
    }

    fn read(&self) -> io::Result<()> {
        make(&self.directory)?;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !partial::sweep(&entry) && entry.file_type()?.is_dir() && is_sum(&entry.path()) {
                self.read_modules(&entry.path());
            }
        }
        Ok(())
    }

    /// The modules of one name. What is not ours is left alone.
    fn read_modules(&self, directory: &Path) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        let files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        for path in files.iter().filter(|path| is_sum(path)) {
            match path.extension().and_then(|kind| kind.to_str()) {
                Some(NOTE) => self.read_module(path),
                Some(MODULE) if !path.with_extension(NOTE).exists() => remove(path),
                _ => {}
            }
        }
        // Only if nothing is left in it.
        fs::remove_dir(directory).ok();
    }

    fn read_module(&self, path: &Path) {
        let file = path.with_extension(MODULE);
        let note = Note::read(path).filter(|note| {
            self.file(&note.key()) == file
                && fs::symlink_metadata(&file)
                    .is_ok_and(|found| found.is_file() && found.len() == note.bytes)
        });
        match note {
            Some(note) => self.index.lock().insert(note),
            None => {
                debug!(path = %path.display(), "module without a good note removed");
                remove(path);
                remove(&file);
            }
        }
    }

    /// What is kept of what `asked` asks for.
    pub(crate) fn look(&self, asked: &Use<'_>) -> Look {
        self.index.lock().look(asked)
    }

    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.index.lock().contains(key)
    }

    /// The file of a module, if its content is what was noted. Notes the use, and drops a file
    /// that has been damaged.
    pub(crate) async fn verified(
        self: &Arc<Self>,
        key: Key,
        asked: Use<'static>,
    ) -> Option<PathBuf> {
        let kept = Arc::clone(self);
        let verified = tokio::task::spawn_blocking(move || kept.verify(&key, &asked));
        verified.await.ok().flatten()
    }

    fn verify(&self, key: &Key, asked: &Use<'_>) -> Option<PathBuf> {
        let (content, stamp) = self.index.lock().content(key)?;
        let file = self.file(key);
        let found =
            fs::symlink_metadata(&file).ok().filter(Metadata::is_file).map(|of| Stamp::of(&of));
        if found.is_none() || found != stamp {
            match sum(&file) {
                Ok((sum, stamp)) if sum == content => self.index.lock().verified(key, stamp),
                _ => self.drop_damaged(key, &file)?,
            }
        }
        let now = self.clock.now();
        let worth_noting = self.index.lock().used(key, asked, now);
        if let Some(note) = worth_noting {
            let _disk = self.disk.lock();
            if self.holds(key)
                && let Err(error) = self.note(&note)
            {
                debug!(error = %Chain(&error), "use of a module not noted");
            }
        }
        Some(file)
    }

    /// Removes a file that is not what was kept, unless it has just been kept anew.
    fn drop_damaged(&self, key: &Key, file: &Path) -> Option<()> {
        static SAID: Throttle = Throttle::new(Duration::from_secs(60));
        let _disk = self.disk.lock();
        let (_, stamp) = self.index.lock().content(key)?;
        let found = fs::symlink_metadata(file).ok().map(|of| Stamp::of(&of));
        if stamp.is_some() && found == stamp {
            return Some(());
        }
        if SAID.allow().is_some() {
            let path = file.display();
            warn!(%path, "kept module is not what was kept: it is fetched again");
        }
        self.remove(key);
        None
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A place to write to.
    pub(crate) fn partial(&self) -> Result<partial::Partial, Error> {
        let made = make(&self.directory).and_then(|()| partial::Partial::create(&self.directory));
        made.map_err(|source| Error::Keep { path: self.directory.clone(), source })
    }

    /// Keeps a module whose content has been verified. Blocks.
    pub(crate) fn keep(
        &self,
        key: &Key,
        module: partial::Partial,
        content: Checksum,
        bytes: u64,
        asked: &Use<'_>,
    ) -> Result<PathBuf, Error> {
        let _disk = self.disk.lock();
        self.make_room(key, bytes)?;
        let file = self.file(key);
        let failed = |source| Error::Keep { path: file.clone(), source };
        let directory = file.parent().unwrap_or(&self.directory);
        make(directory).map_err(failed)?;
        // Of a name that was taken out before it was put in, the note is the one to go.
        module.place(&file).map_err(failed)?;
        let note = Note::new(key, content, bytes, self.clock.now());
        let noted = self.index.lock().noted(note, asked, self.clock.now());
        if let Err(error) = self.note(&noted) {
            remove(&file);
            return Err(error);
        }
        let stamp = fs::symlink_metadata(&file).map(|of| Stamp::of(&of)).map_err(failed)?;
        let mut index = self.index.lock();
        index.insert(noted);
        index.verified(key, stamp);
        Ok(file)
    }

    /// Removes what was not used for longest until there is room, but nothing that Envoy uses.
    fn make_room(&self, key: &Key, bytes: u64) -> Result<(), Error> {
        loop {
            let (held, oldest) = {
                let index = self.index.lock();
                (index.bytes_besides(key), index.oldest(key))
            };
            if held.saturating_add(bytes) <= self.room {
                return Ok(());
            }
            match oldest {
                Some(oldest) => self.remove(&oldest),
                None => return Err(Error::NoRoom { bytes, held, room: self.room }),
            }
        }
    }

    /// Removes what Envoy does not use and nobody has asked for within `expiry`. Blocks.
    pub(crate) fn expire(&self, expiry: Duration) {
        let before = self.clock.now().checked_sub(expiry).unwrap_or(SystemTime::UNIX_EPOCH);
        let _disk = self.disk.lock();
        let expired = self.index.lock().unused_since(before);
        for key in &expired {
            self.remove(key);
        }
        if !expired.is_empty() {
            info!(modules = expired.len(), "modules removed that nobody has used for long");
        }
    }

    /// Envoy uses a module for the extension of that name.
    pub(crate) fn assign(&self, extension: &str, key: Key) {
        self.index.lock().assign(extension, key);
    }

    /// Envoy uses the module in that file.
    pub(crate) fn assign_file(&self, extension: &str, file: &str) {
        let mut index = self.index.lock();
        let key = index.keys().find(|key| self.file(key) == Path::new(file)).cloned();
        if let Some(key) = key {
            index.assign(extension, key);
        }
    }

    /// Every extension but these is given up.
    pub(crate) fn release_but(&self, extensions: &[String]) {
        self.index.lock().release_but(extensions);
    }

    fn file(&self, key: &Key) -> PathBuf {
        let name = Checksum::of(key.name.as_bytes());
        self.directory.join(name.to_string()).join(format!("{}.{MODULE}", key.checksum))
    }

    fn note(&self, note: &Note) -> Result<(), Error> {
        note.write(&self.file(&note.key()).with_extension(NOTE))
    }

    /// The disk is held.
    fn remove(&self, key: &Key) {
        self.index.lock().remove(key);
        let file = self.file(key);
        // A file without a note is removed at the next start, the other way round it is verified.
        remove(&file.with_extension(NOTE));
        remove(&file);
        if let Some(directory) = file.parent() {
            // Only if nothing is left in it.
            fs::remove_dir(directory).ok();
        }
    }
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        let changed = (file.ctime(), file.ctime_nsec());
        Self { inode: file.ino(), bytes: file.len(), changed }
    }
}

/// The checksum of a file, and what it was taken of.
fn sum(path: &Path) -> io::Result<(Checksum, Stamp)> {
    let mut file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    let (mut sum, mut buffer) = (Summing::new(), vec![0; BUFFER]);
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok((sum.sum(), stamp));
        };
        sum.add(bytes);
    }
}

/// Whether it is called as we call things: all else is not ours to touch.
fn is_sum(path: &Path) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str());
    name.is_some_and(|name| name.parse::<Checksum>().is_ok())
}

/// A directory that everybody may enter, as Envoy's user has to.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(directory) {
        // Whatever the umask took away. An older one is as its owner wants it.
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        debug!(%error, path = %path.display(), "file not removed");
    }
}

const MODULE: &str = "wasm";
const NOTE: &str = "json";
const BUFFER: usize = 128 << 10;

#[cfg(test)]
mod tests;
