//! Sockets that the service manager hands over: `$LISTEN_FDS` and the like, see sd_listen_fds(3).
//!
//! They come as numbers, and a number says nothing of who owns what it stands for. Each is sent to
//! ourselves, as one program sends a descriptor to another: what arrives is a descriptor that is
//! owned, that programs which we start do not get to see, and for which nothing has to be believed.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tracing::warn;

/// A descriptor that was handed over, and what it is called.
#[derive(Debug)]
pub struct Handed {
    /// The name, as it was stored under or as the socket unit says.
    pub name: String,
    /// The descriptor, closed when it is dropped.
    pub fd: OwnedFd,
}

/// The first of those that are handed over (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// More than any unit has.
const MOST: RawFd = 256;

/// What is handed over to this process, by `$LISTEN_PID`, `$LISTEN_FDS` and `$LISTEN_FDNAMES`.
///
/// To be called once, before anything else opens a file: the numbers are taken at their word.
pub(super) fn all(pid: Option<&str>, count: Option<&str>, names: Option<&str>) -> Vec<Handed> {
    let ours = pid.and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let count = count.and_then(|count| count.parse().ok()).filter(|_| ours).unwrap_or(0);
    let mut names = names.unwrap_or_default().split(':');
    let mut all = Vec::new();
    for number in FIRST..FIRST.saturating_add(count).min(FIRST + MOST) {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        match owned(number) {
            Ok(fd) => {
                // The number itself is of no more use; what it stands for lives on.
                if let Err(error) = nix::unistd::close(number) {
                    warn!(name, %error, "a socket that was handed over cannot be closed");
                }
                all.push(Handed { name, fd });
            }
            Err(error) => warn!(name, %error, "a socket that was handed over cannot be used"),
        }
    }
    all
}

/// A descriptor of our own for what `number` stands for.
pub(super) fn owned(number: RawFd) -> io::Result<OwnedFd> {
    let (here, there) = UnixDatagram::pair()?;
    let rights = [ControlMessage::ScmRights(&[number])];
    sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b"1")], &rights, MsgFlags::empty(), None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0];
    recvmsg(&there, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::other("lost on its way"))
}
