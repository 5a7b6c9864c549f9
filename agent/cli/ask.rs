//! What the running agent says of itself, asked at its socket.

use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::{Exit, complain};
use crate::{config::paths::Paths, status::Snapshot};

/// The answer, as text and as what it means. That nobody answers is told here.
pub(super) fn snapshot(paths: &Paths) -> Result<(String, Snapshot), Exit> {
    answer(paths).map(|(text, snapshot, _)| (text, snapshot))
}

/// The same, and the process that has answered, as the kernel knows it here: the number that the
/// agent itself knows may be another's outside of its container.
pub(super) fn answer(paths: &Paths) -> Result<(String, Snapshot, i32), Exit> {
    let socket = paths.admin_socket();
    asked(&socket).map_err(|error| {
        complain(format_args!("hawser: no answer at {}: {error}", socket.display()));
        complain(remedy(&error, paths.is_system()));
        Exit::Down
    })
}

fn asked(socket: &Path) -> io::Result<(String, Snapshot, i32)> {
    let stream = UnixStream::connect(socket)?;
    let pid = getsockopt(&stream, PeerCredentials)?.pid();
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut text)?;
    if text.is_empty() {
        // The agent closes the door on whoever is neither root nor its own user.
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let snapshot = serde_json::from_str(&text)
        .map_err(|error| io::Error::other(format!("this is not what an agent says: {error}")))?;
    Ok((text, snapshot, pid))
}

fn remedy(error: &io::Error, system: bool) -> &'static str {
    match (error.kind(), system) {
        (io::ErrorKind::PermissionDenied, _) => {
            "hawser: ask as root, or as the user that the agent runs as"
        }
        (_, true) => "hawser: is it running? `systemctl status hawser`, `journalctl -u hawser`",
        (_, false) => "hawser: is it running? `hawser run` with the same --root starts it",
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 1024 * 1024;
