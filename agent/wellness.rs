//! Whether this machine is well, as istiod is told: what the probes find, and nothing good while
//! somebody has it in maintenance, while it drains, or when its certificate has expired.
//!
//! Only what changes is told, and nothing at all where the mesh does not ask.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_health::Verdict;
use hawser_pki::Identity;
use hawser_rt::{Clock, metrics::Registry};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{drain::Drain, maintenance::Maintenance};

/// All that speaks against a machine whatever its probes find.
#[derive(Debug, Clone)]
pub(crate) struct Wellness {
    pub(crate) drain: Drain,
    pub(crate) maintenance: Maintenance,
    pub(crate) identity: watch::Receiver<Option<Arc<Identity>>>,
    pub(crate) clock: Clock,
}

impl Wellness {
    /// Joins what the probes have `found` with the rest, and ends maintenance that has had its time,
    /// until `stop`.
    pub(crate) async fn follow(
        mut self,
        mut found: watch::Receiver<Verdict>,
        tell: watch::Sender<Verdict>,
        stop: CancellationToken,
    ) {
        let (mut drains, mut maintained) = (self.drain.subscribe(), self.maintenance.subscribe());
        let follow = async {
            loop {
                self.maintenance.lapse().await;
                drains.mark_unchanged();
                maintained.mark_unchanged();
                let now = self.clock.now();
                let (reason, due) = self.against(now);
                let verdict = judge(found.borrow_and_update().clone(), reason);
                let verdict = verdict.filter(|_| self.drain.is_probed());
                tell.send_if_modified(|told| {
                    let news = *told != verdict;
                    *told = verdict;
                    news
                });
                // Cancel safe: all of them only wait. One that nobody sends to any more never
                // changes. A clock that is set wakes as well.
                tokio::select! {
                    Ok(()) = found.changed() => {}
                    Ok(()) = drains.changed() => {}
                    Ok(()) = maintained.changed() => {}
                    Ok(()) = self.identity.changed() => {}
                    _ = self.clock.wait(due) => {}
                }
            }
        };
        stop.run_until_cancelled(follow).await;
    }

    /// What speaks against the machine, the word of people first; and when to look again.
    fn against(&mut self, now: SystemTime) -> (Option<String>, SystemTime) {
        let identity = self.identity.borrow_and_update().clone();
        let dates = identity.map(|it| [it.not_before(), it.not_after() + LAST_SECOND]);
        let invalid = dates.and_then(|dates| invalid(dates, now)).map(str::to_owned);
        let reason = self.maintenance.reason();
        let reason = reason.or_else(|| self.drain.reason().map(str::to_owned)).or(invalid);
        let dates = dates.into_iter().flatten().chain(self.maintenance.due());
        let next = dates.filter(|date| *date > now).min();
        (reason, next.unwrap_or(now + SELDOM))
    }

    /// Shows what is known to whoever collects metrics.
    pub(crate) fn register(&self, metrics: &Registry, told: watch::Receiver<Verdict>) {
        let number = |yes: bool| if yes { 1.0 } else { 0.0 };
        let help =
            "Whether istiod is told that this machine is well; absent while nobody knows, or asks.";
        metrics.computed("hawser_health_well", help, &[], move || {
            told.borrow().as_ref().map(|verdict| number(verdict.is_ok()))
        });
        let (maintenance, drain) = (self.maintenance.clone(), self.drain.clone());
        let help = "Whether somebody has this machine in maintenance.";
        metrics.computed("hawser_maintenance", help, &[], move || {
            Some(number(maintenance.spell().is_some()))
        });
        let help =
            "Whether this machine drains: its Envoy is to stop, or somebody has asked for it.";
        metrics
            .computed("hawser_draining", help, &[], move || Some(number(drain.reason().is_some())));
    }
}

/// What is told: nothing good while anything speaks against it (pure).
fn judge(found: Verdict, reason: Option<String>) -> Verdict {
    match reason {
        Some(reason) => Some(Err(reason)),
        None => found,
    }
}

