//! Sockets that ask by datagram: each has one question at a time, and for each another port.
//!
//! To make a socket, have the runtime watch it and close it costs more than to ask and to hear the
//! answer. One that has done its work is therefore taken off its port, whereupon nothing reaches it,
//! and kept. For the next question the kernel picks a port at random, as it does for a new socket; to
//! others it is one. A port that questions share would cost a little less, and could be found out for
//! as long as it is open.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, SendFlags, connect, connect_unspec, recv, send};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;

/// Sockets that are kept, of each family, at most; and as a part of those that may be open:
/// what is kept of one family comes on top of them while the other is asked.
const KEPT: (usize, usize) = (64, 8);
/// Datagrams that are waited for by nobody and are read until a socket is rather given up.
const LATE: usize = 4;

/// Sockets that are on no port.
#[derive(Debug)]
pub(super) struct Sockets {
    most: usize,
    v4: Vec<UdpSocket>,
    v6: Vec<UdpSocket>,
}

/// A socket on a port of its own, which takes datagrams from nobody but whom it asks.
#[derive(Debug)]
pub(super) struct Outlet {
    socket: UdpSocket,
    peer: SocketAddr,
}

impl Sockets {
    /// None yet; so many may be open.
    pub(super) fn new(room: usize) -> Self {
        let (most, part) = KEPT;
        Self { most: most.min(room / part), v4: Vec::new(), v6: Vec::new() }
    }

    /// Sends a question from a port that the kernel picks at random now.
    pub(super) fn ask(&mut self, peer: SocketAddr, query: &[u8]) -> io::Result<Outlet> {
        let socket = match self.of_family(peer).pop() {
            Some(socket) => socket,
            None => make(peer)?,
        };
        connect(&socket, &peer)?;
        send(&socket, query, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        // On this machine a refusal comes at once, and the runtime would not look for it.
        if peer.ip().is_loopback()
            && let Some(refused) = socket.take_error()?
        {
            return Err(refused);
        }
        Ok(Outlet { socket, peer })
    }

    /// Takes a socket off its port, and keeps it if there is room.
    pub(super) fn put_back(&mut self, outlet: Outlet) {
        let most = self.most;
        let kept = self.of_family(outlet.peer);
        if kept.len() < most && take_off(&outlet.socket).is_ok() {
            kept.push(outlet.socket);
        }
    }

    fn of_family(&mut self, peer: SocketAddr) -> &mut Vec<UdpSocket> {
        if peer.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

impl Outlet {
    pub(super) fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket.poll_recv(context, buffer)
    }
}

fn make(peer: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(peer), kind, Some(Protocol::UDP))?;
    UdpSocket::from_std(socket.into())
}

/// Leaves the port, and what has come to it by then: nothing of it is for the next question.
fn take_off(socket: &UdpSocket) -> io::Result<()> {
    connect_unspec(socket)?;
    for _ in 0..LATE {
        match recv(socket, &mut [0; 1], RecvFlags::DONTWAIT) {
            Ok(_) => {}
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                // The runtime is to know it too.
                let _nothing = socket.try_io(Interest::READABLE, || Err::<(), _>(error.into()));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

#[cfg(test)]
mod tests;
