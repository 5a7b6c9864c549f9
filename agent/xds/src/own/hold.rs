//! An empty name table that comes after one with names is not believed at once (pure).
//!
//! An istiod that has just started, or has lost sight of its own configuration, says that there
//! are no names, and mends it a moment later; every name of the mesh would be gone meanwhile.

use std::time::Duration;

use hawser_proto::Names;
use tokio::time::Instant;

/// A name table and its version.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    pub(super) table: Names,
    pub(super) version: String,
}

/// Holds an empty table back.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Since when istiod says that there are no names though some are in use.
    since: Option<Instant>,
    held: Option<Named>,
}

impl Hold {
    /// Takes a table that has come at `now`, and returns it if it is to be used. `in_use` is
    /// whether there are names now.
    pub(super) fn take(&mut self, named: Named, in_use: bool, now: Instant) -> Option<Named> {
        if !named.table.is_empty() || !in_use {
            *self = Self::default();
            return Some(named);
        }
        let since = *self.since.get_or_insert(now);
        self.held = Some(named);
        if now < since + GRACE { None } else { self.over() }
    }

    /// When the table that is held back is to be used; none if there is none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.as_ref().and(self.since).map(|since| since + GRACE)
    }

    /// The table that was held back, now that its time has come.
    pub(super) fn over(&mut self) -> Option<Named> {
        self.since = None;
        self.held.take()
    }

    /// Forgets it, because the istiod that has said so is gone; the next one says it again, or
    /// not. The time runs on.
    pub(super) fn lost(&mut self) {
        self.held = None;
    }
}

/// For how long names outlive an empty table.
pub(super) const GRACE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use hawser_proto::istio::nds::{NameInfo, NameTable};

    use super::*;

    fn named(version: &str, names: &[&str]) -> Named {
        let names = names.iter().map(|name| ((*name).to_owned(), NameInfo::default()));
        Named { table: (&NameTable { table: names.collect() }).into(), version: version.to_owned() }
    }

    fn empty(version: &str) -> Named {
        named(version, &[])
    }

    fn version(named: Option<Named>) -> Option<String> {
        named.map(|named| named.version)
    }

    #[test]
    fn a_table_with_names_and_a_first_empty_one_are_used_at_once() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        for (table, in_use) in [(empty("1"), false), (named("2", &["a"]), false)] {
            assert!(hold.take(table, in_use, now).is_some());
        }
        assert!(hold.take(named("3", &["b"]), true, now).is_some());
        assert_eq!(hold.due(), None);
    }

    #[test]
    fn an_empty_table_after_one_with_names_is_used_when_its_time_has_come() {
        let (mut hold, now) = (Hold::default(), Instant::now());

        assert_eq!(hold.take(empty("1"), true, now), None);

        assert_eq!(hold.due(), Some(now + GRACE));
        assert_eq!(hold.over(), Some(empty("1")));
        assert_eq!(hold.due(), None);
    }

    #[test]
    fn names_that_come_back_end_the_wait() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.take(empty("1"), true, now);

        assert_eq!(version(hold.take(named("2", &["a"]), true, now + GRACE / 2)), Some("2".into()));

        assert_eq!(hold.due(), None);
        let later = now + GRACE * 9 / 10;
        assert_eq!(hold.take(empty("3"), true, later), None);
        assert_eq!(hold.due(), Some(later + GRACE), "it starts anew");
    }

    #[test]
    fn empty_tables_that_follow_each_other_are_one() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.take(empty("1"), true, now);

        assert_eq!(hold.take(empty("2"), true, now + GRACE / 2), None);
        assert_eq!(hold.due(), Some(now + GRACE));
        assert_eq!(version(hold.take(empty("3"), true, now + GRACE)), Some("3".into()));
    }

    #[test]
    fn what_a_lost_istiod_has_said_does_not_count_but_the_time_does() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.take(empty("1"), true, now);

        hold.lost();

        assert_eq!((hold.due(), hold.over()), (None, None), "nothing is used without istiod");
        let mut hold = Hold::default();
        hold.take(empty("1"), true, now);
        hold.lost();
        assert_eq!(hold.take(empty("2"), true, now + GRACE / 2), None);
        assert_eq!(hold.due(), Some(now + GRACE));
        hold.lost();
        assert!(hold.take(empty("3"), true, now + 2 * GRACE).is_some());
    }
}
