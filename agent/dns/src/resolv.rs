//! Whom to ask about names outside the mesh: a list, or the file that the system keeps.
//!
//! The file is looked at when a query is to be relayed, at most once a second, off the runtime's
//! threads: nothing wakes up while nobody asks, and a resolver that DHCP or a VPN brought is in use
//! a second later. A file that cannot be read, or names nobody, leaves the list as it was.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hawser_rt::Chain;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::Error;

/// Where the resolvers for names outside the mesh are listed.
#[derive(Clone, Debug)]
pub enum Upstreams {
    /// Here.
    Fixed(Vec<SocketAddr>),
    /// In a file like `/etc/resolv.conf`, which may change at any time.
    ResolvConf(PathBuf),
}

/// What a file like `/etc/resolv.conf` says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Resolvers in the order of the file.
    pub servers: Vec<SocketAddr>,
    /// Domains that are appended to names.
    pub search: Vec<String>,
    /// `nameserver` lines that are none, or too many.
    pub skipped: usize,
}

/// Resolvers of one file; glibc takes 3, others more.
const MAX_SERVERS: usize = 8;
/// Search domains of one file.
const MAX_SEARCH: usize = 32;
/// Octets of a file that are read.
const MAX_FILE: u64 = 64 * 1024;
/// A resolver that has failed is asked after the others for this long.
const AVOIDED: Duration = Duration::from_secs(10);
/// Time between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads a file like `/etc/resolv.conf`.
pub fn read(path: &Path) -> Result<ResolvConf, Error> {
    let fail = |source| Error::ReadResolvConf { path: path.to_owned(), source };
    match look(path, None).map_err(fail)? {
        Some((_, found)) => Ok(found),
        None => Ok(ResolvConf::default()),
    }
}

/// Reads the text of a file like `/etc/resolv.conf`; `interface` gives the index of a network
/// interface, for addresses that mean nothing without one (`fe80::1%eth0`).
///
/// A port may be given as `[address]:port`; lines that say nothing useful are passed over.
pub fn parse(text: &[u8], interface: impl Fn(&str) -> Option<u32>) -> ResolvConf {
    let mut found = ResolvConf::default();
    for line in String::from_utf8_lossy(text).lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => match words.next().and_then(|word| server(word, &interface)) {
                Some(server) if found.servers.contains(&server) => {}
                Some(server) if found.servers.len() < MAX_SERVERS => found.servers.push(server),
                _ => found.skipped += 1,
            },
            Some("domain") => found.search = words.take(1).map(str::to_owned).collect(),
            Some("search") => found.search = words.take(MAX_SEARCH).map(str::to_owned).collect(),
            _ => {}
        }
    }
    found
}

fn server(word: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if word.starts_with('[') {
        let (address, port) = word.strip_prefix('[')?.split_once("]:")?;
        let port = port.parse().ok().filter(|&port| port != 0)?;
        return Some(SocketAddr::new(address.parse().ok()?, port));
    }
    match word.split_once('%') {
        Some((address, zone)) => {
            let address: Ipv6Addr = address.parse().ok()?;
            let index = zone.parse().ok().or_else(|| interface(zone))?;
            Some(SocketAddrV6::new(address, 53, 0, index).into())
        }
        None => Some(SocketAddr::new(word.parse().ok()?, 53)),
    }
}

/// The resolvers to ask, kept up to date.
#[derive(Debug)]
pub(crate) struct Resolvers {
    servers: ArcSwap<Servers>,
    /// Taken by whoever is to look at the file; nobody ever waits for it.
    file: Option<Mutex<Watched>>,
    own: Vec<SocketAddr>,
}

/// Resolvers, and what is remembered of them.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<Server>,
    since: Instant,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Milliseconds since the list was made, plus one; 0: has not failed.
    failed: AtomicU64,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    stamp: Option<Stamp>,
    look_at: Instant,
    broken: bool,
}