/// Why a certificate with these dates is no good (pure).
fn invalid([from, until]: [SystemTime; 2], now: SystemTime) -> Option<&'static str> {
    match now {
        now if now >= until => Some(EXPIRED),
        now if now < from => Some(NOT_YET),
        _ => None,
    }
}

const EXPIRED: &str = "the certificate of this machine has expired";
const NOT_YET: &str = "the certificate of this machine is not valid yet, by the machine's clock";
/// A certificate is valid in the second that is its end.
const LAST_SECOND: Duration = Duration::from_secs(1);
/// A date that does not matter: where nothing is due it is looked again all the same.
const SELDOM: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use hawser_health::Verdict;
    use hawser_state::Store;
    use hawser_xds::Seen;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_certificate_is_good_from_its_first_second_to_its_last() {
        let dates = [at(100), at(200) + LAST_SECOND];
        let cases = [(99, Some(NOT_YET)), (100, None), (200, None), (201, Some(EXPIRED))];
        for (now, expected) in cases {
            assert_eq!(invalid(dates, at(now)), expected, "{now}");
        }
    }

    /// All of it but a certificate, in front of somebody who hears what is told.
    struct Machine {
        wellness: Wellness,
        find: watch::Sender<Verdict>,
        told: watch::Receiver<Verdict>,
        _state: tempfile::TempDir,
    }

    impl Machine {
        /// Runs a test beside it.
        async fn with(probed: bool, clock: Clock, test: impl AsyncFnOnce(&mut Self)) {
            let state = tempfile::tempdir().unwrap();
            let store = Arc::new(Store::open(&state.path().join("state")).unwrap());
            let wellness = Wellness {
                drain: Drain::new(probed, Some(Seen::default()), Vec::new()),
                maintenance: Maintenance::kept(store, clock.clone()),
                identity: watch::channel(None).1,
                clock,
            };
            let (find, found) = watch::channel(Some(Ok(())));
            let (tell, told) = watch::channel(None);
            let stop = CancellationToken::new();
            let follow = wellness.clone().follow(found, tell, stop.clone());
            let mut machine = Self { wellness, find, told, _state: state };
            let test = async {
                test(&mut machine).await;
                stop.cancel();
            };
            tokio::join!(follow, test);
        }

        async fn hears(&mut self, reason: &str) {
            let wanted = |verdict: &Verdict| match verdict {
                Some(Ok(())) => reason.is_empty(),
                Some(Err(why)) => why == reason,
                None => false,
            };
            drop(self.told.wait_for(wanted).await.unwrap());
        }
    }

    const MAINTAINED: &str = "this machine is in maintenance: disks";
    const DRAINS: &str = "this machine is being taken out of the mesh: its Envoy drains";

    #[tokio::test]
    async fn the_word_of_people_counts_more_than_what_probes_find() {
        Machine::with(true, Clock::default(), async |machine| {
            machine.hears("").await;
            machine.wellness.drain.begin();
            machine.hears(DRAINS).await;
            machine.wellness.maintenance.begin(Some("disks".to_owned()), None).await;
            machine.hears(MAINTAINED).await;
            machine.find.send_replace(Some(Err("out of order".to_owned())));
            machine.wellness.drain.end();
            machine.wellness.maintenance.end().await;
            machine.hears("out of order").await;
            machine.find.send_replace(Some(Ok(())));
            machine.hears("").await;
        })
        .await;
    }

    #[tokio::test]
    async fn maintenance_ends_when_the_clock_says_so() {
        let (clock, hand) = Clock::manual(at(1_000));
        Machine::with(true, clock, async |machine| {
            let time = Some(Duration::from_secs(60));
            machine.wellness.maintenance.begin(Some("disks".to_owned()), time).await;
            machine.hears(MAINTAINED).await;
            hand.set(at(1_060));
            machine.hears("").await;
            assert_eq!(machine.wellness.maintenance.spell(), None);
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_hears_of_a_machine_that_is_not_probed() {
        Machine::with(false, Clock::default(), async |machine| {
            let mut begun = machine.wellness.maintenance.subscribe();
            machine.wellness.maintenance.begin(None, None).await;
            begun.changed().await.unwrap();
            assert_eq!(*machine.told.borrow(), None);
        })
        .await;
    }
}
