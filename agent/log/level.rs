//! How much is logged: what the configuration says, and what somebody has said since, for a while or
//! until the configuration is read again.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use hawser_audit::LEVEL_CHANGED;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::info;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Which events are logged: a level, and other levels for single parts.
///
/// `info`, `warn,hawser_dns=debug`, and in fewer words `dns=debug`; Istio's `dns:debug` is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<String>);

/// Where what is logged is decided. All clones decide the same.
#[derive(Debug, Clone)]
pub struct Level {
    handle: Arc<reload::Handle<EnvFilter, Registry>>,
    standing: watch::Sender<Standing>,
}

#[derive(Debug, Clone)]
struct Standing {
    configured: Filter,
    /// What was said since, and until when it holds.
    said: Option<(Filter, Option<Instant>)>,
}

/// How much is logged, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelStatus {
    /// What holds.
    pub level: String,
    /// What the configuration says (log.level).
    pub configured: String,
    /// Seconds until the configuration holds again, if that is by itself.
    pub ends_in: Option<u64>,
}

impl Level {
    /// What was started with `filter` is changed by `handle`.
    pub(super) fn new(filter: &Filter, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        let standing = Standing { configured: filter.clone(), said: None };
        Self { handle: Arc::new(handle), standing: watch::Sender::new(standing) }
    }

    /// The configuration says so: whatever was said besides is over. Whether that changes anything.
    pub fn configure(&self, filter: Filter) -> bool {
        let before = self.standing.borrow().clone();
        let changed = before.holds() != &filter;
        self.standing.send_replace(Standing { configured: filter, said: None });
        self.take_effect();
        changed
    }

    /// Somebody says so, for as long or until the configuration is read; or has nothing more to say,
    /// and that of the configuration holds.
    pub fn say(&self, filter: Option<Filter>, lasting: Option<Duration>) {
        let until = lasting.and_then(|lasting| Instant::now().checked_add(lasting));
        self.standing.send_modify(|standing| standing.said = filter.map(|filter| (filter, until)));
        self.take_effect();
        self.tell();
    }

    /// Goes back when the time of what was said is over. Cancel safe; never ends but for that.
    pub async fn lapse(&self) {
        let mut changes = self.standing.subscribe();
        loop {
            let until = changes.borrow_and_update().said.as_ref().and_then(|(_, until)| *until);
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => break,
                Ok(()) = changes.changed() => {}
            }
        }
        self.say(None, None);
    }

    /// How much is logged now.
    pub fn status(&self) -> LevelStatus {
        let standing = self.standing.borrow();
        let until = standing.said.as_ref().and_then(|(_, until)| *until);
        LevelStatus {
            level: standing.holds().to_string(),
            configured: standing.configured.to_string(),
            ends_in: until
                .map(|until| until.saturating_duration_since(Instant::now()).as_secs().max(1)),
        }
    }

    /// Who reads the log later is to know why there is so much of it, or so little.
    fn tell(&self) {
        let LevelStatus { level, ends_in, .. } = self.status();
        let ends_in = ends_in.map(Duration::from_secs);
        info!(message_id = LEVEL_CHANGED.id, level, ?ends_in, "log level changed");
    }

    fn take_effect(&self) {
        let filter = self.standing.borrow().holds().compiled();
        // Fails only when nothing is written any more.
        drop(self.handle.reload(filter));
    }
}

impl Standing {
    fn holds(&self) -> &Filter {
        self.said.as_ref().map_or(&self.configured, |(filter, _)| filter)
    }
}

impl Filter {
    pub(super) fn compiled(&self) -> EnvFilter {
        EnvFilter::new(self.to_string())
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self(vec!["info".to_owned()])
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items: Vec<_> = text.split(',').map(str::trim).collect();
        if items.len() > MOST {
            return Err(format!("more than {MOST} parts"));
        }
        items.into_iter().map(directive).collect::<Result<_, _>>().map(Self)
    }
}

