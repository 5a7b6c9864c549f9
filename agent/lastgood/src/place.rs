//! Directories and files of the shelf: only ours, no links, nobody else's.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use nix::{libc, unistd::geteuid};
use tracing::debug;

use crate::{
    Error,
    format::{Foreign, Title},
    keeper::{Closed, Owner},
    step::step,
};

/// Whether a book and the shelf it is on, as far as they are there, are only ours.
pub(crate) fn trusted(book: &Path) -> Result<(), Error> {
    for path in book.parent().into_iter().chain([book]) {
        if fs::symlink_metadata(path).is_ok() {
            check(path)?;
        }
    }
    Ok(())
}

/// Makes a directory of ours, or checks that it is one.
pub(crate) fn directory(path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_err() {
        step();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| Error::CreateDirectory { path: path.into(), source })?;
    }
    check(path)
}

fn check(path: &Path) -> Result<(), Error> {
    let own = geteuid().as_raw();
    let found = fs::symlink_metadata(path)
        .map_err(|source| Error::OpenDirectory { path: path.into(), source })?;
    if !found.is_dir() {
        return Err(Error::NoDirectory { path: path.into() });
    }
    if found.uid() != own {
        return Err(Error::ForeignDirectory { path: path.into(), owner: found.uid(), own });
    }
    if found.mode() & 0o022 != 0 {
        return Err(Error::SharedDirectory { path: path.into(), mode: found.mode() & 0o777 });
    }
    Ok(())
}

/// A file as it was found.
pub(crate) enum Opened {
    Absent,
    /// With its title, the title's length, and whether it can be written.
    Log(Arc<File>, Title, u64, bool),
    /// It is not ours.
    Foreign(String),
}

/// Opens a log, for writing too if that is `wanted` and possible.
pub(crate) fn open(path: &Path, wanted: bool) -> io::Result<Opened> {
    // O_NONBLOCK: a pipe in the file's place must not hold the start.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let attempt = |write| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    let mut writable = wanted;
    let opened = match attempt(wanted) {
        Err(error) if wanted && refuses_writing(&error) => {
            writable = false;
            attempt(false)
        }
        other => other,
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            return match (error.kind(), error.raw_os_error()) {
                (ErrorKind::NotFound, _) => Ok(Opened::Absent),
                (_, Some(libc::ELOOP)) => Ok(Opened::Foreign("it is a symbolic link".into())),
                (ErrorKind::IsADirectory, _) | (_, Some(libc::ENXIO)) => {
                    Ok(Opened::Foreign("it is not a regular file".into()))
                }
                _ => Err(error),
            };
        }
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(Opened::Foreign("it is not a regular file".into()));
    }
    // Root may look at what is the agent's, as it may at all else.
    let looks = !wanted && geteuid().is_root();
    if found.uid() != geteuid().as_raw() && !looks {
        return Ok(Opened::Foreign(format!("it belongs to user {}", found.uid())));
    }
    match title(&file)? {
        Ok((title, length)) => Ok(Opened::Log(Arc::new(file), title, length, writable)),
        Err(foreign) => Ok(Opened::Foreign(foreign.to_string())),
    }
}

fn refuses_writing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

fn title(file: &File) -> io::Result<Result<(Title, u64), Foreign>> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; TITLE];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(Title::decode(&bytes).map(|(title, length)| (title, length as u64)))
}

/// Creates a file beside `path` that is to take its place.
pub(crate) fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let beside = path.with_extension(BESIDE);
    step();
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    step();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(&beside)?;
    Ok((file, beside))
}

/// Puts a file in the place of another.
pub(crate) fn replace(beside: &Path, path: &Path) -> io::Result<()> {
    step();
    fs::rename(beside, path)?;
    // It is in place; at worst a loss of power brings the old one back.
    if let Err(error) = flush(path) {
        debug!(%error, path = %path.display(), "directory not flushed");
    }
    Ok(())
}

