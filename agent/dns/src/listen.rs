//! The sockets on which programs ask: for each address one for TCP, and one for UDP per worker.
//!
//! Bound before anything runs, so that an address in use is an error at start and not a daemon
//! without DNS. How queries are read and answers sent is the business of `udp` and `tcp` alone.

pub(crate) mod admit;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use hawser_rt::notify::Handed;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tracing::debug;

use crate::Error;

/// Sockets bound and not yet served.
#[derive(Debug)]
pub struct Sockets {
    bound: Vec<Bound>,
    workers: usize,
}

/// One address, both transports.
#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    datagrams: Vec<UdpSocket>,
    stream: TcpListener,
    /// How many of the datagram sockets come from an earlier life, and whether the other does.
    inherited: (usize, bool),
}

/// What one worker serves.
pub(crate) type Share = (Vec<(SocketAddr, UdpSocket)>, Vec<(SocketAddr, TcpListener)>);

/// Ports tried for one that is free for both transports.
const TRIES: usize = 32;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;
/// Octets that wait in a socket for datagrams.
const BUFFER: usize = 1 << 20;

impl Sockets {
    /// Binds every address for one worker. Port 0 is any port that is free for both transports.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, Error> {
        Self::open(addresses, 1)
    }

    /// Binds every address, and divides it among so many workers.
    pub fn open(addresses: &[SocketAddr], workers: usize) -> Result<Self, Error> {
        Self::inherit(addresses, workers, Vec::new()).map(|(sockets, _)| sockets)
    }

    /// As [`Self::open`], with sockets of an earlier life where there are any for an address, be
    /// they more or fewer than the workers. Gives back those for which there is no use.
    pub fn inherit(
        addresses: &[SocketAddr],
        workers: usize,
        handed: Vec<Handed>,
    ) -> Result<(Self, Vec<Handed>), Error> {
        let workers = workers.max(1);
        let mut left = handed;
        let mut bound = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let inherited = Inherited::of(address, &mut left);
            bound.push(bind(address, workers, inherited).map_err(
                |source| match source.kind() {
                    io::ErrorKind::AddrInUse => Error::AddressTaken { address },
                    io::ErrorKind::PermissionDenied => Error::AddressForbidden { address },
                    _ => Error::Bind { address, source },
                },
            )?);
        }
        Ok((Self { bound, workers }, left))
    }

    /// Lends the sockets that were bound in this life, each with a name that no other has.
    pub fn fresh(&self, mut lend: impl FnMut(&str, BorrowedFd<'_>)) {
        for Bound { address, datagrams, stream, inherited } in &self.bound {
            let life = std::process::id();
            for (number, socket) in datagrams.iter().enumerate().skip(inherited.0) {
                lend(&format!("dns-udp-{address}-{number}-{life}"), socket.as_fd());
            }
            if !inherited.1 {
                lend(&format!("dns-tcp-{address}-{life}"), stream.as_fd());
            }
        }
    }

    /// The addresses that were bound, in the order in which they were asked for.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.address).collect()
    }

    /// What each worker serves.
    pub(crate) fn dealt(self) -> Vec<Share> {
        let mut shares: Vec<Share> = (0..self.workers).map(|_| Share::default()).collect();
        for Bound { address, datagrams, stream, .. } in self.bound {
            for (number, socket) in datagrams.into_iter().enumerate() {
                if let Some(share) = shares.get_mut(number % self.workers) {
                    share.0.push((address, socket));
                }
            }
            if let Some(first) = shares.first_mut() {
                first.1.push((address, stream));
            }
        }
        // A worker that has nothing to serve would end, and so all would.
        shares.retain(|(datagrams, streams)| !datagrams.is_empty() || !streams.is_empty());
        shares
    }
}

/// What there is for one address from an earlier life.
#[derive(Default)]
struct Inherited {
    datagrams: Vec<Socket>,
    stream: Option<Socket>,
}

