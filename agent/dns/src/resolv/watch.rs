//! The list of resolvers as it changes: followed by events, so that nothing wakes up while nothing
//! changes.
//!
//! What is read is whole or is not taken: a file that is gone, half written or names nobody leaves
//! everything as it was. Where a file names only a stub that leads back here, the servers that the
//! stub itself asks are read from beside it.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hawser_rt::Chain;
use hawser_rt::files::Watch;
use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};

use super::{ResolvConf, is_same, parse};

/// Octets of a file that are read.
const MAX_FILE: u64 = 64 * 1024;
/// Where systemd-resolved answers programs; the second one never asks resolved's own cache.
const STUBS: [[u8; 4]; 2] = [[127, 0, 0, 53], [127, 0, 0, 54]];

/// What is read, and what is to be left out of it.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The file that programs read: `/etc/resolv.conf`.
    pub path: PathBuf,
    /// Where systemd-resolved lists the servers that it asks itself.
    pub behind: PathBuf,
    /// The stub of systemd-resolved leads names of the mesh back here and is not to be asked.
    pub split: bool,
    /// The addresses that we listen on.
    pub own: Vec<SocketAddr>,
}

/// Whom to ask, and which domains programs append to names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolv {
    /// The resolvers, in their order.
    pub servers: Vec<SocketAddr>,
    /// The search domains, in their order.
    pub search: Vec<String>,
    /// The file that lists the resolvers.
    pub path: PathBuf,
}

/// Keeps a [`Resolv`] up to date.
#[derive(Debug)]
pub struct Follower {
    sources: Sources,
    watch: Watch,
    now: Resolv,
    /// Resolvers from which a query has come back.
    looping: Vec<SocketAddr>,
    broken: bool,
    /// Something has happened that was not looked at yet.
    due: bool,
}

impl Sources {
    /// The file that programs read, with everything else where it is usually.
    pub fn new(path: PathBuf, own: Vec<SocketAddr>) -> Self {
        Self { path, behind: BEHIND.into(), split: false, own }
    }
}

impl Follower {
    /// Reads for the first time, in place; a file that is not there yet is read when it comes.
    pub fn open(sources: Sources) -> Self {
        let paths = [sources.path.clone(), sources.behind.clone()];
        let mut follower = Self {
            sources,
            watch: Watch::new(paths).idle(),
            now: Resolv::default(),
            looping: Vec::new(),
            broken: false,
            due: false,
        };
        let found = read(&follower.sources.path);
        let behind = follower.behind(&found).and_then(|path| read(&path).ok());
        follower.heed(found, behind);
        if follower.now.servers.is_empty() {
            warn!(path = %follower.sources.path.display(),
                "no resolver is listed: names outside the mesh are not resolved until one is");
        }
        follower
    }

    /// What was read last.
    pub fn now(&self) -> &Resolv {
        &self.now
    }

    /// Waits for something else to be read than [`Self::now`], which it is from then on. Cancel
    /// safe.
    pub async fn changed(&mut self) -> &Resolv {
        loop {
            if !self.due {
                self.watch.changed().await;
                self.due = true;
            }
            if self.look().await {
                return &self.now;
            }
        }
    }

    /// Reads now, whatever was told of the files; whether that changed anything. For when all
    /// resolvers fail: a file that cannot be watched, or a network interface that an address was
    /// waiting for, gives no event.
    pub async fn look(&mut self) -> bool {
        self.due = true;
        if self.watch.is_blind() {
            self.watch.set([self.sources.path.clone(), self.sources.behind.clone()]);
        }
        let found = read_apart(self.sources.path.clone()).await;
        let behind = match self.behind(&found) {
            Some(path) => read_apart(path).await.ok(),
            None => None,
        };
        self.due = false;
        self.heed(found, behind)
    }

    /// What has to be read too, since nobody of those who were found can be asked.
    fn behind(&self, found: &io::Result<ResolvConf>) -> Option<PathBuf> {
        let found = found.as_ref().ok()?;
        self.leads_nowhere(&found.servers).then(|| self.sources.behind.clone())
    }

    fn heed(&mut self, found: io::Result<ResolvConf>, behind: Option<ResolvConf>) -> bool {
        match found {
            Ok(found) => self.take(found, behind),
            Err(error) => {
                if !std::mem::replace(&mut self.broken, true) {
                    warn!(path = %self.sources.path.display(), error = %Chain(&error),
                        "cannot read the list of resolvers; the one in use stays");
                }
                false
            }
        }
    }

    /// Tells which resolvers lead back here; whether something else is to be asked now.
    pub async fn avoid(&mut self, looping: Vec<SocketAddr>) -> bool {
        self.looping = looping;
        self.look().await
    }

    fn take(&mut self, found: ResolvConf, behind: Option<ResolvConf>) -> bool {
        let path = &self.sources.path;
        let ResolvConf { servers, search, skipped } = found;
        if servers.is_empty() {
            if !std::mem::replace(&mut self.broken, true) {
                warn!(path = %path.display(), skipped, kept = self.now.servers.len(),
                    "no resolver is listed; those in use stay");
            }
            return false;
        }
        if std::mem::take(&mut self.broken) {
            info!(path = %path.display(), "resolvers can be read again");
        }
        let (servers, path) = match behind.map(|behind| self.others(behind.servers)) {
            Some(behind) if !behind.is_empty() => (behind, self.sources.behind.clone()),
            Some(_) | None => (self.others(servers), path.clone()),
        };
        let servers = match servers.is_empty() {
            // All that is listed is we ourselves.
            true => self.now.servers.clone(),
            false => servers,
        };
        let before = std::mem::replace(&mut self.now, Resolv { servers, search, path });
        let changed = before != self.now;
        if changed {
            let Resolv { servers, search, path } = &self.now;
            debug!(path = %path.display(), skipped, ?servers, ?search, "resolvers read");
        }
        changed
    }

    /// Whether none of them can be asked.
    fn leads_nowhere(&self, servers: &[SocketAddr]) -> bool {
        let lost = |server: &SocketAddr| {
            self.is_ours(*server)
                || self.looping.contains(server)
                || self.sources.split && is_stub(*server)
        };
        !servers.is_empty() && servers.iter().all(lost)
    }

    /// The servers that are not we ourselves. One that leads back stays: whoever asks is told, and
    /// it may be mended.
    fn others(&self, mut servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
        servers.retain(|&server| {
            let ours = self.is_ours(server);
            if ours {
                debug!(peer = %server, "this resolver is hawser itself and is not asked");
            }
            let stub = self.sources.split && is_stub(server);
            !(ours || stub)
        });
        servers
    }

    fn is_ours(&self, server: SocketAddr) -> bool {
        self.sources.own.iter().any(|&own| is_same(own, server))
    }
}

fn is_stub(server: SocketAddr) -> bool {
    STUBS.iter().any(|&stub| server == SocketAddr::from((stub, 53)))
}

/// Off the runtime's threads: where the file is may be slow.
async fn read_apart(path: PathBuf) -> io::Result<ResolvConf> {
    spawn_blocking(move || read(&path)).await.map_err(io::Error::other)?
}

/// Reads a file like `/etc/resolv.conf`.
pub fn read(path: &Path) -> io::Result<ResolvConf> {
    // Anything else might never end, or never begin.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    let index = |name: &str| nix::net::if_::if_nametoindex(name).ok();
    Ok(parse(&text, index))
}

const BEHIND: &str = "/run/systemd/resolve/resolv.conf";

#[cfg(test)]
mod tests;