/// What changes when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Resolvers {
    /// Reads the list for the first time. `own` are the addresses that we listen on.
    pub(crate) async fn open(upstreams: Upstreams, own: Vec<SocketAddr>) -> Self {
        let (listed, path) = match upstreams {
            Upstreams::Fixed(list) => (others(list, &own), None),
            Upstreams::ResolvConf(path) => (Vec::new(), Some(path)),
        };
        if path.is_none() && listed.is_empty() {
            warn!("no resolver is configured: names outside the mesh are not resolved");
        }
        let watched = |path| Watched { path, stamp: None, look_at: Instant::now(), broken: false };
        let file = path.map(|path| Mutex::new(watched(path)));
        let resolvers = Self { servers: ArcSwap::from_pointee(Servers::new(listed)), file, own };
        resolvers.current().await;
        resolvers
    }

    /// The resolvers now.
    pub(crate) async fn current(&self) -> Arc<Servers> {
        if let Some(file) = &self.file
            && let Ok(mut file) = file.try_lock()
            && file.look_at <= Instant::now()
        {
            file.look_at = Instant::now() + LOOK_EVERY;
            self.look(&mut file).await;
        }
        self.servers.load_full()
    }

    async fn look(&self, file: &mut Watched) {
        let (path, stamp) = (file.path.clone(), file.stamp);
        let looked = spawn_blocking(move || look(&path, stamp)).await;
        match looked.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(None) => {}
            Ok(Some((stamp, found))) => {
                file.stamp = Some(stamp);
                if file.broken {
                    info!(path = %file.path.display(), "resolvers can be read again");
                    file.broken = false;
                }
                self.take(&file.path, found);
            }
            Err(error) => {
                // The same file may come back: then it is read again.
                file.stamp = None;
                if !file.broken {
                    warn!(path = %file.path.display(), error = %Chain(&error),
                        "cannot read the list of resolvers; the one in use stays");
                    file.broken = true;
                }
            }
        }
    }

    fn take(&self, path: &Path, found: ResolvConf) {
        let ResolvConf { servers: listed, skipped, .. } = found;
        let servers = others(listed, &self.own);
        let now = self.servers.load();
        if servers.is_empty() {
            warn!(path = %path.display(), skipped, kept = now.list.len(),
                "no resolver is listed; those in use stay");
        } else if !now.list.iter().map(|server| server.address).eq(servers.iter().copied()) {
            debug!(path = %path.display(), skipped, ?servers, "resolvers read");
            self.servers.store(Arc::new(Servers::new(servers)));
        }
    }
}

impl Servers {
    fn new(list: Vec<SocketAddr>) -> Self {
        let list = list.into_iter().map(|address| Server { address, failed: AtomicU64::new(0) });
        Self { list: list.collect(), since: Instant::now() }
    }

    /// The resolvers in the order in which to ask them: as listed, those that have just failed last.
    pub(crate) fn ranked(&self) -> Vec<&Server> {
        let now = self.now();
        let avoided = |server: &&Server| match server.failed.load(Ordering::Relaxed) {
            0 => false,
            failed => u128::from(now.saturating_sub(failed)) < AVOIDED.as_millis(),
        };
        let (last, first): (Vec<_>, Vec<_>) = self.list.iter().partition(avoided);
        first.into_iter().chain(last).collect()
    }

    /// Remembers how a resolver did.
    pub(crate) fn note(&self, server: &Server, worked: bool) {
        server.failed.store(if worked { 0 } else { self.now() }, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The servers that are not we ourselves.
fn others(mut servers: Vec<SocketAddr>, own: &[SocketAddr]) -> Vec<SocketAddr> {
    servers.retain(|&server| {
        let ours = own.iter().any(|&own| is_same(own, server));
        if ours {
            warn!(peer = %server, "this resolver is hawser itself and is not asked");
        }
        !ours
    });
    servers
}

/// Whether a query sent to `server` would come in at `own`.
fn is_same(own: SocketAddr, server: SocketAddr) -> bool {
    // Nothing listens on "any address": a query sent there arrives at the loopback address.
    let server_ip = match server.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let any = own.ip().is_unspecified() && own.is_ipv4() == server_ip.is_ipv4();
    own.port() == server.port() && (own.ip() == server_ip || any && server_ip.is_loopback())
}

/// Reads the file, unless it is the one that was stamped so.
fn look(path: &Path, known: Option<Stamp>) -> io::Result<Option<(Stamp, ResolvConf)>> {
    let file = std::fs::metadata(path)?;
    // Anything else might never end, or never begin.
    if !file.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let stamp = Stamp {
        device: file.dev(),
        inode: file.ino(),
        len: file.len(),
        modified: (file.mtime(), file.mtime_nsec()),
    };
    if known == Some(stamp) {
        return Ok(None);
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    let index = |name: &str| nix::net::if_::if_nametoindex(name).ok();
    Ok(Some((stamp, parse(&text, index))))
}

#[cfg(test)]
mod tests;
