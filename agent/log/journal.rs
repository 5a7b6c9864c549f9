//! Events in the journal's own protocol.
//!
//! Every field becomes a field of the entry, so `journalctl -u hawser PEER=…` and `-o json` work;
//! and the values stand in the message too, because plain `journalctl` shows nothing else.

use std::{os::unix::net::UnixDatagram, path::Path};

use hawser_audit::Kind;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::fields::{Fields, ID};

/// A layer that sends each event to journald as one datagram.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Connected to the journal of this machine, if it has one: that under `root`, or the system's.
    pub(super) fn open(root: &Path) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        let system = Path::new("/").join(SOCKET);
        [root.join(SOCKET), system].iter().find(|path| socket.connect(path).is_ok())?;
        // An agent that waits for a stuck journal serves nobody.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::within(MAX_VALUE);
        event.record(&mut fields);
        let entry = entry(*event.metadata().level(), event.metadata().target(), &fields);
        // There is nobody left to tell that the journal does not listen.
        drop(self.socket.send(&entry));
    }
}

/// An entry of a command that has changed something and then ends, beside what it has said to whoever
/// typed it. Nobody is told where there is no journal.
pub(crate) fn note(root: &Path, kind: Kind, message: &str, others: &[(&'static str, String)]) {
    let Some(journal) = Journal::open(root) else { return };
    let mut fields = Fields::within(MAX_VALUE);
    message.clone_into(&mut fields.message);
    fields.others = others.to_vec();
    fields.others.push((ID, kind.id.to_owned()));
    drop(journal.socket.send(&entry(Level::INFO, "hawser::cli", &fields)));
}

/// One entry in journald's export form.
fn entry(level: Level, target: &str, fields: &Fields) -> Vec<u8> {
    let mut message = fields.message.clone();
    // What journals know an event by says nothing to people.
    for (name, value) in fields.others.iter().filter(|(name, _)| *name != ID) {
        let plain = value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
        message.push_str(&match plain && !value.is_empty() {
            true => format!(" {name}={value}"),
            false => format!(" {name}={value:?}"),
        });
    }
    let mut entry = Vec::with_capacity(256);
    put(&mut entry, "MESSAGE", &message);
    put(&mut entry, "PRIORITY", priority(level));
    put(&mut entry, "SYSLOG_IDENTIFIER", "hawser");
    put(&mut entry, "TARGET", target);
    for (name, value) in &fields.others {
        put(&mut entry, &name.to_ascii_uppercase().replace('.', "_"), value);
    }
    entry
}

/// Values of more than one line are sent with their length, so they cannot pose as fields.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

const SOCKET: &str = "run/systemd/journal/socket";
const MAX_VALUE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_the_message_and_in_fields_of_their_own() {
        let mut fields = Fields::within(100);
        fields.message = "certificate renewed".into();
        fields.others = vec![("expires_in", "24h".into()), ("error", "a b".into())];

        let entry = String::from_utf8(entry(Level::WARN, "hawser", &fields)).unwrap();

        assert_eq!(
            entry,
            "MESSAGE=certificate renewed expires_in=24h error=\"a b\"\nPRIORITY=4\n\
             SYSLOG_IDENTIFIER=hawser\nTARGET=hawser\nEXPIRES_IN=24h\nERROR=a b\n"
        );
    }

    #[test]
    fn a_value_of_two_lines_cannot_pose_as_a_field() {
        let mut entry = Vec::new();
        put(&mut entry, "ERROR", "a\nPRIORITY=0");

        assert_eq!(entry, b"ERROR\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
    }
}
