//! What the running agent says, asked at its socket.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
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
    asked(&paths.admin_socket()).map_err(|error| no_answer(paths, &error))
}

/// The same, for whoever says by themselves that nobody answers.
pub(super) fn answered(paths: &Paths) -> io::Result<(String, Snapshot)> {
    asked(&paths.admin_socket()).map(|(text, snapshot, _)| (text, snapshot))
}

/// The answer, if there is one; for whoever can do without.
pub(super) fn quietly(paths: &Paths) -> Option<Snapshot> {
    tried(paths).ok()
}

/// The answer, or why there is none; for whoever tells that in words of their own.
pub(super) fn tried(paths: &Paths) -> io::Result<Snapshot> {
    asked(&paths.admin_socket()).map(|(_, snapshot, _)| snapshot)
}

/// Tells that nobody answers, and what to do.
pub(super) fn no_answer(paths: &Paths, error: &io::Error) -> Exit {
    complain(format_args!("hawser: no answer at {}: {error}", paths.admin_socket().display()));
    complain(remedy(error, paths.is_system()));
    Exit::Down
}

fn asked(socket: &Path) -> io::Result<(String, Snapshot, i32)> {
    let mut said = Said::ask(socket, "/status")?;
    let mut text = String::new();
    said.body.by_ref().take(MAX_ANSWER).read_to_string(&mut text)?;
    if said.status != 200 {
        return Err(io::Error::other(text.trim_end().to_owned()));
    }
    let snapshot = serde_json::from_str(&text).map_err(|error| strange(&error))?;
    Ok((text, snapshot, said.pid))
}

/// What an agent has answered.
pub(crate) struct Said {
    /// 200, or what is wrong.
    pub(crate) status: u16,
    pub(crate) body: BufReader<UnixStream>,
    pid: i32,
}

impl Said {
    /// Asks for a path. The body ends with the connection.
    pub(crate) fn ask(socket: &Path, path: &str) -> io::Result<Self> {
        Self::send(socket, "GET", path)
    }

    /// Has the agent do something.
    pub(super) fn post(socket: &Path, path: &str) -> io::Result<Self> {
        Self::send(socket, "POST", path)
    }

    fn send(socket: &Path, method: &str, path: &str) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        let pid = getsockopt(&stream, PeerCredentials)?.pid();
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let asked = stream.write_all(format!("{method} {path} HTTP/1.0\r\n\r\n").as_bytes());
        // A door that closes at once is none for whoever asks.
        let closed = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                io::ErrorKind::PermissionDenied.into()
            }
            _ => error,
        };
        asked.map_err(closed)?;
        let mut body = BufReader::new(stream);
        let first = line(&mut body).map_err(closed)?;
        if first.is_empty() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| strange(&"no HTTP; is it of another version?"))?;
        for _ in 0..MAX_HEADERS {
            if line(&mut body)?.is_empty() {
                return Ok(Self { status, body, pid });
            }
        }
        Err(strange(&"too many headers"))
    }

    /// All of a short answer.
    pub(crate) fn text(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.body.by_ref().take(MAX_ANSWER).read_to_string(&mut text)?;
        Ok(text)
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(MAX_LINE).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn strange(what: &impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("this is not what an agent says: {what}"))
}

fn remedy(error: &io::Error, system: bool) -> &'static str {
    match (error.kind(), system) {
        (io::ErrorKind::PermissionDenied, _) => {
            "hawser: ask as root, as the user that the agent runs as, or as one of that user's group"
        }
        (_, true) => "hawser: is it running? `systemctl status hawser`, `journalctl -u hawser`",
        (_, false) => "hawser: is it running? `hawser run` with the same --root starts it",
    }
}

/// A value as it may stand behind the `?` of an address.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._*".contains(&octet);
    text.bytes()
        .map(|octet| match octet {
            octet if plain(octet) => char::from(octet).to_string(),
            octet => format!("%{octet:02X}"),
        })
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 4 * 1024 * 1024;
const MAX_LINE: u64 = 16 * 1024;
const MAX_HEADERS: usize = 64;
