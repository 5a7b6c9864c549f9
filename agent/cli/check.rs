//! `hawser check`: everything that is wrong with the configuration, at once.

use clap::Args;

use super::{Context, Exit, complain_of, say};
use crate::{
    check::{self, Token},
    config::{
        Config,
        problem::Problems,
        source::{self, Sources},
    },
};

pub(super) use crate::life::reload::not_joined;

/// Check the configuration, and show every problem at once
///
/// Ends with 78 if there are any.
#[derive(Debug, Args)]
pub(super) struct Check {}

impl Check {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Exit {
        let sources = source::read(&context.paths, &context.environment, &context.flags);
        match judged(context, &sources) {
            Ok(()) => {
                say("the configuration is in order");
                Exit::Ok
            }
            Err(problems) => complain_of(&problems),
        }
    }
}

fn judged(context: &Context, sources: &Sources) -> Result<(), Problems> {
    if !sources.joined {
        let loaded = Config::load(&context.paths, sources);
        let mut problems = loaded.err().map_or_else(Vec::new, |problems| problems.0);
        problems.push(not_joined());
        return Err(Problems(problems));
    }
    // A machine that has its certificate needs no token any more.
    let identity = context.paths.state().join(hawser_identity::FILE).exists();
    let token = if identity { Token::NotNeeded } else { Token::Needed };
    check::all(&context.paths, sources, token).map(drop)
}
