//! A batch of queries, and of answers.
//!
//! There is one tray per thread, kept for good: nothing is allocated for a query that the table
//! answers. It belongs to the thread and not to the task because what the kernel fills in there is
//! told to it by address.

use std::array;
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use hawser_rt::Chain;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6,
    SockaddrLike, SockaddrStorage, recvmmsg, sendmsg,
};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;

use super::{Asked, Client, Port};
use crate::answer::{Action, MAX_QUERY, Transport};
use crate::counts::Source;
use crate::listen::admit;
use crate::relay::{Asker, Taken};
use crate::worker::{Place, Sight};

/// Datagrams that are read, and sent, in one go when there is a crowd.
const BATCH: usize = 64;
/// And when there is none.
const FEW: usize = 8;
/// Room for a query: one octet more than is taken, to see what is too long. The rest keeps the
/// beginnings of neighbours apart in the processor's cache.
const ROOM: usize = MAX_QUERY + 1 + 191;

thread_local! {
    static TRAY: RefCell<Tray> = RefCell::new(Tray::new());
}

/// Whether there may be more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// All was taken.
    Nothing,
    /// The tray is full.
    More,
}

pub(super) struct Tray {
    packets: Vec<u8>,
    /// What is in the packets.
    heads: Vec<Head>,
    /// Whether the last batch was large.
    crowd: bool,
    v4: Headers<SockaddrIn>,
    v6: Headers<SockaddrIn6>,
    /// Answers, and for whom: the first of the one are for the others.
    outs: Vec<Vec<u8>>,
    clients: Vec<Client>,
    dice: fastrand::Rng,
}

/// One query.
struct Head {
    len: usize,
    client: Client,
}

/// Headers of datagrams from addresses of one family; the kernel remembers their length there.
struct Headers<S> {
    plain: MultiHeaders<S>,
    /// With room for the address that was asked.
    told: MultiHeaders<S>,
}

/// The address that a datagram came from.
trait Sender: SockaddrLike + Copy {
    fn address(self) -> SocketAddr;
}

impl Sender for SockaddrIn {
    fn address(self) -> SocketAddr {
        SocketAddr::V4(self.into())
    }
}

impl Sender for SockaddrIn6 {
    fn address(self) -> SocketAddr {
        SocketAddr::V6(self.into())
    }
}

impl Tray {
    fn new() -> Self {
        Self {
            packets: vec![0; BATCH * ROOM],
            heads: Vec::with_capacity(BATCH),
            crowd: false,
            v4: Headers::new(nix::cmsg_space!(in_pktinfo)),
            v6: Headers::new(nix::cmsg_space!(in6_pktinfo)),
            outs: (0..BATCH).map(|_| Vec::with_capacity(512)).collect(),
            clients: Vec::with_capacity(BATCH),
            dice: fastrand::Rng::new(),
        }
    }

    /// Lends the tray of this thread.
    pub(super) fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        TRAY.with_borrow_mut(work)
    }

    /// Takes what has arrived.
    pub(super) fn receive(&mut self, port: &Port) -> io::Result<Rest> {
        let Self { packets, heads, crowd, .. } = self;
        heads.clear();
        let received = match port.address {
            SocketAddr::V4(_) => self.v4.fill(port, *crowd, packets, heads),
            SocketAddr::V6(_) => self.v6.fill(port, *crowd, packets, heads),
        };
        let room = if *crowd { BATCH } else { FEW };
        *crowd = heads.len() >= FEW;
        received?;
        Ok(if heads.len() == room { Rest::More } else { Rest::Nothing })
    }

    /// Answers what was received, or gives it to the relay.
    pub(super) fn answer(&mut self, port: &Arc<Port>, place: &Place, relayed: &mut JoinSet<()>) {
        if self.heads.is_empty() {
            return;
        }
        let started = Instant::now();
        let Self { packets, heads, outs, clients, dice, .. } = self;
        clients.clear();
        let (arrived, before) = (heads.len(), place.counts.queries.now());
        let sight = place.sight();
        for (packet, head) in packets.chunks_exact(ROOM).zip(heads.drain(..)) {
            let (Some(packet), Some(out)) = (packet.get(..head.len), outs.get_mut(clients.len()))
            else {
                continue;
            };
            let desk = Desk { port, place, sight: &sight };
            if desk.query(packet, head.client, dice, out, relayed) {
                clients.push(head.client);
            }
        }
        drop(sight);
        port.send_all(place, outs, clients);
        // Signs of life are answered, and are nobody's questions.
        let asked = place.counts.queries.now().wrapping_sub(before);
        let [arrived, answered] = [arrived, clients.len()].map(|n| u64::try_from(n).unwrap_or(0));
        let all = answered.saturating_sub(arrived.saturating_sub(asked));
        place.counts.took(Source::Table, started.elapsed(), all);
    }
}

