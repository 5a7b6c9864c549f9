//! Where a user's files are: state, configuration and sockets, each where a desktop wants it, and all of
//! them below one root, so that every other command finds them by `--root`.
//!
//! Below the root, `etc/hawser` leads to the directory of configuration and `run` to that of sockets.
//! Neither is needed: where there is no XDG_RUNTIME_DIR, sockets are below the root itself.

use std::{
    fs::{self, DirBuilder},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use hawser_rt::Lock;
use nix::unistd::geteuid;

use super::super::Context;
use crate::config::{paths::Paths, source::Environment};

/// The directories of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    root: PathBuf,
    /// Where the user's own files of configuration are.
    config: PathBuf,
    /// Where sockets are, and links to it are ours.
    run: Option<PathBuf>,
}

/// There is no such place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("neither XDG_STATE_HOME nor HOME says where to keep files: say --root DIR")]
    Homeless,
    #[error("make {}", path.display())]
    Make { path: PathBuf, source: io::Error },
}

impl Place {
    /// The root that was said, else that of whoever runs this; made if it is not there.
    pub(super) fn of(context: &Context) -> Result<Self, Error> {
        let place = match context.paths.is_system() {
            true => Self::of_user(&context.environment).ok_or(Error::Homeless)?,
            false => Self {
                root: context.paths.root().to_owned(),
                config: context.paths.at("etc/hawser"),
                run: None,
            },
        };
        place.make()?;
        Ok(place)
    }

    fn of_user(environment: &Environment) -> Option<Self> {
        // What is not absolute counts as not said: the specification wants it so.
        let said = |name| environment.get(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let home = said("HOME");
        let below = |name, usual| said(name).or_else(|| Some(home.as_ref()?.join(usual)));
        Some(Self {
            root: below("XDG_STATE_HOME", ".local/state")?.join(NAME),
            config: below("XDG_CONFIG_HOME", ".config")?.join(NAME),
            run: said("XDG_RUNTIME_DIR").filter(|dir| is_own(dir)).map(|dir| dir.join(NAME)),
        })
    }

    /// What everything else hangs from.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the user writes files.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    fn make(&self) -> Result<(), Error> {
        directory(&self.root)?;
        let paths = Paths::under(&self.root);
        directory(&paths.state())?;
        let config = paths.at("etc/hawser");
        if config != self.config {
            directory(&paths.at("etc"))?;
            link(&config, &self.config)?;
        }
        if let Some(run) = &self.run {
            directory(run)?;
            link(&paths.at("run"), run)?;
        }
        Ok(())
    }

    /// Takes away what was there for this run alone: sockets, Envoy's bootstrap. Not where another agent
    /// runs: whose they are is told by the lock.
    pub(super) fn clear(&self, paths: &Paths) {
        // What cannot be removed is in nobody's way.
        if paths.run().exists() {
            let Ok(lock) = Lock::take(&paths.lock()) else { return };
            drop(fs::remove_dir_all(paths.run()));
            drop(lock);
        }
        let run = paths.at("run");
        match &self.run {
            Some(place) if fs::read_link(&run).is_ok_and(|leads| leads == *place) => {
                drop(fs::remove_dir(place));
                drop(fs::remove_file(run));
            }
            _ => drop(fs::remove_dir(run)),
        }
    }
}

fn is_own(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|dir| dir.is_dir() && dir.uid() == geteuid().as_raw())
}

/// For this user alone: a key may be in it.
fn directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::Make { path: path.to_owned(), source })
}

/// One that leads somewhere is left: an agent may run there.
fn link(path: &Path, to: &Path) -> Result<(), Error> {
    let wrong = |source| Error::Make { path: path.to_owned(), source };
    if path.exists() {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    symlink(to, path).map_err(wrong)
}

const NAME: &str = "hawser";

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        Place {
            root: dir.join("state/hawser"),
            config: dir.join("config/hawser"),
            run: Some(dir.join("run/hawser")),
        }
    }

    #[test]
    fn the_directories_are_those_of_the_desktop_and_else_below_the_home() {
        let environment = |said: &[(&str, &str)]| {
            said.iter().map(|(name, dir)| ((*name).to_owned(), (*dir).to_owned())).collect()
        };
        let homeless: Environment = environment(&[("XDG_CONFIG_HOME", "/c")]);
        assert_eq!(Place::of_user(&homeless), None);

        let home: Environment = environment(&[("HOME", "/home/ada"), ("XDG_STATE_HOME", "rel")]);
        let place = Place::of_user(&home).unwrap();
        assert_eq!(place.root, Path::new("/home/ada/.local/state/hawser"));
        assert_eq!(place.config, Path::new("/home/ada/.config/hawser"));
        assert_eq!(place.run, None);

        let own = tempfile::tempdir().unwrap();
        let dir = own.path().to_str().unwrap();
        let all: Environment = environment(&[
            ("XDG_STATE_HOME", "/s"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_RUNTIME_DIR", dir),
        ]);
        let place = Place::of_user(&all).unwrap();
        assert_eq!(place.root, Path::new("/s/hawser"));
        assert_eq!(place.config, Path::new("/c/hawser"));
        assert_eq!(place.run, Some(own.path().join("hawser")));
    }

    #[test]
    fn what_was_there_for_one_run_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        place.make().unwrap();
        let paths = Paths::under(place.root());
        directory(&paths.run()).unwrap();
        hawser_state::write_file(&paths.bootstrap(), 0o600, b"{}").unwrap();
        assert!(dir.path().join("run/hawser/hawser/envoy.json").exists());
        hawser_state::write_file(&paths.state().join("kept"), 0o600, b"kept").unwrap();

        place.clear(&paths);

        assert!(!dir.path().join("run/hawser").exists());
        assert!(!place.root().join("run").is_symlink());
        assert!(paths.state().join("kept").exists());
        // A boot has taken away what the link leads to, and the next run makes it anew.
        symlink(dir.path().join("gone"), place.root().join("run")).unwrap();
        place.make().unwrap();
        assert_eq!(fs::read_link(place.root().join("run")).unwrap(), place.run.unwrap());
    }

    #[test]
    fn what_another_agent_uses_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        place.make().unwrap();
        let paths = Paths::under(place.root());
        directory(&paths.run()).unwrap();
        let held = Lock::take(&paths.lock()).unwrap();

        place.clear(&paths);

        assert!(paths.lock().exists());
        drop(held);
    }
}
