//! What is said for a laptop, as far as nobody has said otherwise.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hawser_envoy::find;
use nix::unistd::{AccessFlags, access, geteuid};

use super::{
    super::{Context, run::absolute},
    Laptop,
    place::Place,
};
use crate::config::{
    paths::{self, Paths},
    setting,
    source::{self, Flag, Sources},
    values,
};

/// The settings that the agent is run with, over those of its file and of variables; or what is
/// missing, and what to do.
pub(super) fn flags(
    laptop: &Laptop,
    context: &Context,
    paths: &Paths,
    place: &Place,
) -> Result<Vec<Flag>, String> {
    let sources = source::read(paths, &context.environment, &context.flags);
    let unsaid = |key: &str| sources.values.source_of(key) == Some(values::Source::Default);
    let mut flags = context.flags.clone();
    let mut say = |name, key: &str, value: &str| {
        flags.push(Flag { name, key: key.to_owned(), value: value.to_owned() });
    };
    let services = match &laptop.services {
        Some(path) => Some(absolute(path)),
        None if unsaid("services.file") => Some(found(place)?),
        None => None,
    };
    if let Some(services) = &services {
        say("--services", "services.file", services);
    }
    let beside = services.unwrap_or_else(|| said(&sources, "services.file"));
    let certs = match &laptop.certs {
        Some(dir) => Some(whole(PathBuf::from(absolute(dir)))?),
        None if unsaid("identity.source") && unsaid("identity.files") => certs(Path::new(&beside)),
        None => None,
    };
    if let Some(dir) = certs {
        say("--certs", "identity.source", "files");
        say("--certs", "identity.files", &dir.to_string_lossy());
    }
    if laptop.envoy.is_some() || unsaid("envoy.binary") {
        let named = laptop.envoy.as_deref().map(absolute);
        // Nothing is started with it to print lines.
        if !laptop.print_hosts {
            let binary = envoy(named.as_deref().map(Path::new), context)?;
            say("--envoy", "envoy.binary", &binary.to_string_lossy());
        }
    }
    let low = if may_listen_low() { "0" } else { LOW_PORTS };
    for (key, value) in USUAL.into_iter().chain([("services.low_ports", low)]) {
        if unsaid(key) {
            say("hawser laptop", key, value);
        }
    }
    Ok(flags)
}

fn said(sources: &Sources, key: &str) -> String {
    setting::find(key).map(|known| sources.values.setting(known).value).unwrap_or_default()
}

/// The file that nobody has named.
fn found(place: &Place) -> Result<String, String> {
    let here = absolute(Path::new(FILE));
    let own = place.config().join(FILE);
    match [Path::new(&here), own.as_path()].into_iter().find(|path| path.exists()) {
        Some(path) => Ok(path.to_string_lossy().into_owned()),
        None => Err(format!(
            "there is no file of services: neither {here} nor {}; `hawser services import` makes \
             one, --services FILE names another",
            own.display()
        )),
    }
}

/// The directory of a certificate beside the file, or in the directory that stands for it.
fn certs(services: &Path) -> Option<PathBuf> {
    let places = [Some(services), services.parent()];
    let mut dirs = places.into_iter().flatten().map(|dir| dir.join(CERTS));
    dirs.find(|dir| dir.join(paths::KEY).is_file())
}

/// A directory that has been named has all that belongs into it.
fn whole(dir: PathBuf) -> Result<PathBuf, String> {
    let names = [paths::KEY, paths::CHAIN, paths::ROOT_CERT];
    let missing: Vec<_> = names.into_iter().filter(|name| !dir.join(name).is_file()).collect();
    if missing.is_empty() {
        return Ok(dir);
    }
    let (dir, missing) = (dir.display(), missing.join(", "));
    Err(format!("--certs {dir}: no {missing} there: expected {}", names.join(", ")))
}

/// The one that was named, else the first on the PATH, else that of a package or of func-e.
fn envoy(named: Option<&Path>, context: &Context) -> Result<PathBuf, String> {
    let environment = &context.environment;
    let dirs = environment.get("PATH").unwrap_or_default().split(':').map(Path::new);
    let mut all = dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join("envoy"));
    let runs = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if named.is_none()
        && let Some(path) = all.find(runs)
    {
        return Ok(path);
    }
    let home = environment.get("HOME").map(Path::new);
    find::find(Path::new("/"), named, home).map_err(|error| match named {
        Some(_) => format!("--envoy: {error}"),
        None => {
            "there is no Envoy on the PATH or where packages have it: `func-e use 1.40.0` brings \
                 one, --envoy PATH names another"
                .to_owned()
        }
    })
}

/// Whether this user may listen on ports below 1024.
fn may_listen_low() -> bool {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let all = first.is_ok_and(|first| first.trim().parse() == Ok(0_u16));
    geteuid().is_root() || all
}

const FILE: &str = "services.yaml";
const CERTS: &str = "certs";
const LOW_PORTS: &str = "10000";
/// What a daemon has otherwise. Nobody waits for connections to end at a Ctrl-C, and what is logged
/// stands in the terminal that the table of services is in.
const USUAL: [(&str, &str); 7] = [
    ("services.use", "alone"),
    ("envoy.foreground", "true"),
    ("envoy.drain", "0s"),
    ("envoy.concurrency", "2"),
    ("envoy.log_level", "error"),
    ("log.level", "warn"),
    ("intercept.enabled", "false"),
];