impl<S: Sender> Headers<S> {
    fn new(control: Vec<u8>) -> Self {
        Self {
            plain: MultiHeaders::preallocate(BATCH, None),
            told: MultiHeaders::preallocate(BATCH, Some(control)),
        }
    }

    fn fill(
        &mut self,
        port: &Port,
        crowd: bool,
        packets: &mut [u8],
        heads: &mut Vec<Head>,
    ) -> io::Result<()> {
        let fd = port.socket.as_raw_fd();
        let headers = if port.any { &mut self.told } else { &mut self.plain };
        match crowd {
            true => fill::<_, BATCH>(fd, headers, packets, heads),
            false => fill::<_, FEW>(fd, headers, packets, heads),
        }
    }
}

fn fill<S: Sender, const N: usize>(
    fd: RawFd,
    headers: &mut MultiHeaders<S>,
    packets: &mut [u8],
    heads: &mut Vec<Head>,
) -> io::Result<()> {
    let mut places = packets.chunks_exact_mut(ROOM);
    let mut slices: [_; N] = array::from_fn(|_| {
        let place = places.next().and_then(|place| place.get_mut(..=MAX_QUERY));
        [IoSliceMut::new(place.unwrap_or_default())]
    });
    for message in recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)? {
        let mut asked = Asked::Bound;
        for control in message.cmsgs().into_iter().flatten() {
            asked = match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let no_matter = in_addr { s_addr: 0 };
                    Asked::V4(in_pktinfo { ipi_ifindex: 0, ipi_addr: no_matter, ..info })
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    // The way back is for routes to say, where an address says nothing of its link.
                    let of_link = Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local();
                    let ipi6_ifindex = if of_link { info.ipi6_ifindex } else { 0 };
                    Asked::V6(in6_pktinfo { ipi6_ifindex, ..info })
                }
                _ => asked,
            };
        }
        if let Some(address) = message.address {
            heads.push(Head {
                len: message.bytes,
                client: Client { address: address.address(), asked },
            });
        }
    }
    Ok(())
}

/// Where a query is decided about.
struct Desk<'a> {
    port: &'a Arc<Port>,
    place: &'a Place,
    sight: &'a Sight,
}

impl Desk<'_> {
    /// Whether there is an answer now.
    fn query(
        &self,
        packet: &[u8],
        client: Client,
        dice: &mut fastrand::Rng,
        out: &mut Vec<u8>,
        relayed: &mut JoinSet<()>,
    ) -> bool {
        let place = self.place;
        if client.address.port() == 0 {
            // Nobody can be answered there.
            place.counts.queries.add();
            place.counts.dropped.add();
            return false;
        }
        let near = admit::is_near(client.address, self.port.asked(&client));
        if !near && !admit::admits(&place.allow, client.address) {
            place.counts.queries.add();
            place.counts.forbidden.add();
            return admit::turn_away(packet, out);
        }
        let from = Asker { address: client.address, transport: Transport::Udp, near };
        match place.answer(packet, self.sight, from, dice, out) {
            Action::Answer | Action::Refuse => true,
            Action::Drop => false,
            Action::Relay(errand) => match place.relay.take(packet, errand, from, out) {
                Taken::Now => true,
                Taken::Later(reply) => {
                    let port = Arc::clone(self.port);
                    relayed.spawn(async move { port.send(&reply.await, client).await });
                    false
                }
            },
        }
    }
}

