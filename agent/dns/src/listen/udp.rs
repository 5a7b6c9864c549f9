//! Queries by datagram.
//!
//! One task per socket reads what there is, answers from the table at once and on the spot, with
//! buffers that it keeps, and gives the rest to the relay. A single query waits for nobody; of a
//! crowd a batch is taken before others get their turn.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use hawser_rt::{Chain, Throttle};
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Proxy;
use crate::answer::{self, Action, MAX_QUERY, Transport};

/// Datagrams that are taken before other tasks get their turn.
const BATCH: usize = 32;
/// Datagrams that have arrived before the end, and are answered still.
const LAST: usize = 1024;
/// What the socket itself complains about is rarely gone at once.
const PAUSE: Duration = Duration::from_millis(20);

static UNREADABLE: Throttle = Throttle::new(Duration::from_secs(60));

/// A socket, and how the address that was asked is made the sender of the answer.
#[derive(Debug)]
pub(crate) struct Port {
    socket: UdpSocket,
    /// The socket takes queries to any address, so each has to say which it was.
    any: bool,
}

/// Who asked, and whom.
#[derive(Clone, Copy)]
struct Client {
    address: SocketAddr,
    asked: Asked,
}

/// The address that was asked.
#[derive(Clone, Copy)]
enum Asked {
    /// The only one there is.
    Bound,
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// What is kept from one datagram to the next.
struct Desk {
    packet: Vec<u8>,
    control: Vec<u8>,
    out: Vec<u8>,
    dice: fastrand::Rng,
    relayed: JoinSet<()>,
}

/// Answers until told to stop, and then what has arrived by then.
pub(crate) async fn serve(port: Arc<Port>, proxy: Arc<Proxy>, stop: CancellationToken) {
    let mut desk = Desk {
        // One octet more than is taken, to see what is too long.
        packet: vec![0; MAX_QUERY + 1],
        control: nix::cmsg_space!(in_pktinfo, in6_pktinfo),
        out: Vec::with_capacity(MAX_QUERY),
        dice: fastrand::Rng::new(),
        relayed: JoinSet::new(),
    };
    loop {
        let read = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = desk.relayed.join_next() => continue,
            ready = port.socket.readable() => ready.and_then(|()| desk.batch(&port, &proxy, BATCH)),
        };
        if let Err(error) = read {
            if let Some(suppressed) = UNREADABLE.allow() {
                warn!(error = %Chain(&error), suppressed, "cannot read queries");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    // What has arrived is seen when the runtime has looked at its sockets once more.
    tokio::task::yield_now().await;
    if let Err(error) = desk.batch(&port, &proxy, LAST) {
        debug!(error = %Chain(&error), "cannot read the last queries");
    }
    while desk.relayed.join_next().await.is_some() {}
}

impl Desk {
    fn batch(&mut self, port: &Arc<Port>, proxy: &Proxy, most: usize) -> io::Result<()> {
        for _ in 0..most {
            match port.receive(&mut self.packet, &mut self.control) {
                Ok((len, client)) => self.query(len, client, port, proxy),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn query(&mut self, len: usize, client: Client, port: &Arc<Port>, proxy: &Proxy) {
        let Self { packet, out, dice, relayed, .. } = self;
        let packet = packet.get(..len).unwrap_or_default();
        match proxy.answer(packet, Transport::Udp, dice, out) {
            Action::Answer | Action::Refuse => {}
            Action::Drop => return,
            Action::Relay(errand) => match proxy.relay.take(packet, errand, Transport::Udp) {
                Some(reply) => {
                    let port = Arc::clone(port);
                    relayed.spawn(async move { port.send(&reply.await, client).await });
                    return;
                }
                None => answer::fail(packet, &errand, out),
            },
        }
        // A full send buffer is the client's network being slow; it asks again.
        if let Err(error) = port.try_send(out, client) {
            proxy.counts.dropped.add();
            debug!(peer = %client.address, error = %Chain(&error), "cannot send answer");
        }
    }
}

impl Port {
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let any = match socket.local_addr()? {
            SocketAddr::V4(local) if local.ip().is_unspecified() => {
                setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
                true
            }
            SocketAddr::V6(local) if local.ip().is_unspecified() => {
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
                true
            }
            _ => false,
        };
        Ok(Self { socket: UdpSocket::from_std(socket)?, any })
    }

    fn receive(&self, packet: &mut [u8], control: &mut [u8]) -> io::Result<(usize, Client)> {
        if !self.any {
            let (len, address) = self.socket.try_recv_from(packet)?;
            return Ok((len, Client { address, asked: Asked::Bound }));
        }
        self.socket.try_io(Interest::READABLE, || {
            let mut parts = [IoSliceMut::new(packet)];
            let fd = self.socket.as_raw_fd();
            let message =
                recvmsg::<SockaddrStorage>(fd, &mut parts, Some(control), MsgFlags::empty())?;
            let asked = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(Asked::V4(in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_addr: in_addr { s_addr: 0 },
                    ..info
                })),
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(Asked::V6(info)),
                _ => None,
            });
            let address = message
                .address
                .and_then(socket_addr)
                .ok_or_else(|| io::Error::other("datagram without a sender"))?;
            Ok((message.bytes, Client { address, asked: asked.unwrap_or(Asked::Bound) }))
        })
    }

    fn try_send(&self, answer: &[u8], client: Client) -> io::Result<()> {
        let sent = match client.asked {
            Asked::Bound => self.socket.try_send_to(answer, client.address),
            _ => self.socket.try_io(Interest::WRITABLE, || self.send_as_asked(answer, client)),
        };
        sent.map(drop)
    }

    async fn send(&self, answer: &[u8], client: Client) {
        let sent = match client.asked {
            Asked::Bound => self.socket.send_to(answer, client.address).await,
            _ => {
                let send = || self.send_as_asked(answer, client);
                self.socket.async_io(Interest::WRITABLE, send).await
            }
        };
        if let Err(error) = sent {
            debug!(peer = %client.address, error = %Chain(&error), "cannot send answer");
        }
    }

    fn send_as_asked(&self, answer: &[u8], client: Client) -> io::Result<usize> {
        let parts = [IoSlice::new(answer)];
        let to = SockaddrStorage::from(client.address);
        let send = |control: &[ControlMessage<'_>]| {
            sendmsg(self.socket.as_raw_fd(), &parts, control, MsgFlags::empty(), Some(&to))
        };
        Ok(match &client.asked {
            Asked::Bound => send(&[]),
            Asked::V4(info) => send(&[ControlMessage::Ipv4PacketInfo(info)]),
            Asked::V6(info) => send(&[ControlMessage::Ipv6PacketInfo(info)]),
        }?)
    }
}

fn socket_addr(address: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}
