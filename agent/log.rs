//! Logs: structured events to a terminal, as JSON, or to the journal.

mod journal;

use std::{io, io::IsTerminal as _, str::FromStr};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::config::source::Environment;

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

/// How much is written, which can be changed while the process runs.
#[derive(Debug, Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// From now on.
    pub fn set(&self, level: EnvFilter) {
        // Fails only when nothing is written any more.
        drop(self.0.reload(level));
    }
}

/// Starts logging, once for the process.
pub fn start(level: EnvFilter, format: Format, environment: &Environment) -> Level {
    let under_systemd = environment.get("JOURNAL_STREAM").is_some_and(is_stderr);
    let journal = match format {
        Format::Journal => journal::Journal::open(),
        Format::Auto if under_systemd => journal::Journal::open(),
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
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr)
            .boxed(),
    };
    // Fails only if a subscriber is there already, and then that one does the work.
    let (level, handle) = reload::Layer::new(level);
    drop(tracing_subscriber::registry().with(layer.with_filter(level)).try_init());
    Level(handle)
}