impl Port {
    fn asked(&self, client: &Client) -> IpAddr {
        match client.asked {
            Asked::Bound => self.address.ip(),
            Asked::V4(info) => Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr)).into(),
            Asked::V6(info) => info.ipi6_addr.s6_addr.into(),
        }
    }

    fn send_all(&self, place: &Place, outs: &[Vec<u8>], clients: &[Client]) {
        let mut left = outs.iter().zip(clients);
        while left.len() > 0 {
            let sent = match left.len() {
                1 => self.send_one(left.clone()),
                2..=FEW => self.send_some::<FEW>(left.clone()),
                _ => self.send_some::<BATCH>(left.clone()),
            };
            match sent {
                Ok(sent) => {
                    left.by_ref().take(sent.max(1)).for_each(drop);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A full send buffer is the client's network being slow; it asks again. Nobody
                // is to wait here, least of all for him.
                Err(error) => {
                    place.counts.dropped.add();
                    if let Some((_, client)) = left.next() {
                        debug!(peer = %client.address, error = %Chain(&error), "cannot send answer");
                    }
                }
            }
        }
    }

    fn send_one<'a>(
        &self,
        mut letters: impl Iterator<Item = (&'a Vec<u8>, &'a Client)>,
    ) -> io::Result<usize> {
        let Some((out, client)) = letters.next() else { return Ok(0) };
        match client.asked {
            Asked::Bound => sendto(&self.socket, out, QUICKLY, &client.address)?,
            _ => send_from(self.socket.as_raw_fd(), out, client)?,
        };
        Ok(1)
    }

    fn send_some<'a, const N: usize>(
        &self,
        mut letters: impl ExactSizeIterator<Item = (&'a Vec<u8>, &'a Client)>,
    ) -> io::Result<usize> {
        if self.any {
            return self.send_one(letters);
        }
        let count = letters.len().min(N);
        let mut letters: [_; N] = array::from_fn(|_| match letters.next() {
            Some((out, client)) => Letter::new(out, client.address),
            None => Letter::new(&[], NOBODY),
        });
        let mut headers = letters
            .each_mut()
            .map(|letter| MMsgHdr::new_with_addr(&letter.to, &letter.text, &mut letter.control));
        let headers = headers.get_mut(..count).unwrap_or_default();
        Ok(sendmmsg(&self.socket, headers, QUICKLY)?)
    }
}

const QUICKLY: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// An answer in the form in which several are sent.
struct Letter<'a> {
    to: SocketAddrAny,
    text: [IoSlice<'a>; 1],
    control: SendAncillaryBuffer<'a, 'a, 'a>,
}

impl<'a> Letter<'a> {
    fn new(text: &'a [u8], to: SocketAddr) -> Self {
        let text = [IoSlice::new(text)];
        Self { to: to.as_any(), text, control: SendAncillaryBuffer::default() }
    }
}

/// Sends an answer from the address that was asked.
pub(super) fn send_from(socket: RawFd, answer: &[u8], client: &Client) -> io::Result<usize> {
    let parts = [IoSlice::new(answer)];
    let to = SockaddrStorage::from(client.address);
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket, &parts, control, MsgFlags::MSG_DONTWAIT, Some(&to))
    };
    Ok(match &client.asked {
        Asked::Bound => send(&[]),
        Asked::V4(info) => send(&[ControlMessage::Ipv4PacketInfo(info)]),
        Asked::V6(info) => send(&[ControlMessage::Ipv6PacketInfo(info)]),
    }?)
}
