//! Datagrams by the batch: what a program does that does nothing else with them.

use std::convert::Infallible;
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::Result;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Datagrams that are taken at once.
pub(crate) const BATCH: usize = 64;
/// Octets of the longest.
pub(crate) const LONGEST: usize = 512;

/// Makes an answer of a query where it lies, and says how long it is.
pub(crate) type Answer = fn(&mut [u8; LONGEST], usize) -> usize;

/// Answers for ever.
pub(crate) fn serve(listen: SocketAddrV4, answer: Answer) -> Result<Infallible> {
    let socket = UdpSocket::bind(listen)?;
    let mut buffers = [[0; LONGEST]; BATCH];
    let mut incoming = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut outgoing = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut lengths = [0; BATCH];
    let mut peers: [Option<SockaddrIn>; BATCH] = [None; BATCH];
    loop {
        let mut count = 0;
        let mut room = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let wait = MsgFlags::MSG_WAITFORONE;
        let came = recvmmsg(socket.as_raw_fd(), &mut incoming, room.iter_mut(), wait, None)?;
        for ((message, length), peer) in came.zip(&mut lengths).zip(&mut peers) {
            (*length, *peer) = (message.bytes, message.address);
            count += 1;
        }
        for (buffer, length) in buffers.iter_mut().zip(&mut lengths).take(count) {
            *length = answer(buffer, *length);
        }
        let mut answers = buffers.each_ref().map(|buffer| [IoSlice::new(buffer)]);
        for ((answer, buffer), length) in answers.iter_mut().zip(&buffers).zip(lengths) {
            *answer = [IoSlice::new(buffer.get(..length).unwrap_or_default())];
        }
        let answers = answers.iter().take(count);
        let none = MsgFlags::empty();
        // Whoever asks does not wait for what does not fit; it counts as lost.
        let _lost = sendmmsg(socket.as_raw_fd(), &mut outgoing, answers, peers, [], none);
    }
}

/// Gives back what came.
pub(crate) fn echo(_: &mut [u8; LONGEST], length: usize) -> usize {
    length
}

/// Gives every name one address that nobody may keep.
pub(crate) fn address(message: &mut [u8; LONGEST], length: usize) -> usize {
    const RECORD: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1];
    // The question is what comes before any OPT record, and ends behind the root's octet.
    let question = message.get(12..length).unwrap_or_default();
    let Some(root) = question.iter().position(|octet| *octet == 0) else { return length };
    let end = 12 + root + 5;
    let [_, _, high, low, _, _, _, answers, _, _, _, additionals, ..] = message;
    (*high, *low, *answers, *additionals) = (*high | 0x80, 0x80, 1, 0);
    let Some(room) = message.get_mut(end..end + RECORD.len()) else { return length };
    room.copy_from_slice(&RECORD);
    end + RECORD.len()
}
