//! The configuration, read again while the agent runs.
//!
//! All of it is read and judged before anything is taken over: a wrong file changes nothing. What
//! can change at run time does, and the rest is named. What the agent follows by itself (tokens,
//! roots, certificates, resolv.conf) needs none of this.

use std::{net::SocketAddr, sync::Arc};

use hawser_audit::{CONFIGURATION_READ, CONFIGURATION_WRONG};
use hawser_envoy::admin::Admin;
use hawser_rt::{Chain, Notifier};
use serde::{Deserialize, Serialize};
use tokio::{signal::unix::Signal, sync::watch};
use tracing::{debug, error, info, warn};

use crate::{
    check::{self, Token},
    config::{
        Config,
        paths::Paths,
        problem::{Problem, Problems},
        services,
        setting::{self, SETTINGS},
        source::{self, Environment, Flag, Sources},
    },
    log::level::{Filter, Level},
};

/// Where the configuration is read from, at the start and again.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Where the files are.
    pub paths: Paths,
    /// The environment that the process was started in.
    pub environment: Environment,
    /// What was said on the command line.
    pub flags: Vec<Flag>,
}

/// What has come of it when the configuration was last read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// How much is wrong with it, so that it was not taken over.
    pub wrong: usize,
    /// What is another since the start, and is not taken over before a restart.
    pub pending: Vec<String>,
}

/// What takes over a configuration that has changed.
#[derive(Debug)]
pub(crate) struct Reload {
    reading: Reading,
    level: Level,
    asked: Option<Signal>,
    /// As it was at the start.
    running: Sources,
    /// As it was read last.
    known: Sources,
}

impl Reading {
    /// What holds now: the configuration, and what it is made of; or all that is wrong with it.
    pub fn read(&self) -> Result<(Config, Sources), Problems> {
        let sources = source::read(&self.paths, &self.environment, &self.flags);
        if !sources.joined && !services::suffice(&self.paths, &sources.values) {
            return Err(Problems(vec![not_joined()]));
        }
        // A token or a root that is no good is no reason not to answer DNS; the identity loop tells
        // of it.
        let config = check::all(&self.paths, &sources, Token::Irrelevant)?;
        Ok((config, sources))
    }
}

/// What to do where nothing has been done yet.
pub(crate) fn not_joined() -> Problem {
    Problem::with(
        "this machine has not joined a mesh",
        "run `hawser join BUNDLE`, or write /etc/hawser/services.yaml (man hawser-services)",
    )
}

impl Reload {
    /// Whenever `asked` comes, if there is anybody who asks.
    pub(crate) fn new(
        (reading, running, level): (Reading, Sources, Level),
        asked: Option<Signal>,
    ) -> Self {
        Self { reading, level, asked, known: running.clone(), running }
    }

    /// Reads it again whenever that is asked for, and has Envoy open its log files again, which is
    /// what whoever moves them means by a hangup. Never ends.
    pub(crate) async fn follow(
        mut self,
        manager: Arc<Notifier>,
        envoy: Option<SocketAddr>,
        ready: watch::Receiver<bool>,
        tell: Arc<watch::Sender<Reloads>>,
    ) {
        loop {
            let asked = async {
                let asked = match &mut self.asked {
                    Some(asked) => asked.recv().await,
                    None => None,
                };
                if asked.is_none() {
                    std::future::pending::<()>().await;
                }
            };
            // Cancel safe: both only wait.
            tokio::select! {
                () = asked => {}
                () = self.level.lapse() => continue,
            }
            // Before it is ready there is nothing that a reload could end with.
            let told = *ready.borrow();
            if told {
                manager.reloading();
            }
            tell.send_replace(self.again());
            if let Some(envoy) = envoy {
                reopen(envoy).await;
            }
            if told {
                manager.ready();
            }
        }
    }

    fn again(&mut self) -> Reloads {
        let new = match self.reading.read() {
            Ok((_, new)) => new,
            Err(problems) => {
                for problem in &problems.0 {
                    error!(%problem, "configuration is wrong");
                }
                let wrong = problems.0.len();
                let id = CONFIGURATION_WRONG.id;
                error!(
                    message_id = id,
                    problems = wrong,
                    "configuration not taken over, all stays as it is"
                );
                return Reloads { wrong, pending: Vec::new() };
            }
        };
        let pending = pending(&self.running, &new);
        let changed = self.changed(&new).join(", ");
        let id = CONFIGURATION_READ.id;
        if pending.is_empty() {
            info!(message_id = id, changed, "configuration read again");
        } else {
            let settings = pending.join(", ");
            warn!(message_id = id, changed, settings, "configuration read again, needs a restart");
        }
        self.set_level(&new);
        self.known = new;
        Reloads { wrong: 0, pending }
    }