/// Makes what happened to the name survive a loss of power.
fn flush(path: &Path) -> io::Result<()> {
    step();
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Moves what is not ours out of the way; the last one of a name is kept.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let aside = path.with_extension(ASIDE);
    let fail = |source| Error::SetAside { path: path.into(), source };
    // A directory cannot be renamed over, and is not removed with what is in it.
    if fs::symlink_metadata(&aside).is_ok_and(|found| found.is_dir()) {
        step();
        fs::remove_dir(&aside).map_err(fail)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        step();
        remove(&aside);
    }
    step();
    fs::rename(path, &aside).map_err(fail)?;
    Ok(aside)
}

/// Removes what an interrupted compaction has left, and returns the names of the logs.
pub(crate) fn logs(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(BESIDE) => {
                step();
                remove(&path);
            }
            Some(LOG) => logs.push(path),
            _ => {}
        }
    }
    logs.sort();
    Ok(logs)
}

/// Of the books in `directory` that are not `ours`, leaves the newest that have `room`, and says how
/// many bytes they have.
pub(crate) fn thin_out(
    directory: &Path,
    ours: &[PathBuf],
    room: impl Fn(Owner) -> u64,
) -> io::Result<Closed> {
    let mut others = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() && is_book(&path) && !ours.contains(&path) {
            others.push((touched(&path), path));
        }
    }
    others.sort();
    let (mut left, mut many) = (Closed::default(), Closed::default());
    for (_, path) in others.iter().rev() {
        let (owner, bytes) = (owner(path), bytes(path));
        let (left, many) = (left.of(owner), many.of(owner));
        if *many < OTHERS && *left + bytes <= room(owner) {
            *left += bytes;
            *many += 1;
            continue;
        }
        step();
        match fs::remove_dir_all(path) {
            Ok(()) => debug!(path = %path.display(), "old last-good book removed"),
            Err(error) => debug!(%error, path = %path.display(), "old last-good book not removed"),
        }
    }
    Ok(left)
}

/// Whose a book is. One that cannot be read is of no use to Envoy.
fn owner(book: &Path) -> Owner {
    let logs = fs::read_dir(book).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut keys = logs.filter_map(|path| match open(&path, false) {
        Ok(Opened::Log(_, title, ..)) => Some(title.key),
        _ => None,
    });
    keys.next().map_or(Owner::Program, |key| Owner::of(&key))
}

/// The bytes of all files of a book.
fn bytes(book: &Path) -> u64 {
    let files = fs::read_dir(book).into_iter().flatten().flatten();
    files.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

/// The directory of a key.
pub(crate) fn book(directory: &Path, key: &str) -> PathBuf {
    let hash = crate::format::hash(key.as_bytes());
    let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    directory.join(name)
}

/// The file of a type: `cluster.log`.
pub(crate) fn file(book: &Path, type_url: &str) -> PathBuf {
    let short = type_url.rsplit(['.', '/']).next().unwrap_or_default();
    let mut name: String = short
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(40)
        .map(|symbol| symbol.to_ascii_lowercase())
        .collect();
    // Two types may have the same last word; those of Envoy have not.
    if !type_url.starts_with("type.googleapis.com/envoy.") || name.is_empty() {
        let hash = crate::format::hash(type_url.as_bytes());
        name.push('-');
        name.extend(hash.iter().take(4).map(|byte| format!("{byte:02x}")));
    }
    book.join(name).with_extension(LOG)
}

fn is_book(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// When anything in a book was written last.
fn touched(book: &Path) -> Option<SystemTime> {
    let logs = fs::read_dir(book).ok()?;
    logs.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok()).max()
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        debug!(%error, path = %path.display(), "file not removed");
    }
}

pub(crate) const LOG: &str = "log";
const BESIDE: &str = "new";
const ASIDE: &str = "damaged";
/// More than a title has: key and type are limited.
const TITLE: usize = 8 << 10;
/// How many books that are not open are left to Envoy, and to programs.
const OTHERS: u64 = 4;
/// Bytes that a key or the name of a type may have.
pub(crate) const NAME: usize = 2 << 10;
