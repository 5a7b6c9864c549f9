//! What a service manager keeps of an agent: descriptors that it is sent, and hands to the next one.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tempfile::TempDir;

/// A descriptor store, as systemd has one for a service. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Store(Arc<Mutex<Vec<(String, OwnedFd)>>>);

impl Store {
    /// The names of what it keeps.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.lock().iter().map(|(name, _)| name.clone()).collect()
    }

    /// Lets go of all, as when the service is stopped.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    /// Heeds what the agent has told.
    pub(crate) fn heed(&self, told: &str, came: Vec<OwnedFd>) {
        let field = |name| told.lines().find_map(|line| line.strip_prefix(name));
        let name = field("FDNAME=").unwrap_or("stored").to_owned();
        let mut kept = self.0.lock();
        if field("FDSTORE=") == Some("1") {
            kept.extend(came.into_iter().map(|fd| (name.clone(), fd)));
        } else if field("FDSTOREREMOVE=") == Some("1") {
            kept.retain(|(known, _)| *known != name);
        }
    }

    /// A command that hands over all of it to the program whose words follow.
    pub(crate) fn hands_over(&self) -> Result<Handing> {
        let directory = tempfile::tempdir().context("make a directory")?;
        let path = directory.path().join("handing");
        let listener = UnixListener::bind(&path).context("bind a socket")?;
        let copies = |(name, fd): &(String, OwnedFd)| Ok((name.clone(), fd.try_clone()?));
        let all: io::Result<Vec<_>> = self.0.lock().iter().map(copies).collect();
        let all = all.context("copy descriptors")?;
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let mut command: Vec<OsString> = ["python3", "-c", TAKE].map(OsString::from).into();
        command.extend([path.into_os_string(), names.join(":").into()]);
        thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else { return };
            for (_, fd) in all {
                let fds = [fd.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&fds));
                // One who has ended takes no more.
                let word = [IoSlice::new(b"1")];
                if sendmsg(&stream, &word, &mut control, SendFlags::NOSIGNAL).is_err() {
                    return;
                }
            }
        });
        Ok(Handing { command, _directory: directory })
    }
}

/// What hands over; to be kept until that is done.
#[derive(Debug)]
pub(crate) struct Handing {
    pub(crate) command: Vec<OsString>,
    _directory: TempDir,
}

/// A datagram that is there, and what came with it.
pub(crate) fn receive(socket: impl AsFd, text: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(text)];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, parts, &mut control, flags)?;
    let came = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let came = came.collect();
    Ok((received.bytes, came))
}

/// Takes as many descriptors as there are names, puts them where systemd does, and becomes the
/// program.
const TAKE: &str = r"
import os, socket, sys
path, names, words = sys.argv[1], sys.argv[2], sys.argv[3:]
names = names.split(':') if names else []
stream = socket.socket(socket.AF_UNIX)
stream.connect(path)
taken = []
while len(taken) < len(names):
    _, fds, _, _ = socket.recv_fds(stream, 1, 1)
    # Above where they are to be.
    taken += [os.dup2(fd, 400 + len(taken), inheritable=False) for fd in fds]
for number, fd in enumerate(taken):
    os.dup2(fd, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(taken)), LISTEN_FDNAMES=':'.join(names))
os.execvp(words[0], words)
";
