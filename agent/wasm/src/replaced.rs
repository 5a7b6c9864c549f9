//! Filters that Envoy was given something else for, because their modules were not to be had.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

/// What stands in for a filter, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Nothing passes; else everything does, without the filter.
    pub stops: bool,
    /// Why its module is not to be had.
    pub reason: String,
}

/// By the filters' names.
pub type AllReplaced = BTreeMap<String, Replaced>;

/// The filters that are replaced at present.
#[derive(Debug)]
pub(crate) struct Register {
    all: watch::Sender<AllReplaced>,
    /// When each was told of last.
    told: Mutex<HashMap<String, Instant>>,
}

impl Default for Register {
    fn default() -> Self {
        Self { all: watch::Sender::new(AllReplaced::new()), told: Mutex::default() }
    }
}

impl Register {
    pub(crate) fn all(&self) -> watch::Receiver<AllReplaced> {
        self.all.subscribe()
    }

    /// A filter was replaced; whether that is to be told.
    pub(crate) fn replace(&self, name: &str, replaced: &Replaced) -> bool {
        self.all.send_if_modified(|all| {
            let room = all.len() < MOST || all.contains_key(name);
            room && all.insert(name.to_owned(), replaced.clone()).as_ref() != Some(replaced)
        });
        let now = Instant::now();
        let mut told = self.told.lock();
        told.retain(|_, at| now < *at + SELDOM);
        let tells = told.len() < MOST && !told.contains_key(name);
        if tells {
            told.insert(name.to_owned(), now);
        }
        tells
    }

    /// A filter has its module.
    pub(crate) fn restore(&self, name: &str) {
        self.all.send_if_modified(|all| all.remove(name).is_some());
    }

    /// Envoy wants these filters and no others.
    pub(crate) fn only(&self, names: &[String]) {
        self.all.send_if_modified(|all| {
            let before = all.len();
            all.retain(|name, _| names.contains(name));
            all.len() != before
        });
    }
}

const SELDOM: Duration = Duration::from_secs(60);
/// As many as anybody would read.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_filter_that_is_replaced_is_told_once_a_minute_and_shown_until_it_is_not() {
        let register = Register::default();
        let replaced = |reason: &str| Replaced { stops: true, reason: reason.to_owned() };
        assert!(register.replace("a", &replaced("404")));
        assert!(register.replace("b", &replaced("guarded")));
        assert!(!register.replace("a", &replaced("silent")));
        let shown = |register: &Register| register.all().borrow().clone();
        let both = [("a", replaced("silent")), ("b", replaced("guarded"))];
        assert_eq!(shown(&register), both.map(|(name, it)| (name.to_owned(), it)).into());

        advance(SELDOM).await;
        assert!(register.replace("a", &replaced("silent")));
        register.restore("a");
        assert_eq!(shown(&register).into_keys().collect::<Vec<_>>(), ["b"]);
        register.only(&["a".to_owned()]);
        assert!(shown(&register).is_empty());
        for number in 0..1000 {
            register.replace(&number.to_string(), &replaced("404"));
        }
        assert_eq!(shown(&register).len(), MOST);
    }
}
