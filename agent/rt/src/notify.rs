//! What the service manager is told: `READY=1`, `STATUS=`, `WATCHDOG=1` over a datagram socket; and
//! what it keeps for the next life of this process.
//!
//! See sd_notify(3). A notification that cannot be sent is a debug line and no more: the manager
//! draws its own conclusions from silence, and a daemon that dies of its own status text helps
//! nobody. The environment is the caller's to read.

mod handed;

use std::{
    ffi::OsString,
    io::{self, IoSlice},
    os::{
        fd::{AsFd, AsRawFd as _},
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg},
    time::{ClockId, clock_gettime},
};
use tracing::debug;

pub use crate::Error;
pub use handed::Handed;

/// The line to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    manager: Option<Arc<Manager>>,
    watchdog: Option<Duration>,
    handed: Vec<Handed>,
    /// Whether what the manager is given to keep is there in the next life.
    keeps: bool,
}

/// Has the manager keep descriptors, where it does that. Clones are the same.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Manager>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// `socket` is `$NOTIFY_SOCKET` (a path or `@abstract`), `watchdog` the time after which the
    /// manager gives up on a silent process. Without a socket every notification is a no-op.
    pub fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> Result<Self, Error> {
        let manager = match socket {
            Some(socket) if !socket.is_empty() => Some(Arc::new(Manager::new(socket)?)),
            _ => None,
        };
        // Nobody listens without a socket, and a zero means "no watchdog" to systemd.
        let watchdog = watchdog.filter(|limit| manager.is_some() && !limit.is_zero());
        Ok(Self { manager, watchdog, handed: Vec::new(), keeps: false })
    }

    /// Takes what the manager hands over to this process, by `$LISTEN_PID`, `$LISTEN_FDS` and
    /// `$LISTEN_FDNAMES`. The numbers are taken at their word: nothing may have opened a file yet.
    pub fn taking(mut self, pid: Option<&str>, count: Option<&str>, names: Option<&str>) -> Self {
        self.handed = handed::all(pid, count, names);
        self
    }

    /// With these handed over.
    #[cfg(test)]
    pub(crate) fn with_handed(mut self, handed: Vec<Handed>) -> Self {
        self.handed = handed;
        self
    }

    /// Learns by `$FDSTORE` whether the manager keeps descriptors, so that the files of sockets are
    /// its to remove.
    pub fn keeping(mut self, room: Option<&str>) -> Self {
        let room = room.and_then(|room| room.parse::<u32>().ok()).unwrap_or(0);
        self.keeps = room > 0 && self.manager.is_some();
        self
    }

    /// What keeps descriptors, if there is a manager that does.
    pub fn keeper(&self) -> Option<Keeper> {
        self.manager.clone().filter(|_| self.keeps).map(Keeper)
    }

    /// Those that the manager has handed over under such names; given once.
    pub fn handed_as(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<Handed> {
        let all = std::mem::take(&mut self.handed);
        let (found, others) = all.into_iter().partition(|handed| wanted(&handed.name));
        self.handed = others;
        found
    }

    /// What the manager has handed over; given once.
    pub fn handed(&mut self) -> Vec<Handed> {
        std::mem::take(&mut self.handed)
    }

    /// Has the manager keep a descriptor, which it hands over to the next life of this process.
    /// `name` is what [`Self::remove`] calls it.
    pub fn store(&self, name: &str, fd: impl AsFd) {
        if let Some(manager) = &self.manager {
            manager.store(name, fd);
        }
    }

    /// Has the manager forget what it was to keep under this name.
    pub fn remove(&self, name: &str) {
        self.send(&forget(name));
    }

    /// Start-up, or a reload, is complete.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Says in a few words what the process is up to; one line, cut if long.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", one_line(text)));
    }

    /// A reload begins; [`Self::ready`] ends it.
    pub fn reloading(&self) {
        // Required by Type=notify-reload, ignored otherwise.
        match clock_gettime(ClockId::CLOCK_MONOTONIC) {
            Ok(now) => {
                let now = Duration::from(now).as_micros();
                self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
            }
            Err(_) => self.send("RELOADING=1"),
        }
    }

    /// The process is about to stop.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Asks for this much time from now on, where the manager would lose patience with a start or
    /// a stop.
    pub fn extend(&self, time: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()));
    }

    /// Whether there is a manager.
    pub fn is_heard(&self) -> bool {
        self.manager.is_some()
    }

    /// How often to [`Self::feed`] the watchdog, if there is one: half its limit, so that one
    /// late feed is not the end.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// How long the watchdog, if there is one, bears not to be [fed](Self::feed).
    pub fn watchdog_limit(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells the watchdog that the process is alive.
    pub fn feed(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, state: &str) {
        if let Some(manager) = &self.manager {
            manager.send(state);
        }
    }
}

impl Keeper {
    /// As [`Notifier::store`].
    pub fn store(&self, name: &str, fd: impl AsFd) {
        self.0.store(name, fd);
    }

    /// As [`Notifier::remove`].
    pub fn remove(&self, name: &str) {
        self.0.send(&forget(name));
    }
}

impl Manager {
    fn new(socket: OsString) -> Result<Self, Error> {
        let named = match socket.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(&socket),
            _ => return Err(Error::NotifyAddress { socket }),
        };
        // Bound to the address at each send, not connected: the manager may come back with a new
        // socket under the old name.
        let open = |address| -> io::Result<Self> {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok(Self { socket, address })
        };
        named.and_then(open).map_err(|source| Error::NotifySocket { socket, source })
    }

    fn store(&self, name: &str, fd: impl AsFd) {
        // Of a socket that waits to be served the manager needs no news.
        let state = format!("FDSTORE=1\nFDNAME={}\nFDPOLL=0", fd_name(name));
        let Self { socket, address } = self;
        let fds = [fd.as_fd().as_raw_fd()];
        let sent = unix_address(address).and_then(|address| {
            let rights = [ControlMessage::ScmRights(&fds)];
            let text = [IoSlice::new(state.as_bytes())];
            sendmsg(socket.as_raw_fd(), &text, &rights, MsgFlags::MSG_DONTWAIT, Some(&address))
        });
        if let Err(error) = sent {
            debug!(%error, name, "service manager does not keep the socket");
        }
    }

    fn send(&self, state: &str) {
        let Self { socket, address } = self;
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            debug!(%error, state, "service manager not notified");
        }
    }
}

fn forget(name: &str) -> String {
    format!("FDSTOREREMOVE=1\nFDNAME={}", fd_name(name))
}

fn unix_address(address: &SocketAddr) -> nix::Result<UnixAddr> {
    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => UnixAddr::new(path),
        (None, Some(name)) => UnixAddr::new_abstract(name),
        (None, None) => Err(nix::Error::EINVAL),
    }
}

/// The name in letters that the manager takes.
fn fd_name(name: &str) -> String {
    let letter = |symbol: char| match symbol {
        ':' => '_',
        symbol if symbol.is_ascii_graphic() => symbol,
        _ => '-',
    };
    name.chars().map(letter).take(FD_NAME_LIMIT).collect()
}

fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|symbol| if symbol.is_control() { ' ' } else { symbol })
        .take(STATUS_LIMIT)
        .collect()
}

const STATUS_LIMIT: usize = 512;
const FD_NAME_LIMIT: usize = 255;

#[cfg(test)]
mod tests;
