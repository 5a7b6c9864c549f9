//! A program that prints a pair: run at the start, whenever the pair is due, and when asked to.
//!
//! It prints PEM, or JSON with PEM in it. What it prints is judged like any other pair; what is no
//! good leaves the one before in its place, and the program is run again.

mod printed;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_audit::CERTIFICATE_OBTAINED;
use hawser_pki::{Bundle, Identity};
use hawser_rt::{Backoff, command::Limits, files::Watch};
use tokio::{task::spawn_blocking, time::Instant};
use tracing::info;

pub use self::printed::{Unprinted, printed};
use crate::{
    AtRest, Error, Printed,
    files::text,
    progress::Obtained,
    publish::left,
    rotate::Surroundings,
    schedule::{self, Life},
    span::Span,
};

/// The loop around the program.
pub(crate) struct Program<'a> {
    printed: &'a Printed,
    around: Surroundings<'a>,
    backoff: Backoff,
}

impl<'a> Program<'a> {
    pub(crate) fn new(printed: &'a Printed, around: Surroundings<'a>) -> Self {
        Self { printed, around, backoff: Backoff::new(FIRST, LAST) }
    }

    /// Runs it for ever.
    pub(crate) async fn follow(&mut self) {
        let Surroundings { options, publisher, renew, .. } = self.around;
        publisher.progress(|progress| {
            SOURCE.clone_into(&mut progress.source);
            progress.at_rest = AtRest::NotOurs;
        });
        let mut roots = Watch::new(self.printed.roots.clone());
        loop {
            let next = self.turn().await;
            // Cancel safe: all of them only wait. A clock that was set is a reason to look, too.
            tokio::select! {
                _ = options.clock.wait(next) => {}
                () = renew.notified() => {}
                () = roots.changed() => {}
            }
        }
    }

    /// One run; when the next one is due.
    async fn turn(&mut self) -> SystemTime {
        let Surroundings { options, publisher, metrics, .. } = self.around;
        let began = Instant::now();
        let outcome = self.run().await;
        let took = began.elapsed();
        metrics.asked(outcome.is_ok(), took);
        publisher.progress(|progress| {
            progress.asked += 1;
            progress.failed += u64::from(outcome.is_err());
        });
        let now = options.clock.now();
        match outcome.and_then(|identity| self.served(identity, now, took)) {
            Ok((life, other)) => {
                self.backoff.reset();
                let next =
                    schedule::renew_at(life, now, options.ttl, options.renewal, fastrand::f64());
                match other {
                    None => publisher.well(),
                    Some(error) => publisher.trouble(&error, "", next),
                }
                publisher.progress(|progress| progress.next = Some(next));
                next
            }
            Err(error) => {
                let life = publisher.served().map(|served| Life::of(&served).total());
                let wait = self.backoff.next(fastrand::f64());
                let wait = life.map_or(wait, |life| wait.min(schedule::longest_wait(life)));
                publisher.trouble(&error, "", now + wait);
                now + wait
            }
        }
    }

    async fn run(&self) -> Result<Identity, Error> {
        let (options, Printed { command, roots }) = (self.around.options, self.printed);
        let (id, ttl) = (options.id.to_string(), options.ttl.as_secs().to_string());
        let variables = [
            ("HAWSER_SPIFFE_ID", id.as_str()),
            ("HAWSER_TRUST_DOMAIN", options.id.trust_domain()),
            ("HAWSER_TTL", ttl.as_str()),
        ];
        let limits = Limits { time: PATIENCE, output: MOST_PRINTED };
        let output = command.run(&variables, limits).await;
        let output = output.map_err(|source| Error::Command { source })?;
        let apart = match roots.clone() {
            Some(path) => Some(spawn_blocking(move || believed(path)).await),
            None => None,
        };
        let apart = apart.transpose().map_err(|source| Error::GivenUp { source })?.transpose()?;
        printed(&output, apart).map_err(|source| {
            let program = command.program().to_owned();
            Error::Unprinted { program, source: Box::new(source) }
        })
    }

    /// Serves it if that is any use now; how long it lives, and whether it is for somebody else.
    fn served(
        &self,
        identity: Identity,
        now: SystemTime,
        took: Duration,
    ) -> Result<(Life, Option<Error>), Error> {
        let Surroundings { options, publisher, .. } = self.around;
        let program = || self.printed.command.program().to_owned();
        let life = Life::of(&identity);
        if !identity.valid_at(now) {
            return Err(Error::PrintedNotValid { program: program() });
        }
        let before = publisher.served();
        let same = before.is_some_and(|before| before.chain.ders() == identity.chain.ders());
        if same && life.three_quarters() <= now {
            return Err(Error::PrintedStale { program: program(), left: life.left(now) });
        }
        let (found, expires_in) = (identity.name().to_owned(), Span(left(&identity, now)));
        if !same {
            let (message_id, id) = (CERTIFICATE_OBTAINED.id, &found);
            info!(message_id, %id, %expires_in, ?took, "certificate printed by the program");
        }
        let other = options.expected.clone().filter(|id| identity.spiffe_id() != Some(id));
        publisher.serve_brought(Arc::new(identity));
        let credential = format!("the program {}", program().display());
        publisher.progress(|progress| {
            progress.obtained = Some(Obtained { at: now, took, credential });
        });
        let other = other.map(|expected| {
            let expected = Box::new(expected);
            Error::PrintedForOther { program: program(), found, expected }
        });
        Ok((life, other))
    }
}

/// The roots of a file.
fn believed(path: PathBuf) -> Result<Bundle, Error> {
    let bundle = Bundle::from_pem(&text(&path)?);
    bundle.map_err(|source| Error::UnusableFile { path, source: Box::new(source) })
}

pub(crate) const SOURCE: &str = "command";
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_PRINTED: usize = 1 << 20;
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);
