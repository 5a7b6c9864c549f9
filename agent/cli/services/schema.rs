//! `hawser services schema`: what editors complete and check a file of services by.

use clap::Args;

use super::super::{Context, Exit, say};

/// Print the JSON Schema of the file of services
///
/// Editors that speak YAML complete and check the file by it. It is in /usr/share/doc/hawser as
/// services.schema.json too.
#[derive(Debug, Args)]
#[command(after_help = "\
Example, as the first line of the file:\n  \
# yaml-language-server: $schema=/usr/share/doc/hawser/services.schema.json")]
pub(super) struct Schema {}

impl Schema {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, _context: &Context) -> Exit {
        say(SCHEMA.trim_end());
        Exit::Ok
    }
}

const SCHEMA: &str = include_str!("../../../packaging/docs/services.schema.json");
