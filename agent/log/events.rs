//! What was told last, in memory: for who asks the agent itself, where a journal has forgotten it or
//! there is none.
//!
//! Events of level info and above, as many as fit into a bound. Whoever tells of something waits for
//! nobody but others who do: what is asked a thousand times a second tells nothing at these levels.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hawser_redact::{MASK, is_secret, text};
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use tracing::{Event, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::fields::Fields;

/// The last events.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Told>>,
    bytes: usize,
}

/// One event.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    /// Seconds since 1970.
    at: f64,
    level: &'static str,
    target: &'static str,
    message: String,
    #[serde(serialize_with = "as_object", skip_serializing_if = "Vec::is_empty")]
    fields: Vec<(&'static str, String)>,
}

impl Events {
    /// All of them, the oldest first, a JSON object a line.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        // Whoever reads slowly holds up nobody.
        let events: Vec<_> = self.0.lock().events.iter().cloned().collect();
        for told in events {
            serde_json::to_writer(&mut *to, &*told)?;
            to.write_all(b"\n")?;
        }
        Ok(())
    }

    fn keep(&self, told: Told) {
        let mut kept = self.0.lock();
        kept.bytes = kept.bytes.saturating_add(told.size());
        kept.events.push_back(Arc::new(told));
        while kept.events.len() > MOST || kept.bytes > LARGEST {
            let Some(oldest) = kept.events.pop_front() else { return };
            kept.bytes = kept.bytes.saturating_sub(oldest.size());
        }
    }
}

impl Told {
    fn of(event: &Event<'_>, now: SystemTime) -> Self {
        let mut said = Fields::within(LONGEST);
        event.record(&mut said);
        let meta = event.metadata();
        // Nothing secret is told; should it be once, it ends here.
        let clean = |(name, value): (&'static str, String)| {
            (name, if is_secret(name) { MASK.to_owned() } else { text(&value) })
        };
        Self {
            at: now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64(),
            level: meta.level().as_str(),
            target: meta.target(),
            message: text(&said.message),
            fields: said.others.into_iter().map(clean).collect(),
        }
    }

    fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(_, value)| value.len() + OVERHEAD).sum();
        self.message.len() + fields + OVERHEAD
    }
}

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.keep(Told::of(event, SystemTime::now()));
    }
}

fn as_object<S: Serializer>(
    fields: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

const MOST: usize = 512;
const LARGEST: usize = 256 << 10;
const LONGEST: usize = 1 << 10;
/// What an event or a field takes besides its text.
const OVERHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use serde_json::Value;
    use tracing::Dispatch;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// As long as there is only one subscriber, a thread without any may say for all of them that
    /// nothing is of interest.
    static ANOTHER: OnceLock<Dispatch> = OnceLock::new();

    /// What is kept of what `tell` tells.
    fn kept_of(tell: impl FnOnce()) -> Vec<Value> {
        ANOTHER.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.clone());
        tracing::subscriber::with_default(subscriber, tell);
        let mut lines = Vec::new();
        events.write(&mut lines).unwrap();
        assert!(lines.len() < LARGEST + MOST * 200);
        let lines = String::from_utf8(lines).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_event_is_kept_with_all_it_says_and_without_secrets() {
        let kept = kept_of(|| {
            tracing::warn!(
                error = "GET http://me:pw@host/: Bearer abcdefgh1234",
                client_secret = "x",
                n = 1,
                "no answer"
            );
        });

        assert_eq!(kept[0]["level"], "WARN");
        assert_eq!(kept[0]["message"], "no answer");
        let fields = &kept[0]["fields"];
        assert_eq!(fields["error"], format!("GET http://{MASK}@host/: Bearer {MASK}"));
        assert_eq!(
            (fields["client_secret"].as_str(), fields["n"].as_str()),
            (Some(MASK), Some("1"))
        );
        assert!(kept[0]["at"].as_f64().unwrap() > 1e9);
    }

    #[test]
    fn the_oldest_go_when_there_are_many_or_large_ones() {
        let many = kept_of(|| (0..2 * MOST).for_each(|n| tracing::info!(n, "told")));
        assert_eq!(many.len(), MOST);
        assert_eq!(many[0]["fields"]["n"], MOST.to_string());

        let long = "long ".repeat(LONGEST);
        let large = kept_of(|| (0..MOST).for_each(|_| tracing::info!(long, "told")));
        assert!(large.len() < MOST && large.len() > 100, "{}", large.len());
    }
}
