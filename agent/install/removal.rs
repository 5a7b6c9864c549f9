//! What a machine that leaves its mesh is rid of, and what it keeps.
//!
//! Only what is ours: names that this program has made, or that lead to such. Istio's own files
//! are nobody's business here, whatever state they are in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Error, STAGED, at};
use crate::config::{identity::SEAL, paths::Paths};

/// Something that goes, or stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: &'static str,
}

/// What a machine has joined with.
pub fn joined(paths: &Paths) -> Vec<Thing> {
    let place = paths.bundle();
    let parent = place.parent().unwrap_or(paths.root()).to_owned();
    let staged = names(&parent, |name| name.starts_with(STAGED));
    let all = [
        Thing { path: place.clone(), what: "what was joined" },
        Thing { path: place.with_extension("previous"), what: "what was joined before" },
    ];
    let left = staged.into_iter().map(|path| Thing { path, what: "left by a join that died" });
    all.into_iter().chain(left).filter(Thing::is_there).collect()
}

/// What it has from then on; `exports` are directories with certificates for other programs.
pub fn kept(paths: &Paths, exports: &[PathBuf]) -> Vec<Thing> {
    let own = [
        Thing { path: paths.state(), what: "state: the certificate, configuration, names" },
        Thing { path: paths.cache(), what: "Wasm modules" },
        Thing { path: paths.run(), what: "sockets and bootstraps" },
        Thing { path: paths.at(ENVOY_STATE), what: "what Envoy was started with last" },
        Thing { path: paths.envoy_run(), what: "how Envoy was" },
        Thing { path: paths.intercept_run(), what: "how rules were" },
        Thing { path: paths.at(SEALS).join(SEAL), what: "the key that state is sealed with" },
    ];
    let exported = exports.iter().flat_map(|directory| exported(directory));
    // The directory is Istio's, and so is all else in it.
    let logs = names(&paths.at(LOGS), |name| name.starts_with(LOG));
    let logs = logs.into_iter().map(|path| Thing { path, what: "Envoy's log" });
    own.into_iter().chain(logs).chain(exported).filter(Thing::is_there).collect()
}

/// Takes it away. What is gone already is no failure.
pub fn remove(things: &[Thing]) -> Result<(), Error> {
    for Thing { path, .. } in things {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at("look at", path)(error)),
        };
        // Links are removed and not followed.
        let removed = if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(at("remove", path))?,
        }
    }
    Ok(())
}

/// Directories that nothing is in any more, and that are of no use empty.
pub fn tidy(paths: &Paths) {
    let place = paths.bundle();
    if let Some(parent) = place.parent() {
        drop(fs::remove_dir(parent));
    }
}

/// Certificates in a directory that also belongs to others: what leads through our link alone.
fn exported(directory: &Path) -> Vec<Thing> {
    let ours = fs::read_link(directory.join(CURRENT));
    if !ours.is_ok_and(|to| to.to_string_lossy().starts_with(VERSION)) {
        return Vec::new();
    }
    let leads = |name: &&str| {
        let through = Path::new(CURRENT).join(name);
        fs::read_link(directory.join(name)).is_ok_and(|to| to == through)
    };
    let files = EXPORTED.into_iter().filter(leads).map(|name| directory.join(name));
    let inner = names(directory, |name| {
        [CURRENT, "..poked", "..hawser"].contains(&name) || name.starts_with(VERSION)
    });
    let what = "certificates for other programs";
    files.chain(inner).map(|path| Thing { path, what }).collect()
}

impl Thing {
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok()
    }
}

fn names(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

const ENVOY_STATE: &str = "var/lib/hawser-envoy";
const LOGS: &str = "var/log/istio";
const LOG: &str = "envoy.log";
const SEALS: &str = "etc/credstore.encrypted";
const CURRENT: &str = "..data";
const VERSION: &str = "..hawser-";
const EXPORTED: [&str; 3] = ["key.pem", "cert-chain.pem", "root-cert.pem"];
