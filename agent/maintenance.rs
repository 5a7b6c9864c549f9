//! Maintenance: the machine is out of the mesh because somebody said so, until somebody says
//! otherwise or its time is up.
//!
//! It is kept in a file of the state, so that neither a restart nor a reboot brings a machine back
//! that somebody works on. A file that cannot be understood is set aside and named, and then the
//! machine is in the mesh: nobody would know for how long it is not.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_rt::{Chain, Clock};
use hawser_state::Store;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::spawn_blocking};

use crate::drain::Deaf;

/// Whether there is maintenance. Clones are of the same machine.
#[derive(Debug, Clone)]
pub struct Maintenance {
    spell: Arc<watch::Sender<Option<Spell>>>,
    store: Arc<Store>,
    clock: Clock,
}

/// A time of maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spell {
    /// Since when. Seconds since 1970.
    pub since: u64,
    /// Until when; null where somebody has to end it.
    pub until: Option<u64>,
    /// What for, if that was said.
    pub reason: Option<String>,
}

/// What there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Null where there is none.
    pub maintenance: Option<Spell>,
    /// Why the mesh does not hear of it; null where it does.
    pub deaf: Option<Deaf>,
    /// What is wrong with the file that keeps it over a restart.
    pub not_kept: Option<String>,
}

impl Maintenance {
    /// What was kept.
    pub(crate) fn kept(store: Arc<Store>, clock: Clock) -> Self {
        let spell = read(&store);
        if let Some(spell) = &spell {
            tracing::info!(reason = spell.what_for(), "the machine is still in maintenance");
        }
        Self { spell: Arc::new(watch::Sender::new(spell)), store, clock }
    }

    /// Begins, or goes on for another reason or time. Says what is wrong if it is not kept.
    pub(crate) async fn begin(
        &self,
        reason: Option<String>,
        time: Option<Duration>,
    ) -> Option<String> {
        let now = seconds(self.clock.now());
        let reason = reason.map(|reason| one_line(&reason)).filter(|reason| !reason.is_empty());
        let until = time.map(|time| now.saturating_add(time.as_secs().max(1)));
        self.spell.send_modify(|spell| {
            let since = spell.as_ref().map_or(now, |spell| spell.since);
            *spell = Some(Spell { since, until, reason });
        });
        let spell = self.spell();
        let reason = spell.as_ref().map_or("", Spell::what_for);
        let (message_id, left) = (hawser_audit::DRAINED.id, time.map(|time| time.as_secs()));
        tracing::info!(message_id, reason, seconds = left, "maintenance begins");
        self.keep().await
    }

    /// It is over. Says what is wrong if that is not kept.
    pub(crate) async fn end(&self) -> Option<String> {
        let ended = self.spell.send_replace(None)?;
        let took = seconds(self.clock.now()).saturating_sub(ended.since);
        let (message_id, reason) = (hawser_audit::UNDRAINED.id, ended.what_for());
        tracing::info!(message_id, reason, seconds = took, "maintenance is over");
        self.keep().await
    }

    /// Ends what has had its time.
    pub(crate) async fn lapse(&self) {
        let due = self.due();
        if due.is_some_and(|due| due <= self.clock.now()) {
            // The next start ends it too if the file cannot be removed, since its time is in it.
            self.end().await;
        }
    }

    /// When it ends by itself.
    pub(crate) fn due(&self) -> Option<SystemTime> {
        let until = self.spell.borrow().as_ref()?.until?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until))
    }

    /// What there is of it.
    pub fn spell(&self) -> Option<Spell> {
        self.spell.borrow().clone()
    }

    /// Why the machine is not to be used, while that is so.
    pub fn reason(&self) -> Option<String> {
        self.spell.borrow().as_ref().map(ToString::to_string)
    }

    /// Tells of each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Spell>> {
        self.spell.subscribe()
    }

    async fn keep(&self) -> Option<String> {
        let (store, latest) = (Arc::clone(&self.store), Arc::clone(&self.spell));
        // What holds by then: another may have said something meanwhile.
        let kept = spawn_blocking(move || match latest.borrow().clone() {
            Some(spell) => {
                let body = serde_json::to_vec(&spell).map_err(|error| error.to_string())?;
                store.write(FILE, VERSION, &body).map_err(|error| Chain(&error).to_string())
            }
            None => store.remove(FILE).map_err(|error| Chain(&error).to_string()),
        });
        let error = kept.await.unwrap_or_else(|error| Err(error.to_string())).err()?;
        tracing::warn!(error, "maintenance is not kept over a restart");
        Some(error)
    }
}

