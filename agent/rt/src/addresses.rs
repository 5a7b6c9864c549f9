//! The machine's own addresses: from which one it would speak to somebody, and when they may have
//! changed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep, timeout},
};
use tracing::debug;

use crate::descriptor::{Descriptor, readable};

/// The address from which the kernel would speak to `destination`. Nothing is sent.
pub fn towards(destination: SocketAddr) -> io::Result<IpAddr> {
    let any = match destination {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Chooses a route and a source, which is all that connecting means to UDP.
    socket.connect(destination)?;
    Ok(socket.local_addr()?.ip().to_canonical())
}

/// Tells when addresses may have changed. Needs a tokio runtime.
#[derive(Debug)]
pub struct Changes {
    /// None where the kernel does not tell; then everybody is told now and then.
    kernel: Option<AsyncFd<Descriptor<OwnedFd>>>,
    /// Something has happened that nobody was told of yet.
    heard: bool,
}

impl Changes {
    /// Watches from now on.
    pub fn watch() -> Self {
        let kernel = subscribe().map_err(|error| {
            debug!(%error, period = ?POLL, "the kernel does not tell of addresses, polling");
        });
        Self { kernel: kernel.ok(), heard: false }
    }

    /// Returns when addresses may have changed, once for a burst of changes and at most once a
    /// second: whether they have, and whether it matters, is for the caller to see. Cancel safe.
    pub async fn next(&mut self) {
        if !self.heard {
            self.event().await;
            self.heard = true;
        }
        // An interface that comes up gets several, and an IPv6 address is of no use at first.
        let latest = Instant::now() + LONGEST;
        while Instant::now() < latest && timeout(QUIET, self.event()).await.is_ok() {}
        self.heard = false;
    }

    /// One word of the kernel's, or of the clock. Cancel safe.
    async fn event(&mut self) {
        if let Some(kernel) = &self.kernel {
            let heard = kernel.async_io(Interest::READABLE, receive).await;
            match heard {
                Ok(()) => return,
                Err(error) => debug!(%error, "the kernel tells no more of addresses, polling"),
            }
            self.kernel = None;
        }
        sleep(POLL).await;
    }
}

/// Takes one message off the socket; what it says is of no interest.
fn receive(kernel: &Descriptor<OwnedFd>) -> io::Result<()> {
    let mut message = [0; MESSAGE];
    loop {
        return match recv(kernel.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
            // More than the socket could hold: all of it was about addresses.
            Ok(_) | Err(Errno::ENOBUFS) => Ok(()),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

fn subscribe() -> io::Result<AsyncFd<Descriptor<OwnedFd>>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let family = AddressFamily::Netlink;
    let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    readable(socket)
}

const GROUPS: u32 = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
/// The beginning is enough, the kernel throws the rest of a message away.
const MESSAGE: usize = 64;
/// How long nothing happens before a burst is over.
const QUIET: Duration = Duration::from_secs(1);
/// How long a burst may last before it is told of.
const LONGEST: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
