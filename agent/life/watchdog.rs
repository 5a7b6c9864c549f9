//! What keeps systemd's watchdog quiet: every thread that has a runtime of its own answers, and so
//! does the port for DNS, to a question that is asked as programs ask.
//!
//! Who does not answer is named before the watchdog strikes. A port that has never answered, because
//! the machine's own packet filter is in the way, say, is named and no more: a restart would not
//! mend that.

use std::{
    collections::{BTreeSet, HashSet},
    io::ErrorKind,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hawser_rt::{Notifier, Pulse, awake};
use tokio::{sync::watch, time::sleep};
use tracing::{error, info};

use crate::status::dns::Dns;

/// What looks after the threads and the port.
#[derive(Debug)]
pub(super) struct Watchdog {
    notifier: Arc<Notifier>,
    pulse: Pulse,
    dns: Option<Dns>,
    /// After so much silence systemd strikes.
    limit: Duration,
    judge: Judge,
}

/// Decides what a silence means.
#[derive(Debug, Default)]
struct Judge {
    /// The addresses that have ever answered.
    answered: HashSet<SocketAddr>,
}

impl Watchdog {
    pub(super) fn new(
        notifier: Arc<Notifier>,
        pulse: Pulse,
        dns: Option<Dns>,
        limit: Duration,
    ) -> Self {
        Self { notifier, pulse, dns, limit, judge: Judge::default() }
    }

    /// Looks three times within the limit: what is silent is named when two thirds of it are left
    /// to none. Never ends.
    pub(super) async fn keep(mut self, tell: watch::Sender<BTreeSet<String>>) {
        loop {
            let pulse = self.pulse.silent(self.limit / 3);
            let (threads, ports) = tokio::join!(pulse, ask(self.dns.as_ref(), self.limit / 3));
            let (feed, silent) = self.judge.verdict(threads, &ports);
            if feed {
                self.notifier.feed();
            }
            let well = silent.is_empty();
            tell.send_if_modified(|before| {
                let news = *before != silent;
                if news {
                    told(before, &silent);
                    *before = silent;
                }
                news
            });
            // What has just not answered may be back at any moment, and the time is short.
            sleep(if well { self.limit / 3 } else { self.limit / 30 }).await;
        }
    }
}

fn told(before: &BTreeSet<String>, now: &BTreeSet<String>) {
    let list = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(", ");
    let (new, back) = (now.difference(before).collect(), before.difference(now).collect());
    let (new, back) = (list(new), list(back));
    if !new.is_empty() {
        error!(
            message_id = hawser_audit::SILENT.id,
            silent = new,
            "a part of the agent does not answer"
        );
    }
    if !back.is_empty() {
        info!(part = back, "a part of the agent answers again");
    }
}

/// Which addresses answer.
async fn ask(dns: Option<&Dns>, limit: Duration) -> Vec<(SocketAddr, bool)> {
    let Some(dns) = dns else { return Vec::new() };
    let before = dns.proxy.totals().queries;
    let mut asked = tokio::task::JoinSet::new();
    for &address in &dns.listen {
        asked.spawn(async move {
            let answer = awake(limit, hawser_dns::sign::of_life(address)).await;
            match answer {
                None => Some((address, false)),
                Some(Ok(())) => Some((address, true)),
                Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                    Some((address, false))
                }
                // Who cannot ask, for want of sockets or of a way there, has not been left without
                // an answer.
                Some(Err(_)) => None,
            }
        });
    }
    let answers = asked.join_all().await.into_iter().flatten();
    // In a flood an answer may be lost for long, while thousands of others are given.
    let busy = dns.proxy.totals().queries != before;
    answers.map(|(address, answers)| (address, answers || busy)).collect()
}

impl Judge {
    /// Whether the watchdog is fed, and who is silent.
    fn verdict(
        &mut self,
        threads: Vec<String>,
        ports: &[(SocketAddr, bool)],
    ) -> (bool, BTreeSet<String>) {
        let answer = ports.iter().filter(|(_, answers)| *answers).map(|(address, _)| *address);
        self.answered.extend(answer);
        let silent = || ports.iter().filter(|(_, answers)| !answers).map(|(address, _)| address);
        let feed = threads.is_empty() && !silent().any(|address| self.answered.contains(address));
        let ports = silent().map(|address| format!("DNS at {address}"));
        (feed, threads.into_iter().chain(ports).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn it_is_fed_while_all_answer_and_a_silent_one_is_named() {
        let mut judge = Judge::default();
        let well = judge.verdict(Vec::new(), &[(port(53), true)]);
        assert_eq!(well, (true, BTreeSet::new()));

        let silent = judge.verdict(vec!["dns 2".to_owned()], &[(port(53), true)]);
        assert_eq!(silent, (false, BTreeSet::from(["dns 2".to_owned()])));

        let silent = judge.verdict(Vec::new(), &[(port(53), false)]);
        assert_eq!(silent, (false, BTreeSet::from(["DNS at 127.0.0.1:53".to_owned()])));

        assert!(judge.verdict(Vec::new(), &[(port(53), true)]).0, "and it may come back");
    }

    #[test]
    fn a_port_that_has_never_answered_is_named_and_does_not_end_the_agent() {
        let mut judge = Judge::default();
        for _ in 0..3 {
            let (feed, silent) = judge.verdict(Vec::new(), &[(port(53), false), (port(54), true)]);
            assert!(feed);
            assert_eq!(silent.len(), 1);
        }

        assert!(!judge.verdict(Vec::new(), &[(port(53), false), (port(54), false)]).0);
    }

    #[test]
    fn without_dns_the_threads_are_all() {
        assert!(Judge::default().verdict(Vec::new(), &[]).0);
        assert!(!Judge::default().verdict(vec!["main".to_owned()], &[]).0);
    }
}