impl Spell {
    /// What somebody said, or nothing.
    fn what_for(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}

impl std::fmt::Display for Spell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this machine is in maintenance")?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

fn read(store: &Store) -> Option<Spell> {
    let body = match store.read(FILE, VERSION) {
        Ok(body) => body?,
        Err(error) => {
            let error = Chain(&error).to_string();
            tracing::warn!(error, "it is not known whether there was maintenance: there is none");
            return None;
        }
    };
    match serde_json::from_slice(&body) {
        Ok(spell) => Some(spell),
        Err(error) => {
            drop(store.set_aside(FILE, &error.to_string()));
            None
        }
    }
}

/// What somebody typed, as it may stand in a line of the journal and in a resource of the cluster.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().chars().take(LONGEST_REASON).collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

const FILE: &str = "maintenance";
const VERSION: u16 = 1;
const LONGEST_REASON: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine {
        folder: tempfile::TempDir,
        clock: Clock,
    }

    impl Machine {
        fn new(clock: Clock) -> Self {
            Self { folder: tempfile::tempdir().unwrap(), clock }
        }

        /// The agent of this machine, started anew.
        fn start(&self) -> Maintenance {
            let store = Store::open(&self.folder.path().join("state")).unwrap();
            Maintenance::kept(Arc::new(store), self.clock.clone())
        }

        fn file(&self) -> std::path::PathBuf {
            self.folder.path().join("state").join(FILE)
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn what_was_begun_goes_on_after_a_restart_until_it_is_ended() {
        let (clock, hand) = Clock::manual(at(1_000));
        let machine = Machine::new(clock);
        let agent = machine.start();
        assert_eq!(agent.spell(), None);

        assert_eq!(agent.begin(Some(" new\nkernel ".to_owned()), None).await, None);
        let begun = Spell { since: 1_000, until: None, reason: Some("new kernel".to_owned()) };
        assert_eq!(agent.spell().as_ref(), Some(&begun));
        assert_eq!(machine.start().spell(), Some(begun));

        hand.set(at(1_500));
        agent.begin(None, Some(Duration::from_secs(60))).await;
        let other = Spell { since: 1_000, until: Some(1_560), reason: None };
        assert_eq!(machine.start().spell(), Some(other), "since then, but until another time");

        assert_eq!(agent.end().await, None);
        assert_eq!((agent.spell(), machine.start().spell()), (None, None));
        assert_eq!(agent.end().await, None, "there is nothing to end");
    }

    #[tokio::test]
    async fn what_has_had_its_time_is_over_by_whatever_way_that_came() {
        let (clock, hand) = Clock::manual(at(1_000));
        let machine = Machine::new(clock);
        let agent = machine.start();
        agent.begin(None, Some(Duration::from_secs(7_200))).await;
        hand.set(at(8_199));
        agent.lapse().await;
        assert!(agent.spell().is_some());

        hand.set(at(8_200));
        let restarted = machine.start();
        restarted.lapse().await;

        assert_eq!((restarted.spell(), machine.start().spell()), (None, None));
    }

    #[tokio::test]
    async fn a_damaged_file_is_set_aside_and_there_is_no_maintenance() {
        let machine = Machine::new(Clock::default());
        machine.start().begin(Some("x".to_owned()), None).await;
        let whole = std::fs::read(machine.file()).unwrap();
        for length in [0, 10, whole.len() - 1] {
            hawser_state::write_file(&machine.file(), 0o600, &whole[..length]).unwrap();
            assert_eq!(machine.start().spell(), None, "{length}");
            assert!(!machine.file().exists(), "{length}");
        }
        let store = Store::open(&machine.folder.path().join("state")).unwrap();
        store.write(FILE, VERSION, b"{\"since\":-1}").unwrap();
        assert_eq!(machine.start().spell(), None);
        assert!(!machine.file().exists());
    }

    #[test]
    fn a_reason_is_a_line_of_a_bounded_length() {
        assert_eq!(one_line("\t a\r\nb\u{7} "), "a  b");
        assert_eq!(one_line(&"ä".repeat(999)).chars().count(), LONGEST_REASON);
    }
}
