//! `hawser services check`: everything that is wrong with a file of services, at once.

use std::path::PathBuf;

use clap::Args;

use super::{
    super::{Context, Exit, complain_of, say},
    trial::{Tried, tried},
};
use crate::config::problem::Problems;

/// Check a file of services, and show every problem at once
///
/// FILE may be any: one that is still being written, or one for another machine. It is read as the
/// agent would read it, with the files that it names. If there are filters or transcoding in it, the
/// Envoy of this machine is asked whether it would take them (`envoy --mode validate`); nothing else is
/// asked of anybody. `hawser check` checks the file that is in use, and the settings besides.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 in order, 78 something is wrong: a line for each problem, with file and line, what was found \
and what was expected.\n\n\
Examples:\n  hawser services check\n  hawser services check ./services.yaml\n  \
hawser services check /etc/hawser/services.d")]
pub(super) struct Check {
    /// The file, or a directory of such files; that of the settings (services.file) if none is said
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let mut file = super::file(context);
        if let Some(path) = &self.file {
            file.wanted.settings.file.clone_from(path);
        }
        match file.read() {
            Ok(read) => {
                let path = file.wanted.settings.file.display();
                let services = read.services.len();
                let more = match tried(&read, context) {
                    Tried::Refused(problems) => return complain_of(&Problems(problems)),
                    Tried::Nothing => String::new(),
                    Tried::Taken => ", and Envoy takes its filters".to_owned(),
                    Tried::Unasked(why) => format!("; no Envoy was asked about its filters: {why}"),
                };
                say(format_args!("{path} is in order: {services} ports of services{more}"));
                Exit::Ok
            }
            Err(problems) => complain_of(&Problems(problems)),
        }
    }
}
