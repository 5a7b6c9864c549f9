//! The sockets on which programs ask: for each address one for UDP and one for TCP.
//!
//! Bound before anything runs, so that an address in use is an error at start and not a daemon
//! without DNS. How queries are read and answers sent is the business of `udp` and `tcp` alone.

pub(crate) mod tcp;
pub(crate) mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Error;

/// Sockets bound and not yet served.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) bound: Vec<Bound>,
}

/// One address, both transports.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// Ports tried for one that is free for both transports.
const TRIES: usize = 32;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

impl Sockets {
    /// Binds every address for UDP and TCP. Port 0 is any port that is free for both.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, Error> {
        let bind = |&address| {
            bind(address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => Error::AddressTaken { address },
                io::ErrorKind::PermissionDenied => Error::AddressForbidden { address },
                _ => Error::Bind { address, source },
            })
        };
        Ok(Self { bound: addresses.iter().map(bind).collect::<Result<_, _>>()? })
    }

    /// The addresses that were bound, in the order in which they were asked for.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.address).collect()
    }
}

fn bind(asked: SocketAddr) -> io::Result<Bound> {
    let mut tried = 0;
    loop {
        let udp: UdpSocket = socket(asked, Type::DGRAM, Protocol::UDP)?.into();
        let address = udp.local_addr()?;
        let stream = socket(address, Type::STREAM, Protocol::TCP);
        match stream {
            Ok(stream) => {
                stream.listen(BACKLOG)?;
                return Ok(Bound { address, udp, tcp: stream.into() });
            }
            // Whoever has this port for TCP does not have the next.
            Err(error)
                if asked.port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && tried < TRIES =>
            {
                tried += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // Both families can be asked for by themselves, in any order.
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections of an earlier life must not keep the address.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}
