//! What has to be watched to miss nothing, and what a file looks like from outside.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// The directories in which anything can happen that changes what is behind some paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// By device and inode, for two ways may lead through the same directory.
    pub(super) directories: BTreeMap<(u64, u64), Directory>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    /// No part of it is a link.
    pub(super) path: PathBuf,
    pub(super) names: BTreeMap<OsString, Role>,
    /// The directory itself is what a path leads to, so every name in it counts.
    pub(super) goal: bool,
}

/// What a name is to the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// A directory or link on the way: of interest for where it leads.
    Way,
    /// The end of a way.
    Goal,
}

impl Plan {
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let mut plan = Self::default();
        for path in paths {
            plan.walk(path);
        }
        plan
    }

    /// Follows a path as the kernel does, name by name and link by link, as far as it leads.
    fn walk(&mut self, path: &Path) {
        let mut here = PathBuf::from("/");
        let mut rest = names(path);
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let there = here.join(&name);
            let found = fs::symlink_metadata(&there);
            let link = found.as_ref().is_ok_and(fs::Metadata::is_symlink);
            let role = if rest.is_empty() && !link { Role::Goal } else { Role::Way };
            self.note(&here, name, role);
            match found {
                Ok(found) if found.is_dir() => here = there,
                Ok(_) if link => {
                    links += 1;
                    let Ok(target) = fs::read_link(&there) else { return };
                    if links > LINKS_LIMIT {
                        return;
                    }
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    let mut ahead = names(&target);
                    ahead.append(&mut rest);
                    rest = ahead;
                }
                Ok(_) | Err(_) => return,
            }
        }
        if let Some(directory) = self.directory(&here) {
            directory.goal = true;
        }
    }

    fn note(&mut self, directory: &Path, name: OsString, role: Role) {
        if let Some(directory) = self.directory(directory) {
            let noted = directory.names.entry(name).or_insert(role);
            *noted = role.max(*noted);
        }
    }

    /// `None` if it has gone meanwhile, which the directory above it will tell.
    fn directory(&mut self, path: &Path) -> Option<&mut Directory> {
        let found = fs::symlink_metadata(path).ok()?;
        let fresh = || Directory { path: path.into(), names: BTreeMap::new(), goal: false };
        Some(self.directories.entry((found.dev(), found.ino())).or_insert_with(fresh))
    }
}

impl Directory {
    /// Whether what happens inside of files in it matters.
    pub(super) fn has_goal(&self) -> bool {
        self.goal || self.names.values().any(|role| *role == Role::Goal)
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.into()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

/// What can be seen of a file without reading it. Two contents have two of them, but for a file
/// written twice within a tick of the kernel, which events tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Print {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    Away(ErrorKind),
}

impl Print {
    pub(super) fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(found) => Self::File {
                device: found.dev(),
                inode: found.ino(),
                size: found.size(),
                modified: (found.mtime(), found.mtime_nsec()),
                changed: (found.ctime(), found.ctime_nsec()),
            },
            Err(error) => Self::Away(error.kind()),
        }
    }
}

/// As many links on one way as the kernel follows.
const LINKS_LIMIT: usize = 40;
