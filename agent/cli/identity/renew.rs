//! `hawser identity renew`: the running agent is asked to renew now, and watched while it does.

use std::time::Duration;

use clap::Args;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{sleep, timeout};

use super::super::{Context, Exit, ask, complain, say, span::span};
use crate::{
    config::parse,
    status::{IdentityStatus, Snapshot},
};

/// Renew the certificate now, and wait for the outcome
///
/// The certificate there is stays in use until the new one is there. Ends with 0 if there is a new
/// one, 1 if not, 3 if nobody answers.
#[derive(Debug, Args)]
pub(super) struct Renew {
    /// How long to wait for the outcome
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = patience)]
    wait: Duration,
}

impl Renew {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let (before, pid) = match ask::answer(&context.paths) {
            Ok((_, snapshot, pid)) => (snapshot, pid),
            Err(exit) => return exit,
        };
        let source = &before.identity.source;
        if !ASKED.contains(&source.as_str()) {
            complain(format_args!("hawser: the certificate comes from {source}, who is not asked"));
            complain("hawser: it is taken over by itself as soon as there is a new one");
            return Exit::Failed;
        }
        if let Err(error) = poke(pid) {
            complain(format_args!("hawser: cannot tell the agent (pid {pid}): {error}"));
            if error == Errno::EPERM {
                complain("hawser: ask as root, or as the user that the agent runs as");
            }
            return Exit::Failed;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(format_args!("hawser: start a runtime: {error}"));
                return Exit::Failed;
            }
        };
        let watched =
            runtime.block_on(async { timeout(self.wait, watch(context, &before, pid)).await });
        watched.unwrap_or_else(|_| {
            complain(format_args!(
                "hawser: no outcome within {:?}; see `hawser identity show`",
                self.wait
            ));
            Exit::Failed
        })
    }
}

/// Looks at what the agent says until something has come of it.
async fn watch(context: &Context, before: &Snapshot, pid: i32) -> Exit {
    loop {
        sleep(LOOK).await;
        let now = match ask::answer(&context.paths) {
            Ok((_, snapshot, same)) if same == pid => snapshot.identity,
            Ok(_) => {
                complain(
                    "hawser: the agent was started anew meanwhile; see `hawser identity show`",
                );
                return Exit::Failed;
            }
            Err(exit) => return exit,
        };
        match outcome(&before.identity, &now) {
            Some(Ok(line)) => {
                say(line);
                return Exit::Ok;
            }
            Some(Err(trouble)) => {
                complain(format_args!("hawser: {trouble}"));
                complain("hawser: what was there before stays in use; the agent goes on trying");
                return Exit::Failed;
            }
            None => {}
        }
    }
}

/// The signal is one that only root and the agent's own user may send.
fn poke(pid: i32) -> Result<(), Errno> {
    if pid > 1 { kill(Pid::from_raw(pid), Signal::SIGUSR1) } else { Err(Errno::ESRCH) }
}

/// What has come of it, once something has.
fn outcome(before: &IdentityStatus, now: &IdentityStatus) -> Option<Result<String, String>> {
    let at = |status: &IdentityStatus| (status.not_after, status.asked - status.failed);
    if at(now) != at(before) {
        let left = span(now.expires_in.unwrap_or_default());
        let id = now.spiffe_id.clone().unwrap_or_default();
        return Some(Ok(format!("renewed: {id}, valid for {left}")));
    }
    let trouble = now.trouble.clone().filter(|_| now.failed > before.failed)?;
    Some(Err(trouble))
}

fn patience(text: &str) -> Result<Duration, String> {
    parse::some_time(text).ok_or_else(|| "expected a duration such as 30s or 1m".to_owned())
}

/// Sources that can be asked.
const ASKED: [&str; 3] = ["istiod", "Vault", "command"];
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_a_new_certificate_or_a_new_failure() {
        let before = IdentityStatus {
            asked: 3,
            failed: 1,
            not_after: Some(10),
            trouble: Some("old".to_owned()),
            ..IdentityStatus::default()
        };
        assert_eq!(outcome(&before, &before), None);
        let asking = IdentityStatus { asked: 3, ..before.clone() };
        assert_eq!(outcome(&before, &asking), None);
        let failed = IdentityStatus { asked: 4, failed: 2, ..before.clone() };
        assert_eq!(outcome(&before, &failed), Some(Err("old".to_owned())));
        let renewed =
            IdentityStatus { asked: 4, not_after: Some(20), trouble: None, ..before.clone() };
        assert!(outcome(&before, &renewed).is_some_and(|outcome| outcome.is_ok()));
    }
}
