//! What is on the shelf, looked at without an agent, or beside a running one. Nothing is changed.

use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use crate::{
    Error,
    format::Title,
    keeper::item,
    kept::Place,
    place::{self, Opened},
    scan::{Found, Scan},
};

/// A node of which something is kept.
#[derive(Clone, Debug)]
pub struct Node {
    /// What its book is found by.
    pub key: String,
    /// When something of it was accepted last.
    pub at: SystemTime,
    /// What is kept of it, by type.
    pub types: Vec<Type>,
}

/// A type of which something is kept.
#[derive(Clone, Debug)]
pub struct Type {
    /// Its URL.
    pub type_url: String,
    path: PathBuf,
    /// What can be shown, the newest last.
    pub versions: Vec<Version>,
}

/// An accepted version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Counts up.
    pub number: u64,
    /// What istiod calls it.
    pub version: String,
    /// When Envoy has taken it.
    pub at: SystemTime,
    /// How many resources there were.
    pub resources: usize,
    /// How many were new.
    pub added: u32,
    /// How many were there before and came again, changed.
    pub changed: u32,
    /// How many were no more.
    pub removed: u32,
}

/// A resource of a version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name; empty if its type has none.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Bytes of its value.
    pub length: u32,
    /// Of its value; see [`crate::digest`].
    pub digest: u64,
    file: Arc<File>,
    salt: u64,
    place: Place,
}

/// The nodes of which something is kept in `directory`, the one with the newest last. What cannot
/// be read is left out, unless it is the directory itself.
pub fn nodes(directory: &Path) -> Result<Vec<Node>, Error> {
    let fail = |source| Error::OpenDirectory { path: directory.into(), source };
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if let Some(node) = node(&path) {
            nodes.push(node);
        }
    }
    nodes.sort_by_key(|node| node.at);
    Ok(nodes)
}

impl Type {
    /// The resources of a version, by name.
    pub fn resources(&self, number: u64) -> Result<Vec<Resource>, Error> {
        let fail = |source| Error::Read { path: self.path.clone(), source };
        let (file, title, begin) = open(&self.path)?;
        let end = file.metadata().map_err(fail)?.len();
        let mut scan = Scan::new(Arc::clone(&file), title.salt, begin, 1);
        while scan.kept.number < number {
            if matches!(scan.step(end).map_err(fail)?, Found::End) {
                break;
            }
        }
        if scan.kept.number != number {
            return Err(Error::Version { number });
        }
        let mut resources = Vec::with_capacity(scan.kept.index.len());
        for place in scan.kept.index.into_values() {
            if let Some(item) = item(&file, title.salt, place, None).map_err(fail)? {
                resources.push(Resource {
                    length: item.trailer.value.length,
                    digest: item.trailer.digest(),
                    name: item.trailer.name,
                    version: item.trailer.version,
                    file: Arc::clone(&file),
                    salt: title.salt,
                    place,
                });
            }
        }
        resources.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(resources)
    }
}

impl Resource {
    /// The value of it, whole: at most `limit` bytes.
    pub fn value(&self, limit: usize) -> Result<Vec<u8>, Error> {
        let broken = || Error::Resource { name: self.name.clone() };
        let mut buffer = Vec::new();
        let item = item(&self.file, self.salt, self.place, Some(&mut buffer));
        let value = item.ok().flatten().ok_or_else(broken)?.trailer.value;
        let length = value.length as usize;
        if length > limit {
            return Err(broken());
        }
        let mut bytes = vec![0; length];
        let at = self.place.body() + u64::from(value.at);
        self.file.read_exact_at(&mut bytes, at).ok().ok_or_else(broken)?;
        Ok(bytes)
    }
}

fn node(path: &Path) -> Option<Node> {
    if !std::fs::symlink_metadata(path).ok()?.is_dir() {
        return None;
    }
    let mut keys = BTreeSet::new();
    let mut types = Vec::new();
    for entry in std::fs::read_dir(path).ok()? {
        let path = entry.ok()?.path();
        if path.extension().is_some_and(|extension| extension == place::LOG)
            && let Some((title, versions)) = versions(&path)
        {
            keys.insert(title.key);
            types.push(Type { type_url: title.type_url, path, versions });
        }
    }
    types.sort_by(|one, other| one.type_url.cmp(&other.type_url));
    let at = types.iter().filter_map(|of| Some(of.versions.last()?.at)).max()?;
    Some(Node { key: keys.pop_first()?, at, types })
}

/// What can be shown of a log, if anything.
fn versions(path: &Path) -> Option<(Title, Vec<Version>)> {
    let (file, title, begin) = open(path).ok()?;
    let end = file.metadata().ok()?.len();
    let mut scan = Scan::new(file, title.salt, begin, 1);
    let mut versions = Vec::new();
    loop {
        match scan.step(end).ok()? {
            Found::Accepted { accepted, believed: true } => versions.push(Version {
                number: accepted.number,
                version: accepted.version,
                at: accepted.at,
                resources: scan.kept.index.len(),
                added: accepted.added,
                changed: accepted.changed,
                removed: accepted.removed,
            }),
            Found::End => break,
            _ => {}
        }
    }
    (!versions.is_empty()).then_some((title, versions))
}

fn open(path: &Path) -> Result<(Arc<File>, Title, u64), Error> {
    let path = path.to_path_buf();
    match place::open(&path, false) {
        Ok(Opened::Log(file, title, begin, _)) => Ok((file, title, begin)),
        Ok(Opened::Absent) => {
            Err(Error::Open { path, source: std::io::ErrorKind::NotFound.into() })
        }
        Ok(Opened::Foreign(reason)) => Err(Error::Foreign { path, reason }),
        Err(source) => Err(Error::Open { path, source }),
    }
}
