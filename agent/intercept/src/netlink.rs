//! Netlink by hand: what the kernel is asked and told of addresses, routes and sockets.
//!
//! A message is a header, a fixed part that belongs to its kind, and attributes. The kernel answers
//! while it is asked, so nobody waits; the time limit is there for a kernel that does not.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// Do what the message says.
pub(crate) const REQUEST: u16 = 0x01;
/// Say how it went.
const ACK: u16 = 0x04;
/// Only if it is not there yet.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// If it is not there yet.
pub(crate) const CREATE: u16 = 0x400;
/// All that there are.
const DUMP: u16 = 0x300;
/// What was dumped has changed meanwhile.
const INTERRUPTED: u16 = 0x10;

/// The end of a dump, and the answer to a request.
const DONE: u16 = 3;
const ERROR: u16 = 2;

const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
/// The kernel fills no more than this at a time.
const BUFFER: usize = 64 * 1024;
const PATIENCE_SECONDS: i64 = 5;
/// How often a dump is begun anew because something has changed meanwhile.
const ATTEMPTS: usize = 8;
/// Flags in the number of an attribute: nested, and in network order.
const ATTRIBUTE_NUMBER: u16 = 0x3fff;

/// A message that is being written.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// A message with its fixed part.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut body = fixed.to_vec();
        pad(&mut body);
        Self { kind, flags, body }
    }

    /// The same with one more attribute.
    #[must_use]
    pub(crate) fn with(mut self, number: u16, value: &[u8]) -> Self {
        // Nothing here is longer than a path.
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.body.extend_from_slice(&length.to_ne_bytes());
        self.body.extend_from_slice(&number.to_ne_bytes());
        self.body.extend_from_slice(value);
        pad(&mut self.body);
        self
    }

    fn written(&self, more_flags: u16, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut written = Vec::with_capacity(HEADER + self.body.len());
        written.extend_from_slice(&length.to_ne_bytes());
        written.extend_from_slice(&self.kind.to_ne_bytes());
        written.extend_from_slice(&(self.flags | more_flags).to_ne_bytes());
        written.extend_from_slice(&sequence.to_ne_bytes());
        written.extend_from_slice(&0_u32.to_ne_bytes());
        written.extend_from_slice(&self.body);
        written
    }
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(ATTRIBUTE), 0);
}

/// A conversation with one part of the kernel.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// With the part that speaks this protocol.
    pub(crate) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let family = AddressFamily::Netlink;
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has something done, and says how that went.
    pub(crate) fn request(&mut self, message: &Message) -> Result<(), Errno> {
        let sequence = self.send(message, REQUEST | ACK)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            for Received { kind, body, .. } in self.receive(&mut buffer, sequence)? {
                if kind == ERROR {
                    return verdict(body);
                }
            }
        }
    }

    /// What `read` makes of the kind and the body of each that there is.
    pub(crate) fn dump<T>(
        &mut self,
        message: &Message,
        read: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Errno> {
        for _ in 0..ATTEMPTS {
            if let Some(all) = self.dumped(message, &read)? {
                return Ok(all);
            }
        }
        Err(Errno::EBUSY)
    }

    /// One attempt; none, if something has changed meanwhile.
    fn dumped<T>(
        &mut self,
        message: &Message,
        read: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Errno> {
        let sequence = self.send(message, REQUEST | DUMP)?;
        let mut buffer = vec![0; BUFFER];
        let (mut all, mut whole) = (Vec::new(), true);
        loop {
            for Received { kind, flags, body } in self.receive(&mut buffer, sequence)? {
                whole &= flags & INTERRUPTED == 0;
                match kind {
                    DONE => return Ok(whole.then_some(all)),
                    ERROR => {
                        verdict(body)?;
                        return Ok(whole.then_some(all));
                    }
                    _ => all.extend(read(kind, body)),
                }
            }
        }
    }

    fn send(&mut self, message: &Message, flags: u16) -> Result<u32, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let written = message.written(flags, self.sequence);
        send(self.socket.as_raw_fd(), &written, MsgFlags::empty())?;
        Ok(self.sequence)
    }

    /// What came in one datagram in answer to `sequence`.
    fn receive<'a>(
        &self,
        buffer: &'a mut [u8],
        sequence: u32,
    ) -> Result<impl Iterator<Item = Received<'a>> + use<'a>, Errno> {
        let length = loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
                other => break other?,
            }
        };
        let mut rest: &[u8] = buffer.get(..length).unwrap_or_default();
        let all = std::iter::from_fn(move || {
            let length = usize::try_from(u32_at(rest, 0)?).ok()?;
            let (kind, flags) = (u16_at(rest, 4)?, u16_at(rest, 6)?);
            let said = u32_at(rest, 8)?;
            let body = rest.get(HEADER..length)?;
            rest = rest.get(length.next_multiple_of(ATTRIBUTE)..).unwrap_or_default();
            Some((said, Received { kind, flags, body }))
        });
        // What is left of a conversation that was broken off is of no interest.
        Ok(all.filter(move |(said, _)| *said == sequence).map(|(_, received)| received))
    }
}

struct Received<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

/// How a request went: zero, or the number of an error with its sign turned.
fn verdict(body: &[u8]) -> Result<(), Errno> {
    match u32_at(body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw(code.wrapping_neg())),
        None => Err(Errno::EBADMSG),
    }
}

/// The attributes behind the fixed part of a message: number and value.
pub(crate) fn attributes(body: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(fixed.next_multiple_of(ATTRIBUTE)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let number = u16_at(rest, 2)? & ATTRIBUTE_NUMBER;
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(length.next_multiple_of(ATTRIBUTE)..).unwrap_or_default();
        Some((number, value))
    })
}

/// A number in the order of this machine.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let message = Message::new(7, 1, &[1, 2, 3, 4]).with(5, b"abcde").with(6, &[]);

        let written = message.written(4, 9);

        assert_eq!(u32_at(&written, 0), Some(u32::try_from(written.len()).unwrap()));
        assert_eq!((u16_at(&written, 4), u16_at(&written, 6)), (Some(7), Some(5)));
        let read: Vec<_> = attributes(&written[HEADER..], 4).collect();
        assert_eq!(read, [(5, &b"abcde"[..]), (6, &[][..])]);
    }

    #[test]
    fn attributes_that_are_cut_or_none_end_the_reading() {
        for bytes in [&[][..], &[4], &[3, 0, 1, 0], &[9, 0, 1, 0, 1, 2], &[0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(attributes(bytes, 0).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn the_kernel_says_what_interfaces_there_are_and_refuses_what_is_none() {
        let mut kernel = Netlink::open(SockProtocol::NetlinkRoute).unwrap();
        // RTM_GETLINK, and a header of ifinfomsg.
        let links = Message::new(18, 0, &[0; 16]);
        let seen = kernel.dump(&links, |kind, _| Some(kind)).unwrap();
        assert!(!seen.is_empty(), "there is always a loopback");
        // RTM_DELRULE of a family that is none.
        let wrong = Message::new(33, 0, &[0xfe; 12]);
        assert!(kernel.request(&wrong).is_err());
    }
}
