//! Puts a bundle in its place, whole or not at all.
//!
//! The files are written beside the place and changed over in one rename; what was there before is
//! kept as `mesh.previous`. Whatever fails on the way, the old installation stands as it was.

pub mod removal;
pub mod service;

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    unistd::{User, chown, geteuid},
};

use crate::{
    bundle::Bundle,
    config::paths::{self, Paths},
};

/// The bundle could not be put in its place.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct Error {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A bundle that is written, but not yet in its place. Gone when dropped.
#[derive(Debug)]
pub struct Staged {
    dir: PathBuf,
    place: PathBuf,
    /// Directories that were made for it, the innermost first.
    made: Vec<PathBuf>,
}

impl Staged {
    /// Writes the files beside their place.
    pub fn write(bundle: &Bundle, paths: &Paths) -> Result<Self, Error> {
        let place = paths.bundle();
        let parent = place.parent().unwrap_or(paths.root());
        let missing = parent.ancestors().take_while(|directory| !directory.exists());
        let made = missing.map(Path::to_owned).collect();
        let make = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        make.map_err(at("make the directory", parent))?;
        sweep(parent).map_err(at("clear staged files in", parent))?;
        let dir = parent.join(format!("{STAGED}{}", std::process::id()));
        let make = DirBuilder::new().mode(0o755).create(&dir);
        make.map_err(at("make the directory", &dir))?;
        let staged = Self { dir, place, made };
        let owner = owner(paths);
        staged.fill(bundle, owner.as_ref())?;
        give(&staged.dir, owner.as_ref())?;
        Ok(staged)
    }

    /// Writes the files where only this user reads them: to look at, not to be put in place.
    pub fn aside(bundle: &Bundle, paths: &Paths) -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let dir = nix::unistd::mkdtemp(&parent.join("hawser.XXXXXX"));
        let dir = dir.map_err(io::Error::from).map_err(at("make a directory in", &parent))?;
        let staged = Self { dir, place: paths.bundle(), made: Vec::new() };
        staged.fill(bundle, None)?;
        Ok(staged)
    }

    fn fill(&self, bundle: &Bundle, owner: Option<&User>) -> Result<(), Error> {
        for (name, content) in bundle.files() {
            let path = self.dir.join(name);
            let secret = [paths::TOKEN, paths::KEY].contains(&name);
            let mode = if secret { 0o600 } else { 0o644 };
            let write = hawser_state::write_file(&path, mode, content);
            write.map_err(io::Error::other).map_err(at("write", &path))?;
            give(&path, owner)?;
        }
        Ok(())
    }

    /// Where the files are now.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Changes over. What was there before is kept; says where, if anywhere.
    pub fn put_in_place(mut self) -> Result<Option<PathBuf>, Error> {
        let place = self.place.clone();
        let parent = place.parent().unwrap_or(&place);
        let previous = place.with_extension("previous");
        let changed = if place.exists() {
            // Room for what is there now; the one before that goes.
            remove(&previous).map_err(at("remove", &previous))?;
            change_over(&self.dir, &place, &previous, swap)
        } else {
            fs::rename(&self.dir, &place).map(|()| Kept::Nothing)
        };
        let kept = changed.map_err(at("put in place", &place))?;
        // The new files are in place: from here on nothing of ours may be thrown away.
        let left = std::mem::take(&mut self.dir);
        let kept = match kept {
            Kept::Nothing => None,
            Kept::Previous => Some(previous),
            // Under its staged name, if it has to be.
            Kept::Staged => Some(match fs::rename(&left, &previous) {
                Ok(()) => previous,
                Err(_) => left,
            }),
        };
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(at("sync", parent))?;
        Ok(kept)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.dir.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = remove(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "staged files left behind");
        }
        // Nothing was changed, not even by what was made to find that out.
        for directory in &self.made {
            drop(fs::remove_dir(directory));
        }
    }
}

/// Where the old files are after a change.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// There were none.
    Nothing,
    /// Under the name that the new ones had.
    Staged,
    /// Under their final name.
    Previous,
}

