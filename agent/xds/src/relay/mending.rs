//! What Envoy took while the disk could not keep it, asked for anew once it can.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use hawser_lastgood::Standing;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::{Relay, changed};

/// When to ask.
#[derive(Debug)]
struct Mending {
    /// When the newest was kept, as of the last look at what is not.
    kept: Option<SystemTime>,
    due: Instant,
    wait: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Now {
    Nothing,
    Ask,
    /// Then it is to be looked at again.
    At(Instant),
}

impl Mending {
    fn new() -> Self {
        Self { kept: None, due: Instant::now(), wait: SHORTEST }
    }

    /// `behind`: something is not kept; `newest`: when something was, the last time.
    fn look(&mut self, behind: bool, newest: SystemTime) -> Now {
        let now = Instant::now();
        if !behind {
            self.kept = None;
            if now >= self.due + self.wait {
                self.wait = SHORTEST;
            }
            return Now::Nothing;
        }
        // That something is kept shows that there is room.
        if *self.kept.get_or_insert(newest) == newest {
            return Now::Nothing;
        }
        if now < self.due {
            return Now::At(self.due);
        }
        self.due = now + self.wait;
        self.wait = (self.wait * 2).min(LONGEST);
        self.kept = Some(newest);
        Now::Ask
    }
}

impl Relay {
    /// Asks anew for what is not kept of what Envoy has.
    pub(super) async fn mend(&self) -> Infallible {
        let mut standing = self.shared.parts.shelf.standing();
        let mut mending = Mending::new();
        loop {
            let (behind, newest) = self.behind(&standing.borrow_and_update());
            match mending.look(!behind.is_empty(), newest) {
                Now::Nothing => changed(&mut standing).await,
                Now::At(due) => {
                    tokio::select! {
                        () = sleep_until(due) => {}
                        () = changed(&mut standing) => {}
                    }
                }
                Now::Ask => {
                    info!(flow = "xds", types = ?behind, "asked for anew: it could not be kept");
                    let is_behind = |type_url: &str| behind.iter().any(|it| it == type_url);
                    self.session().doubt(is_behind);
                    self.doubted.notify_one();
                }
            }
        }
    }

    /// The types of which not all is kept that Envoy has, and when anything was, the last time.
    fn behind(&self, standing: &Standing) -> (Vec<String>, SystemTime) {
        let book = self.client.get().and_then(|client| standing.books.get(&client.key));
        let types = || book.into_iter().flatten();
        let behind = types().filter(|(_, kept)| kept.behind).map(|(type_url, _)| type_url.clone());
        let newest = types().map(|(_, kept)| kept.at).max();
        (behind.collect(), newest.unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

/// An istiod is not to be asked for everything more often.
const SHORTEST: Duration = Duration::from_secs(5 * 60);
/// Where it was of no use, or not for long.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_kept_is_asked_for_once_there_is_room_and_rarely() {
        let mut mending = Mending::new();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(mending.look(false, at(1)), Now::Nothing);
        // The disk is full, and stays so.
        assert_eq!(mending.look(true, at(1)), Now::Nothing);
        advance(LONGEST).await;
        assert_eq!(mending.look(true, at(1)), Now::Nothing);
        // Something is kept.
        assert_eq!(mending.look(true, at(2)), Now::Ask);
        assert_eq!(mending.look(true, at(2)), Now::Nothing);

        let due = Instant::now() + SHORTEST;
        assert_eq!(mending.look(true, at(3)), Now::At(due));
        advance(SHORTEST).await;
        assert_eq!(mending.look(true, at(3)), Now::Ask);
        // It was of no use twice.
        let due = Instant::now() + SHORTEST * 2;
        assert_eq!(mending.look(true, at(4)), Now::At(due));
        assert_eq!(mending.look(false, at(4)), Now::Nothing);
        assert_eq!(mending.look(true, at(4)), Now::Nothing);
        assert_eq!(mending.look(true, at(5)), Now::At(due));

        // All was well for long.
        advance(LONGEST).await;
        assert_eq!(mending.look(false, at(5)), Now::Nothing);
        assert_eq!(mending.look(true, at(5)), Now::Nothing);
        assert_eq!(mending.look(true, at(6)), Now::Ask);
        assert_eq!(mending.look(true, at(7)), Now::At(Instant::now() + SHORTEST));
    }
}
