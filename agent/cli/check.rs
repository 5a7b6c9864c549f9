//! `hawser check`: everything that is wrong with the configuration, at once.

use std::time::SystemTime;

use clap::Args;

use super::{Context, Exit, complain_of, say};
use crate::{
    check,
    config::{
        Config,
        problem::{Problem, Problems},
        source,
    },
};

/// Check the configuration, and show every problem at once
///
/// Ends with 78 if there are any.
#[derive(Debug, Args)]
pub(super) struct Check {}

impl Check {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Exit {
        let sources = source::read(&context.paths, &context.environment, &context.flags);
        let found = Config::load(&context.paths, &sources);
        let problems = match &found {
            Ok(config) if sources.joined => files(config),
            Ok(_) => vec![not_joined()],
            Err(problems) => problems.0.clone(),
        };
        match Problems::check(problems) {
            Ok(()) => {
                say("the configuration is in order");
                Exit::Ok
            }
            Err(problems) => complain_of(&problems),
        }
    }
}

/// A machine that has its certificate needs no token any more.
fn files(config: &Config) -> Vec<Problem> {
    let mut problems = check::roots(config);
    if !config.paths.state().join(hawser_identity::FILE).exists() {
        problems.extend(check::token(config, SystemTime::now()));
    }
    problems
}

/// What to do where nothing has been done yet.
pub(super) fn not_joined() -> Problem {
    Problem::with("this machine has not joined a mesh", "run `hawser join BUNDLE`")
}
