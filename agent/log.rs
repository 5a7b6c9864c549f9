//! Logs: structured events to a terminal, as JSON, or to the journal; and the last of them in memory,
//! for who asks the agent itself.

pub mod events;
mod fields;
mod journal;
pub mod level;
mod words;

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    str::FromStr,
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

use self::{
    events::Events,
    level::{Filter, Level},
};
use crate::config::source::Environment;

pub(crate) use self::journal::note;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The journal under systemd, text elsewhere.
    Auto,
    /// Lines for people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// The journal's own socket: the fields stay fields.
    Journal,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "journal" => Ok(Self::Journal),
            _ => Err(()),
        }
    }
}

/// Whether standard error is the stream to the journal that systemd speaks of. The variable alone
/// is inherited by every terminal and every job below a unit.
fn is_stderr(stream: &str) -> bool {
    nix::sys::stat::fstat(io::stderr())
        .is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// What of logging can be looked at and changed while the process runs.
#[derive(Debug, Clone)]
pub struct Log {
    /// How much is written.
    pub level: Level,
    /// What was told last.
    pub events: Events,
}

/// Starts logging, once for the process. The journal's socket is looked for under `root` first.
pub fn start(filter: &Filter, format: Format, root: &Path, environment: &Environment) -> Log {
    let under_systemd = environment.get("JOURNAL_STREAM").is_some_and(is_stderr);
    let journal = match format {
        Format::Journal => journal::Journal::open(root),
        Format::Auto if under_systemd => journal::Journal::open(root),
        _ => None,
    };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match (journal, format) {
        (Some(journal), _) => journal.boxed(),
        (None, Format::Json) => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(io::stderr)
            .boxed(),
        (None, _) => tracing_subscriber::fmt::layer()
            .fmt_fields(words::Words)
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr)
            .boxed(),
    };
    let events = Events::default();
    let (layer_filter, handle) = reload::Layer::<EnvFilter, Registry>::new(filter.compiled());
    // Always the same of it, so that a flood of details does not push out what has happened.
    let ring = events.clone().with_filter(LevelFilter::INFO);
    // What has been done to a machine is written however little else is.
    let trail = filter_fn(|event| event.fields().field(fields::ID).is_some());
    let layer_filter = layer_filter.or(trail.with_max_level_hint(LevelFilter::INFO));
    // Fails only if a subscriber is there already, and then that one does the work.
    let told = tracing_subscriber::registry().with(layer.with_filter(layer_filter)).with(ring);
    drop(told.try_init());
    Log { level: Level::new(filter, handle), events }
}
