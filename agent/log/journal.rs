//! Events in the journal's own protocol.
//!
//! Every field becomes a field of the entry, so `journalctl -u hawser PEER=…` and `-o json` work;
//! and the values stand in the message too, because plain `journalctl` shows nothing else.

use std::{fmt, os::unix::net::UnixDatagram};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// A layer that sends each event to journald as one datagram.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Connected to the journal of this machine, if it has one.
    pub(super) fn open() -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        // An agent that waits for a stuck journal serves nobody.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let entry = entry(*event.metadata().level(), event.metadata().target(), &fields);
        // There is nobody left to tell that the journal does not listen.
        drop(self.socket.send(&entry));
    }
}

/// The message and the fields of one event, as text.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.to_owned());
    }
}

impl Fields {
    fn record(&mut self, field: &Field, mut value: String) {
        if value.len() > MAX_VALUE {
            let end =
                value.char_indices().map(|(at, _)| at).take_while(|at| *at <= MAX_VALUE).last();
            value.truncate(end.unwrap_or_default());
        }
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

/// One entry in journald's export form.
fn entry(level: Level, target: &str, fields: &Fields) -> Vec<u8> {
    let mut message = fields.message.clone();
    // What journals know an event by says nothing to people.
    for (name, value) in fields.others.iter().filter(|(name, _)| *name != "message_id") {
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

const SOCKET: &str = "/run/systemd/journal/socket";
const MAX_VALUE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_the_message_and_in_fields_of_their_own() {
        let fields = Fields {
            message: "certificate renewed".into(),
            others: vec![("expires_in", "24h".into()), ("error", "a b".into())],
        };

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
