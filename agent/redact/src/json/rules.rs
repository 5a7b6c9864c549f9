//! What is secret in Envoy's configuration, by where it stands.

use crate::names::{is_secret, plain};

/// What is to be done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be seen, its strings as text.
    Keep,
    /// Strings are not to be seen.
    Mask,
    /// All of it is not to be seen.
    Hide,
}

/// What there is around a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    Plain,
    /// Headers or metadata that are added: the names may be seen.
    Added,
    /// Headers that are asked for: those of everybody may be seen.
    Matched,
}

/// An object or an array that has begun.
#[derive(Debug)]
pub(super) struct Frame {
    object: bool,
    key: Option<Key>,
    context: Context,
    /// What the object says it is about, by its `name` or `key`.
    about: About,
}

/// The key whose value comes.
#[derive(Debug)]
struct Key {
    plain: String,
    secret: bool,
    /// Whether its value comes, and not yet the colon.
    behind: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Unknown,
    /// A header that every request has, and no secret.
    Everybody,
    Secret,
}

impl Frame {
    pub(super) fn new(object: bool, context: Context) -> Self {
        Self { object, key: None, context, about: About::Unknown }
    }

    pub(super) fn awaits_key(&self) -> bool {
        self.object && !self.key.as_ref().is_some_and(|key| key.behind)
    }

    pub(super) fn key(&mut self, said: &str) {
        let plain = plain(said);
        let listed = HIDDEN.iter().any(|hidden| plain == *hidden);
        // A list of them says what they are called.
        let list = plain.ends_with("secrets") || LISTS.contains(&plain.as_str());
        let secret = listed || is_secret(said) && !list;
        self.key = Some(Key { plain, secret, behind: false });
    }

    pub(super) fn colon(&mut self) {
        if let Some(key) = &mut self.key {
            key.behind = true;
        }
    }

    pub(super) fn comma(&mut self) {
        self.key = None;
    }

    /// What is to be done with the value that comes, if it is no string.
    pub(super) fn verdict(&self) -> Verdict {
        match &self.key {
            Some(key) if key.secret => Verdict::Hide,
            Some(key) if self.about == About::Secret && is_value(&key.plain) => Verdict::Hide,
            _ => Verdict::Keep,
        }
    }

    /// A string has come: what is to be done with it.
    pub(super) fn heard(&mut self, said: &str) -> Verdict {
        let key = self.key.as_ref().map_or("", |key| key.plain.as_str());
        let names = matches!(key, "name" | "key" | "headername" | "header");
        let verdict = match (self.verdict(), self.context) {
            (Verdict::Keep, Context::Plain) => Verdict::Keep,
            (Verdict::Keep, _) if names || key == "@type" || key.ends_with("action") => {
                Verdict::Keep
            }
            (Verdict::Keep, Context::Matched) if self.about == About::Everybody => Verdict::Keep,
            _ => Verdict::Mask,
        };
        if names && verdict == Verdict::Keep {
            self.about = about(said);
        }
        verdict
    }

    /// What there is around what begins within.
    pub(super) fn below(&self) -> Context {
        let key = self.key.as_ref().map_or("", |key| key.plain.as_str());
        match self.context {
            Context::Matched if self.about == About::Everybody => Context::Plain,
            Context::Plain if ADDED.iter().any(|added| key.ends_with(added)) => Context::Added,
            Context::Plain if key == "headers" || key == "queryparameters" => Context::Matched,
            around => around,
        }
    }
}

fn about(name: &str) -> About {
    if name.starts_with(':') || EVERYBODYS.contains(&name) {
        About::Everybody
    } else if is_secret(name) {
        About::Secret
    } else {
        About::Unknown
    }
}

fn is_value(plain: &str) -> bool {
    ["value", "match", "exact", "prefix", "suffix", "regex", "contains"]
        .iter()
        .any(|part| plain.contains(part))
}

/// Fields whose values are left out whole: keys, and what people put into configuration.
const HIDDEN: [&str; 14] = [
    "privatekey",
    "privatekeyprovider",
    "secret",
    "genericsecret",
    "localjwks",
    "inlinebytes",
    "inlinestring",
    "inlinecode",
    "keyvalues",
    "callcredentials",
    "authenticationtoken",
    // Of a Wasm module.
    "configuration",
    "rootconfiguration",
    "jwks",
];
/// Fields of many things, by whose names secrets are to be expected.
const LISTS: [&str; 3] = ["secrets", "fromcookies", "cookies"];
const ADDED: [&str; 5] =
    ["headerstoadd", "headerstoset", "headerstoappend", "initialmetadata", "headersmutations"];
/// Headers whose values are of use and nobody's secret.
const EVERYBODYS: [&str; 6] =
    ["host", "content-type", "user-agent", "accept", "x-forwarded-proto", "grpc-timeout"];
