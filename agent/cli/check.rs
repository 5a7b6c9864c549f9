//! `hawser check`: everything that is wrong with the configuration, at once.

use clap::Args;

use super::{Context, Exit, complain_of, say};
use crate::{
    check::{self, ServicesFile, Token},
    config::{
        Config,
        problem::{Problem, Problems},
        services::suffice,
        source::{self, Sources},
    },
};

pub(super) use crate::life::reload::not_joined;

/// Check the configuration, and show every problem at once
///
/// The settings, what they amount to, the files that they point at, and the file of services, if there
/// is one: nothing is started, called or changed. What is wrong is told with the key, or with file and
/// line, what was found and what was expected.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 in order, 78 something is wrong.\n\n\
Examples:\n  hawser check\n  hawser check --set services.file=./services.yaml")]
pub(super) struct Check {}

impl Check {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Exit {
        let sources = source::read(&context.paths, &context.environment, &context.flags);
        let mut problems = judged(context, &sources);
        let file = ServicesFile::said(&context.paths, &sources.values);
        if file.used {
            problems.extend(file.read().err().unwrap_or_default());
        }
        match Problems::check(problems) {
            Ok(()) => {
                say("the configuration is in order");
                Exit::Ok
            }
            Err(problems) => complain_of(&problems),
        }
    }
}

/// What is wrong with the settings, and with the files that joining brings.
fn judged(context: &Context, sources: &Sources) -> Vec<Problem> {
    if !sources.joined && !suffice(&context.paths, &sources.values) {
        let loaded = Config::load(&context.paths, sources);
        let mut problems = loaded.err().map_or_else(Vec::new, |problems| problems.0);
        problems.push(not_joined());
        return problems;
    }
    // A machine that has its certificate needs no token any more; without istiod none ever does.
    let identity = context.paths.state().join(hawser_identity::FILE).exists();
    let token = match (sources.joined, identity) {
        (false, _) => Token::Irrelevant,
        (true, true) => Token::NotNeeded,
        (true, false) => Token::Needed,
    };
    check::all(&context.paths, sources, token).err().map_or_else(Vec::new, |problems| problems.0)
}