/// `level`, `part=level`, or Istio's `scope:level`.
fn directive(item: &str) -> Result<String, String> {
    let Some((part, word)) = item.rsplit_once('=').or_else(|| item.rsplit_once(':')) else {
        return level(item).map(str::to_owned);
    };
    let word = level(word.trim())?;
    let part = part.trim();
    if ["default", "all"].contains(&part) {
        return Ok(word.to_owned());
    }
    let (first, rest) = part.split_once("::").map_or((part, None), |(a, b)| (a, Some(b)));
    let scope = SCOPES.iter().find(|(scope, _)| *scope == first).map(|(_, ours)| *ours);
    let bare = scope.unwrap_or(first);
    let bare = bare.strip_prefix("hawser_").unwrap_or(bare);
    let known = match bare {
        "hawser" | "agent" => "hawser".to_owned(),
        ours if PARTS.contains(&ours) => format!("hawser_{ours}"),
        other if OTHERS.contains(&other) => other.to_owned(),
        _ => {
            return Err(format!(
                "{part:?} is no part of the agent; there are agent, {}",
                PARTS.join(", ")
            ));
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    match rest {
        Some(rest) if rest.is_empty() || !rest.chars().all(plain) => {
            Err(format!("{part:?} is no part of the agent"))
        }
        Some(rest) => Ok(format!("{known}::{rest}={word}")),
        None => Ok(format!("{known}={word}")),
    }
}

fn level(word: &str) -> Result<&'static str, String> {
    let known = LEVELS.iter().find(|(said, _)| *said == word).map(|(_, level)| *level);
    known.ok_or_else(|| {
        format!("{word:?} is no level; there are error, warn, info, debug, trace and off")
    })
}

/// As they are said here and elsewhere, and what they are called here.
const LEVELS: [(&str, &str); 9] = [
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
    ("off", "off"),
    ("warning", "warn"),
    ("fatal", "error"),
    ("none", "off"),
];
/// What Istio's agent calls its parts, where that is another name.
const SCOPES: [(&str, &str); 8] = [
    ("xdsproxy", "xds"),
    ("ads", "xds"),
    ("ca", "identity"),
    ("cache", "identity"),
    ("citadelclient", "identity"),
    ("security", "identity"),
    ("healthcheck", "health"),
    ("iptables", "intercept"),
];
/// The crates of the agent, without what all of their names begin with.
const PARTS: [&str; 17] = [
    "dns",
    "envoy",
    "export",
    "fit",
    "health",
    "identity",
    "intercept",
    "istiod",
    "lastgood",
    "node",
    "pki",
    "resolved",
    "rt",
    "sds",
    "state",
    "wasm",
    "xds",
];
/// What else has something to say.
const OTHERS: [&str; 8] =
    ["h2", "hyper", "hyper_util", "rustls", "tokio", "tokio_util", "tonic", "tower"];
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use std::{pin::pin, task};

    use tracing::level_filters::LevelFilter;

    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        text.parse::<Filter>().map(|filter| filter.to_string())
    }

    #[test]
    fn levels_are_said_in_our_words_and_in_istios() {
        let table = [
            ("info", "info"),
            ("warning", "warn"),
            ("off", "off"),
            ("warn,hawser_dns=debug", "warn,hawser_dns=debug"),
            ("info, dns=trace", "info,hawser_dns=trace"),
            ("default:info,xdsproxy:debug", "info,hawser_xds=debug"),
            ("all:none", "off"),
            ("hawser_dns::relay=trace", "hawser_dns::relay=trace"),
            ("dns::relay:trace", "hawser_dns::relay=trace"),
            ("agent=debug,h2=warn", "hawser=debug,h2=warn"),
        ];
        for (said, meant) in table {
            assert_eq!(parsed(said).as_deref(), Ok(meant), "{said}");
            assert_eq!(parsed(said).unwrap(), parsed(meant).unwrap(), "{said}");
            meant.parse::<EnvFilter>().unwrap();
        }
    }

    #[test]
    fn a_misspelt_level_or_part_is_no_filter() {
        for bad in [
            "wrn",
            "",
            "info,hawser_dns",
            "hawser_dns=debg",
            "INFOO",
            "dsn=debug",
            "dns::=info",
            "dns::a[b]=info",
            "=debug",
            ",",
            "info,,warn",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        assert!(parsed(&vec!["info"; 33].join(",")).is_err());
    }

    fn level() -> (Level, reload::Layer<EnvFilter, Registry>) {
        let filter = Filter::default();
        let (layer, handle) = reload::Layer::<EnvFilter, Registry>::new(filter.compiled());
        (Level::new(&filter, handle), layer)
    }

    #[tokio::test]
    async fn what_is_said_for_a_while_ends_by_itself() {
        let (level, _layer) = level();
        let loudest = || level.handle.with_current(EnvFilter::max_level_hint).unwrap();
        level.say("debug".parse().ok(), Some(Duration::from_millis(20)));
        let status = level.status();
        assert_eq!((status.level.as_str(), status.ends_in), ("debug", Some(1)));
        assert_eq!(loudest(), Some(LevelFilter::DEBUG));

        level.lapse().await;

        let expected =
            LevelStatus { level: "info".into(), configured: "info".into(), ends_in: None };
        assert_eq!(level.status(), expected);
        assert_eq!(loudest(), Some(LevelFilter::INFO));
    }

    #[tokio::test]
    async fn a_newer_word_replaces_the_one_before_with_its_end() {
        let (level, _layer) = level();
        level.say("debug".parse().ok(), Some(Duration::from_millis(20)));
        let mut lapse = pin!(level.lapse());
        let mut around = task::Context::from_waker(task::Waker::noop());
        assert!(lapse.as_mut().poll(&mut around).is_pending());

        level.say("trace".parse().ok(), None);

        assert!(lapse.as_mut().poll(&mut around).is_pending());
        assert_eq!(level.status().level, "trace");
    }

    #[test]
    fn the_configuration_ends_what_was_said() {
        let (level, _layer) = level();
        level.say("debug".parse().ok(), None);
        assert!(level.configure("info".parse().unwrap()));
        assert!(!level.configure("info".parse().unwrap()));
        assert_eq!(level.status().level, "info");
    }
}