/// Both names change in one step. Not every file system can; then it takes two renames, and a
/// crash between them leaves the old files under the name `mesh.previous`.
fn change_over(
    new: &Path,
    place: &Path,
    previous: &Path,
    swap: fn(&Path, &Path) -> nix::Result<()>,
) -> io::Result<Kept> {
    match swap(new, place) {
        Ok(()) => Ok(Kept::Staged),
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
            fs::rename(place, previous)?;
            fs::rename(new, place).inspect_err(|_| drop(fs::rename(previous, place)))?;
            Ok(Kept::Previous)
        }
        Err(error) => Err(error.into()),
    }
}

fn swap(new: &Path, place: &Path) -> nix::Result<()> {
    renameat2(AT_FDCWD, new, AT_FDCWD, place, RenameFlags::RENAME_EXCHANGE)
}

/// What a join that was killed has left: a token lies in it.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STAGED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The user that the service runs as, when root installs for it.
fn owner(paths: &Paths) -> Option<User> {
    if !paths.is_system() || !geteuid().is_root() {
        return None;
    }
    User::from_name(SERVICE_USER).ok().flatten()
}

fn give(path: &Path, owner: Option<&User>) -> Result<(), Error> {
    let Some(user) = owner else { return Ok(()) };
    let give = chown(path, Some(user.uid), Some(user.gid));
    give.map_err(io::Error::from).map_err(at("give to istio-proxy", path))
}

fn at(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { step, path, source }
}

/// What a directory begins with in which files are staged.
pub(crate) const STAGED: &str = "mesh.new-";
const SERVICE_USER: &str = "istio-proxy";

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(content: &str) -> (tempfile::TempDir, Bundle) {
        let dir = tempfile::tempdir().unwrap();
        for (name, _) in paths::BUNDLE {
            hawser_state::write_file(&dir.path().join(name), 0o600, content.as_bytes()).unwrap();
        }
        let bundle = Bundle::read(dir.path()).unwrap();
        (dir, bundle)
    }

    fn installed(paths: &Paths) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(paths.bundle().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_second_bundle_replaces_the_first_and_keeps_it() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        for (content, previous) in [("one", None), ("two", Some("one")), ("three", Some("two"))] {
            let (_dir, bundle) = bundle(content);

            let kept = Staged::write(&bundle, &paths).unwrap().put_in_place().unwrap();

            let read = |dir: &Path| fs::read_to_string(dir.join(paths::TOKEN)).unwrap();
            assert_eq!(read(&paths.bundle()), content);
            assert_eq!(kept.as_deref().map(read).as_deref(), previous);
        }
        assert_eq!(installed(&paths), ["mesh", "mesh.previous"]);
    }

    #[test]
    fn a_file_system_that_cannot_swap_keeps_the_old_files_too() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["new", "place"] {
            fs::create_dir(at(name)).unwrap();
            hawser_state::write_file(&at(name).join("f"), 0o600, name.as_bytes()).unwrap();
        }

        let cannot = |_: &Path, _: &Path| Err(nix::errno::Errno::EINVAL);
        let kept = change_over(&at("new"), &at("place"), &at("previous"), cannot).unwrap();

        assert_eq!(kept, Kept::Previous);
        let read = |name: &str| fs::read_to_string(at(name).join("f")).unwrap();
        assert_eq!((read("place"), read("previous")), ("new".into(), "place".into()));
    }

    #[test]
    fn what_a_killed_join_has_left_is_swept_away() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        fs::create_dir_all(root.path().join("etc/hawser/mesh.new-1")).unwrap();
        let (_dir, bundle) = bundle("one");

        Staged::write(&bundle, &paths).unwrap().put_in_place().unwrap();

        assert_eq!(installed(&paths), ["mesh"]);
    }

    #[test]
    fn what_is_staged_and_dropped_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let (_dir, bundle) = bundle("one");

        drop(Staged::write(&bundle, &paths).unwrap());

        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "not even a directory");
    }

    #[test]
    fn the_token_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let (_dir, bundle) = bundle("one");

        Staged::write(&bundle, &paths).unwrap().put_in_place().unwrap();

        let mode = |name| fs::metadata(paths.bundle().join(name)).unwrap().permissions().mode();
        assert_eq!(mode(paths::TOKEN) & 0o777, 0o600);
        assert_eq!(mode(paths::CLUSTER_ENV) & 0o777, 0o644);
    }
}