    /// What is another than when it was read last, and holds from now on.
    fn changed(&self, new: &Sources) -> Vec<&'static str> {
        let now = SETTINGS.iter().filter(|setting| holds_at_once(setting.key));
        let before = |setting| self.known.values.setting(setting).value;
        now.filter(|setting| before(setting) != new.values.setting(setting).value)
            .map(|setting| setting.key)
            .collect()
    }

    fn set_level(&self, new: &Sources) {
        let said = setting::find(LEVEL).map(|known| new.values.setting(known).value);
        if let Some(level) = said.and_then(|text| text.parse::<Filter>().ok()) {
            self.level.configure(level);
        }
    }
}

impl Reloads {
    /// What there is to say of it.
    pub(crate) fn note(&self) -> Option<String> {
        match (self.wrong, self.pending.as_slice()) {
            (0, []) => None,
            (0, pending) => Some(format!("needs a restart: {}", pending.join(", "))),
            (1, _) => Some("the configuration has a problem and is not taken over".to_owned()),
            (wrong, _) => {
                Some(format!("the configuration has {wrong} problems and is not taken over"))
            }
        }
    }
}

/// What is another than at the start, and is not taken over at run time.
fn pending(before: &Sources, now: &Sources) -> Vec<String> {
    let settings =
        SETTINGS.iter().filter(|setting| !holds_at_once(setting.key)).filter(|setting| {
            before.values.setting(setting).value != now.values.setting(setting).value
        });
    let mut pending: Vec<String> = settings.map(|setting| setting.key.to_owned()).collect();
    pending.extend(before.values.changed(&now.values));
    if before.proxy.to_json() != now.proxy.to_json() {
        pending.push("the ProxyConfig of the mesh".to_owned());
    }
    if before.hosts != now.hosts {
        pending.push("the hosts of the bundle".to_owned());
    }
    if (&before.labels, &before.annotations) != (&now.labels, &now.annotations) {
        pending.push("the labels of the machine".to_owned());
    }
    pending
}

/// Whether a setting is taken over without a restart: by the agent, or by the guard, which reads its
/// own when it is told to.
fn holds_at_once(key: &str) -> bool {
    key == LEVEL || key.starts_with("intercept.")
}

/// Nobody has to be there, and one that hangs is not waited for.
async fn reopen(envoy: SocketAddr) {
    if let Err(error) = Admin::new(envoy).post("/reopen_logs").await {
        debug!(error = %Chain(&error), "envoy does not open its log files again");
    }
}

const LEVEL: &str = "log.level";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::Source;

    fn sources(said: &[(&str, &str)], variables: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        let flag = || Source::Flag { name: "--set".into() };
        for (key, value) in said {
            sources.values.set(key, (*value).to_owned(), flag());
        }
        for (name, value) in variables {
            sources.values.set_variable(name, (*value).to_owned(), flag());
        }
        sources
    }

    #[test]
    fn what_is_another_and_has_to_wait_is_named_and_nothing_else() {
        let before = sources(
            &[("dns.listen", "127.0.0.1:1"), ("log.level", "info")],
            &[("ISTIO_META_NETWORK", "a"), ("POD_NAMESPACE", "demo")],
        );
        assert!(pending(&before, &before).is_empty());

        let now = sources(
            &[("dns.listen", "127.0.0.1:2"), ("log.level", "debug"), ("dns.timeout", "7s")],
            &[("ISTIO_META_NETWORK", "b"), ("POD_NAMESPACE", "demo")],
        );
        let mut named = pending(&before, &now);
        named.sort();
        assert_eq!(named, ["ISTIO_META_NETWORK", "dns.listen", "dns.timeout"]);
    }

    #[test]
    fn the_outcome_is_said_in_few_words() {
        let pending = vec!["dns.listen".to_owned(), "node.name".to_owned()];
        let cases = [
            (0, Vec::new(), None),
            (0, pending, Some("needs a restart: dns.listen, node.name")),
            (1, Vec::new(), Some("the configuration has a problem and is not taken over")),
            (3, Vec::new(), Some("the configuration has 3 problems and is not taken over")),
        ];
        for (wrong, pending, expected) in cases {
            assert_eq!(Reloads { wrong, pending }.note().as_deref(), expected);
        }
    }
}
