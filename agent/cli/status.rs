//! `hawser status`: what the running agent says of itself.

use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use clap::Args;

use super::{Context, Exit, complain, say};
use crate::status::{Snapshot, State};

/// Show what the running agent says of itself
///
/// Ends with 0 if it is ready, 1 if it is not yet, 3 if nobody answers.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let socket = context.paths.admin_socket();
        let (text, snapshot) = match asked(&socket) {
            Ok(answer) => answer,
            Err(error) => {
                complain(format_args!("hawser: no answer at {}: {error}", socket.display()));
                complain(remedy(&error, context.paths.is_system()));
                return Exit::Down;
            }
        };
        if self.json {
            say(text.trim_end());
        } else {
            say(screen(&snapshot).trim_end());
        }
        match snapshot.state {
            State::Ready => Exit::Ok,
            State::Starting => Exit::Failed,
        }
    }
}

fn asked(socket: &Path) -> io::Result<(String, Snapshot)> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut text)?;
    if text.is_empty() {
        // The agent closes the door on whoever is neither root nor its own user.
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let snapshot = serde_json::from_str(&text)
        .map_err(|error| io::Error::other(format!("this is not what an agent says: {error}")))?;
    Ok((text, snapshot))
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

fn screen(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        text.push_str(&format!("{name:<10} {value}\n"));
    };
    row("hawser", format!("{} {}", snapshot.version, state(snapshot)));
    row("node", snapshot.node.clone());
    row("identity", identity(snapshot));
    if let Some(trouble) = &snapshot.identity.trouble {
        row("", trouble.clone());
    }
    row("istiod", istiod(snapshot));
    if let Some(trouble) = &snapshot.istiod.trouble {
        row("", trouble.clone());
    }
    row("names", names(snapshot));
    if let Some(dns) = &snapshot.dns {
        row("dns", dns.to_string());
    }
    row("envoy", envoy(snapshot));
    if let Some(trouble) = &snapshot.relay.trouble {
        row("", trouble.clone());
    }
    for (type_url, seen) in &snapshot.relay.types {
        if let Some(refused) = seen.rejected.as_ref().filter(|_| seen.sent_is_refused()) {
            row("", format!("refuses {}: {}", short(type_url), one_line(refused)));
        }
    }
    text
}

fn state(snapshot: &Snapshot) -> String {
    match snapshot.state {
        State::Ready => "ready".to_owned(),
        State::Starting => format!("starting, waits for {}", snapshot.waits_for.join(", ")),
    }
}

fn identity(snapshot: &Snapshot) -> String {
    match (&snapshot.identity.spiffe_id, snapshot.identity.expires_in) {
        (Some(id), Some(left)) if left > 0 => format!("{id}, valid for {}", span(left)),
        (Some(id), _) => format!("{id}, expired"),
        (None, _) => "none yet".to_owned(),
    }
}

fn istiod(snapshot: &Snapshot) -> String {
    let state = if snapshot.istiod.connected { "connected" } else { "not connected" };
    format!("{} {state}", snapshot.istiod.address)
}

fn envoy(snapshot: &Snapshot) -> String {
    let (secrets, streams) = (snapshot.secrets.accepted > 0, snapshot.relay.joined > 0);
    let has = match (secrets, streams) {
        (true, true) => "has certificates and configuration",
        (true, false) => "has certificates; no stream to istiod",
        (false, true) => "has configuration; no certificate asked for yet",
        (false, false) => "has not asked for anything yet",
    };
    format!("{}, {has}", snapshot.envoy)
}

/// The last part of a type URL, which is the part that people say.
fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}

/// What somebody else said, in a length that fits a screen; `--json` has all of it.
fn one_line(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = line.take(MAX_LINE).collect();
    if line.chars().count() == MAX_LINE {
        line.push('…');
    }
    line
}

fn names(snapshot: &Snapshot) -> String {
    match snapshot.names {
        Some(count) => format!("{count} from istiod"),
        None => "none yet; every name is relayed".to_owned(),
    }
}

/// Seconds as people say them: the two largest units.
fn span(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_LINE: usize = 200;
const MAX_ANSWER: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_two_units() {
        let table = [(5, "5s"), (65, "1m 5s"), (86_399, "23h 59m"), (90_000, "1d 1h")];
        for (seconds, said) in table {
            assert_eq!(span(seconds), said);
        }
    }
}
