//! `pilot-agent proxy`: the agent, with Envoy under it, in the foreground: `hawser run --envoy`.

use clap::{Arg, ArgMatches, Command};

use super::{
    Ended, Flags, LOG, Word, context, flags,
    flags::Means::{Nothing, Own, Setting},
    given, ours, switch, text,
};
use crate::{
    cli::complain,
    config::source::{self, Flag},
};

pub(super) fn command() -> Command {
    Command::new("proxy")
        .about("Run the agent with Envoy under it")
        .arg(Arg::new("role").value_name("TYPE").num_args(0..))
        .args(flags::arguments(&WORDS))
}

pub(super) fn run(matches: &ArgMatches) -> Ended {
    let context = context();
    let role = matches.get_many::<String>("role").and_then(|mut all| all.next());
    if let Some(role) = role.filter(|role| *role != "sidecar") {
        complain(format_args!(
            "Error: {role}: on a machine this agent is for a sidecar; leave it out, or say sidecar"
        ));
        return Ended::Wrong;
    }
    let flags = Flags { words: &WORDS, given: matches, environment: &context.environment };
    for line in flags.unheeded() {
        complain(format_args!("pilot-agent: {line}"));
    }
    let mut settings = flags.settings();
    settings.retain(|flag| flag.key != "envoy.concurrency" || flag.value != "0");
    if let Some(parts) = given(matches, "proxyComponentLogLevel").filter(|own| !own.is_empty()) {
        let level = given(matches, "proxyLogLevel").unwrap_or("warning");
        settings.retain(|flag| flag.key != "envoy.log_level");
        settings.push(Flag {
            name: "proxyComponentLogLevel",
            key: "envoy.log_level".to_owned(),
            value: format!("{level},{parts}"),
        });
    }
    let level = given(matches, "log_output_level").map(level).filter(|level| !level.is_empty());
    settings.extend(level.map(|value| Flag {
        name: "log_output_level",
        key: "log.level".to_owned(),
        value,
    }));
    if matches.get_one::<bool>("log_as_json") == Some(&true) {
        let (key, value) = ("log.format".to_owned(), "json".to_owned());
        settings.push(Flag { name: "log_as_json", key, value });
    }
    for word in LOG.iter().skip(2).filter(|word| given(matches, word.long).is_some()) {
        complain(format_args!("pilot-agent: --{} does nothing here", word.long));
    }
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    let without = sources.values.variable("DISABLE_ENVOY").is_some_and(|it| it.value == "true");
    let words: &[&str] = if without { &["run"] } else { &["run", "--envoy"] };
    Ended::As(ours(words, settings))
}

/// `default:info,dns:debug` in our words: `info,dns=debug`. Parts that there are none of here are
/// left out.
pub(super) fn level(text: &str) -> String {
    let mut levels = Vec::new();
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (scope, level) = item.split_once(':').unwrap_or(("default", item));
        let level = match level {
            "none" => "off",
            "fatal" => "error",
            level => level,
        };
        if matches!(scope, "default" | "all") {
            levels.insert(0, level.to_owned());
        } else if let Some((_, part)) = SCOPES.iter().find(|(theirs, _)| *theirs == scope) {
            levels.push(format!("{part}={level}"));
        }
    }
    levels.dedup();
    levels.join(",")
}

/// What parts of the agent are called, there and here.
const SCOPES: [(&str, &str); 11] = [
    ("ads", "xds"),
    ("xdsproxy", "xds"),
    ("dns", "dns"),
    ("sds", "sds"),
    ("ca", "identity"),
    ("cache", "identity"),
    ("citadelclient", "identity"),
    ("security", "identity"),
    ("healthcheck", "health"),
    ("probes", "health"),
    ("wasm", "wasm"),
];

pub(super) const WORDS: [Word; 11] = [
    Word { long: "domain", means: Setting("node.domain"), ..text() },
    Word { long: "serviceCluster", means: Setting("node.service"), ..text() },
    Word { long: "proxyLogLevel", means: Setting("envoy.log_level"), ..text() },
    Word { long: "proxyComponentLogLevel", means: Own, ..text() },
    Word { long: "concurrency", means: Setting("envoy.concurrency"), ..text() },
    Word { long: "meshConfig", means: Nothing("/etc/istio/config/mesh is read"), ..text() },
    Word { long: "stsPort", means: Nothing("there is no token exchange"), ..text() },
    Word { long: "tokenManagerPlugin", means: Nothing("there is no token exchange"), ..text() },
    Word { long: "templateFile", means: Nothing("the bootstrap is made without one"), ..text() },
    Word { long: "outlierLogPath", means: Nothing("Envoy is not told of it"), ..text() },
    Word { long: "profiling", means: Nothing("there is no profiler"), ..switch() },
];
