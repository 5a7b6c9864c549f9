//! Flags as Istio's programs take them, each with what it means here.

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

use crate::config::source::{Environment, Flag};

/// A flag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) kind: Kind,
    pub(super) means: Means,
    pub(super) default: &'static str,
}

/// What it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// Yes or no; yes, if it stands there alone.
    Switch,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// What its command makes of it.
    Own,
    /// A setting of ours.
    Setting(&'static str),
    /// Nothing, and why.
    Nothing(&'static str),
    /// Something that is refused, and why.
    Refused(&'static str),
}

/// A flag with a text.
pub(super) const fn text() -> Word {
    Word { long: "", short: None, kind: Kind::Text, means: Means::Own, default: "" }
}

/// A flag that is yes or no.
pub(super) const fn switch() -> Word {
    Word { kind: Kind::Switch, ..text() }
}

/// The same for clap.
pub(super) fn arguments(words: &[Word]) -> impl Iterator<Item = Arg> {
    words.iter().map(|word| {
        let own = Arg::new(word.long).long(word.long).action(ArgAction::Set);
        let own = match word.short {
            Some(short) => own.short(short),
            None => own,
        };
        let help = match word.means {
            Means::Own => String::new(),
            Means::Setting(key) => format!("sets {key}"),
            Means::Nothing(why) => format!("does nothing: {why}"),
            Means::Refused(why) => format!("refused: {why}"),
        };
        let own = own.help(help);
        let own = if word.default.is_empty() { own } else { own.default_value(word.default) };
        match word.kind {
            Kind::Text => own.num_args(1).allow_hyphen_values(true),
            Kind::Switch => own
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(yes_or_no),
        }
    })
}

/// As Go reads it.
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

/// The arguments without flags that neither `pilot-agent` nor `proxy` knows: both pass over those,
/// with what could be their value.
pub(super) fn known(arguments: Vec<String>, command: &Command) -> Vec<String> {
    let proxy = command.find_subcommand("proxy");
    let all: Vec<&Arg> =
        command.get_arguments().chain(proxy.into_iter().flat_map(Command::get_arguments)).collect();
    let named = |flag: &str| {
        let long = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
        all.iter().find(|own| own.get_long() == Some(long))
    };
    let mut kept = Vec::new();
    let mut rest = arguments.into_iter().peekable();
    kept.extend(rest.next());
    let mut others = false;
    while let Some(argument) = rest.next() {
        let flag = argument.starts_with('-') && argument.len() > 1;
        if others || !flag || ["-h", "--help", "--"].contains(&argument.as_str()) {
            // Behind any other command, clap says what it does not know.
            others |= !flag && argument != "proxy" && command.find_subcommand(&argument).is_some();
            kept.push(argument);
            continue;
        }
        let whole = argument.contains('=');
        match named(&argument).filter(|_| argument.starts_with("--")) {
            Some(own) => {
                let takes = own.get_num_args().is_some_and(|count| count.min_values() > 0);
                kept.push(argument);
                if takes && !whole {
                    kept.extend(rest.next());
                }
            }
            None => {
                if !whole {
                    rest.next_if(|next| !next.starts_with('-'));
                }
            }
        }
    }
    kept
}

/// What was said, by flags and, for some of them, by variables.
pub(super) struct Flags<'a> {
    pub(super) words: &'static [Word],
    pub(super) given: &'a ArgMatches,
    pub(super) environment: &'a Environment,
}

/// What a flag was given on the command line.
pub(super) fn given<'a>(matches: &'a ArgMatches, long: &str) -> Option<&'a str> {
    matches.get_one::<String>(long).map(String::as_str)
}

impl Flags<'_> {
    /// What was said of one; the command line is stronger than a variable.
    fn said(&self, word: &Word) -> Option<String> {
        if self.given.value_source(word.long) == Some(ValueSource::CommandLine) {
            return match word.kind {
                Kind::Text => given(self.given, word.long).map(str::to_owned),
                Kind::Switch => self.given.get_one::<bool>(word.long).map(bool::to_string),
            };
        }
        // Settings have their variables; what else can be said by one is said here.
        if matches!(word.means, Means::Setting(_)) {
            return None;
        }
        let variable = word.long.to_ascii_uppercase().replace('-', "_");
        let value = self.environment.get(&variable)?;
        match word.kind {
            Kind::Text => Some(value.to_owned()),
            Kind::Switch => yes_or_no(value).ok().map(|yes| yes.to_string()),
        }
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, long: &str) -> bool {
        let word = self.words.iter().find(|word| word.long == long);
        word.and_then(|word| self.said(word)).is_some_and(|value| value == "true")
    }

    /// Settings that were said.
    pub(super) fn settings(&self) -> Vec<Flag> {
        let setting = |word: &Word| {
            let Means::Setting(key) = word.means else { return None };
            let value = self.said(word)?;
            Some(Flag { name: word.long, key: key.to_owned(), value })
        };
        self.words.iter().filter_map(setting).collect()
    }

    /// Why something that was said is refused.
    pub(super) fn refused(&self) -> Option<String> {
        self.words.iter().find_map(|word| {
            let Means::Refused(why) = word.means else { return None };
            let said = self.said(word).filter(|value| !value.is_empty() && value != "false")?;
            Some(format!("--{}={said}: {why}", word.long))
        })
    }

    /// What was said and does nothing, with why.
    pub(super) fn unheeded(&self) -> Vec<String> {
        let nothing = |word: &Word| {
            let Means::Nothing(why) = word.means else { return None };
            let source = self.given.value_source(word.long);
            let said = source == Some(ValueSource::CommandLine);
            said.then(|| format!("--{} does nothing here: {why}", word.long))
        };
        self.words.iter().filter_map(nothing).collect()
    }
}