impl Inherited {
    /// Takes out of `handed` what is for this address.
    fn of(address: SocketAddr, handed: &mut Vec<Handed>) -> Self {
        let mut found = Self::default();
        for Handed { name, fd } in std::mem::take(handed) {
            let socket = Socket::from(fd);
            match Self::kind(&socket, address) {
                Some(Type::DGRAM) => found.datagrams.push(socket),
                Some(_) if found.stream.is_none() => found.stream = Some(socket),
                _ => handed.push(Handed { name, fd: socket.into() }),
            }
        }
        found
    }

    /// The type of a socket that can be used for this address.
    fn kind(socket: &Socket, address: SocketAddr) -> Option<Type> {
        let local = socket.local_addr().ok()?.as_socket()?;
        let kind = socket.r#type().ok()?;
        let fits = (local.ip(), local.port()) == (address.ip(), address.port())
            && (kind == Type::DGRAM || kind == Type::STREAM && socket.is_listener().ok()?);
        socket.set_nonblocking(true).ok()?;
        fits.then_some(kind)
    }
}

fn bind(asked: SocketAddr, workers: usize, inherited: Inherited) -> io::Result<Bound> {
    let Inherited { mut datagrams, mut stream } = inherited;
    let kept = (datagrams.len(), stream.is_some());
    let mut tried = 0;
    loop {
        if datagrams.is_empty() {
            // Without sharing, so that whoever has the address already is noticed, whatever he
            // thinks of sharing.
            let first = socket(asked, Type::DGRAM, Protocol::UDP)?;
            bind_to(&first, asked)?;
            datagrams.push(first);
        }
        let local = datagrams.first().map_or(Ok(None), |first| first.local_addr().map(Some))?;
        let address = local.and_then(|local| local.as_socket()).unwrap_or(asked);
        let bound = stream.take().map_or_else(|| listener(address), Ok);
        match bound {
            Ok(stream) => {
                multiply(&mut datagrams, address, workers)?;
                let datagrams = datagrams.into_iter().map(Into::into).collect();
                return Ok(Bound { address, datagrams, stream: stream.into(), inherited: kept });
            }
            // Whoever has this port for TCP does not have the next.
            Err(error)
                if asked.port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && tried < TRIES =>
            {
                datagrams.clear();
                tried += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn listener(address: SocketAddr) -> io::Result<Socket> {
    let stream = socket(address, Type::STREAM, Protocol::TCP)?;
    // Connections of an earlier life must not keep the address.
    stream.set_reuse_address(true)?;
    bind_to(&stream, address)?;
    stream.listen(BACKLOG)?;
    Ok(stream)
}

/// Adds sockets until each worker has one.
fn multiply(all: &mut Vec<Socket>, address: SocketAddr, workers: usize) -> io::Result<()> {
    while all.len() < workers {
        all.iter().try_for_each(|socket| socket.set_reuse_port(true))?;
        let next = socket(address, Type::DGRAM, Protocol::UDP)?;
        next.set_reuse_port(true)?;
        if let Err(error) = bind_to(&next, address) {
            // Those that somebody else has bound are shared with nobody.
            debug!(peer = %address, %error, "workers share a socket's address no further");
            break;
        }
        all.push(next);
    }
    // What a program of this machine asks is best answered on the processor where it runs. What
    // comes from others comes in where the network card has it come in: that is to be spread.
    let near = address.ip().is_loopback() && all.len() > 1;
    for (number, socket) in all.iter().enumerate() {
        if near && let Err(error) = socket.set_cpu_affinity(number) {
            debug!(peer = %address, %error, "queries go to any worker");
        }
        // A burst, and what comes while the agent is restarted, waits there; the system says how
        // much it may be.
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_send_buffer_size(BUFFER)?;
    }
    Ok(())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // Both families can be asked for by themselves, in any order.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_to(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.bind(&SockAddr::from(address))
}
