//! `pilot-agent version`, in the forms that scripts take apart.

use clap::{ArgMatches, Command};
use serde_json::json;

use super::{Ended, Word, flags, given, switch, text};
use crate::{
    VERSION,
    cli::{complain, say},
};

pub(super) fn command() -> Command {
    Command::new("version").about("Show the version").args(flags::arguments(&WORDS))
}

pub(super) fn run(matches: &ArgMatches) -> Ended {
    let short = matches.get_one::<bool>("short") == Some(&true);
    match given(matches, "output").unwrap_or_default() {
        "" if short => say(format_args!("client version: {VERSION}")),
        "" => say(format_args!(
            "client version: version.BuildInfo{{Version:\"{VERSION}\", GitRevision:\"{REVISION}\", \
             GolangVersion:\"\", BuildStatus:\"Clean\", GitTag:\"{VERSION}\"}}"
        )),
        "json" => say(format_args!(
            "{:#}",
            json!({ "clientVersion": {
                "version": VERSION,
                "revision": REVISION,
                "golang_version": "",
                "status": "Clean",
                "tag": VERSION,
            } })
        )),
        "yaml" => say(format_args!(
            "clientVersion:\n  golang_version: \"\"\n  revision: {REVISION}\n  status: Clean\n  \
             tag: {VERSION}\n  version: {VERSION}\n"
        )),
        _ => {
            complain("Error: --output must be 'yaml' or 'json'");
            return Ended::Wrong;
        }
    }
    Ended::Well
}

/// Who has built it, where Istio's says which commit.
const REVISION: &str = "hawser";

const WORDS: [Word; 2] = [
    Word { long: "short", short: Some('s'), ..switch() },
    Word { long: "output", short: Some('o'), ..text() },
];
