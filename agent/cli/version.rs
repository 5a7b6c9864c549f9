//! `hawser version`.

use clap::Args;
use serde_json::json;

use super::{Exit, say};

/// Show the version
#[derive(Debug, Args)]
pub(super) struct Version {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Version {
    pub(super) fn run(&self) -> Exit {
        if self.json {
            say(json!({ "version": crate::VERSION }));
        } else {
            say(format_args!("hawser {}", crate::VERSION));
        }
        Exit::Ok
    }
}
