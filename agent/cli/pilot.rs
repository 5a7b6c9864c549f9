//! The words of Istio's pilot-agent, for scripts that know nothing else: what is called
//! `pilot-agent`, by a link, takes `proxy`, `request`, `wait`, `istio-iptables` and `version`.
//!
//! What has a counterpart is translated into a command of ours. A flag that does nothing here is
//! told of once; one that makes no sense on a machine is refused.

mod flags;
mod http;
mod iptables;
mod proxy;
mod request;
mod version;
mod wait;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{Command, error::ErrorKind};

use self::flags::{Flags, Word, given, switch, text};
use super::{Context, Exit, complain, say};
use crate::config::source::Flag;

/// How a command of pilot-agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// As one of ours did.
    As(Exit),
    /// All went well.
    Well,
    /// It could not be done.
    Failed,
    /// The command line is wrong, or what it asks for; Istio's ends so whatever is wrong.
    Wrong,
    /// Rules do not do what they are to.
    Invalid,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        Self::from(match ended {
            Ended::As(exit) => exit as u8,
            Ended::Well => 0,
            Ended::Failed => 1,
            Ended::Invalid => 126,
            Ended::Wrong => 255,
        })
    }
}

/// Whether it is this name that the program was called by.
pub(super) fn is_meant(arguments: &[OsString]) -> bool {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    name.is_some_and(|name| name == NAME)
}

/// Runs a command line of pilot-agent.
pub(super) fn main(arguments: Vec<OsString>) -> ExitCode {
    let text = |own: OsString| own.into_string().unwrap_or_default();
    let arguments: Vec<String> = arguments.into_iter().map(text).collect();
    let command = command();
    let matches = command.clone().try_get_matches_from(flags::known(arguments, &command));
    let matches = match matches {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp) => {
            drop(error.print());
            return Ended::Well.into();
        }
        Err(error) => {
            let text = error.to_string();
            complain(text.replacen("error: ", "Error: ", 1).trim_end());
            return Ended::Wrong.into();
        }
    };
    let ended = match matches.subcommand() {
        Some(("proxy", given)) => proxy::run(given),
        Some(("request", given)) => request::run(given),
        Some(("wait", given)) => wait::run(given),
        Some(("version", given)) => version::run(given),
        Some(("istio-iptables", given)) => iptables::run(given),
        _ => {
            let mut command = command;
            say(command.render_help());
            Ended::Well
        }
    };
    ended.into()
}

fn command() -> Command {
    Command::new(NAME)
        .about("The words of Istio's pilot-agent, as hawser does them")
        .disable_version_flag(true)
        .args(flags::arguments(&LOG).map(|own| own.global(true)))
        .subcommand(proxy::command())
        .subcommand(request::command())
        .subcommand(wait::command())
        .subcommand(version::command())
        .subcommand(iptables::command())
}

/// A command of ours, with settings that are said beside it.
fn ours(words: &[&str], flags: Vec<Flag>) -> Exit {
    let words = std::iter::once("hawser").chain(words.iter().copied());
    super::run(words.map(OsString::from), flags)
}

/// The settings in effect.
fn context() -> Context {
    Context::of(super::Common { root: None, set: Vec::new() })
}

fn failed(error: &dyn std::error::Error) -> Ended {
    complain(format_args!("Error: {}", hawser_rt::Chain(error)));
    Ended::Wrong
}

/// How much is logged, and where to, of every command.
const LOG: [Word; 6] = [
    Word { long: "log_output_level", ..text() },
    Word { long: "log_as_json", ..switch() },
    Word { long: "log_target", ..text() },
    Word { long: "log_stacktrace_level", ..text() },
    Word { long: "log_caller", ..text() },
    Word { long: "vklog", ..text() },
];

const NAME: &str = "pilot-agent";

#[cfg(test)]
mod tests;
