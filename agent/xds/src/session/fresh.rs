//! Whether what Envoy has is what whoever answers has.
//!
//! A type is fresh when Envoy has taken what the present epoch has said of it; or when the epoch had
//! time to say something of it, and has not.

use super::Session;

impl<R> Session<R> {
    /// The number of types that the present epoch has said something of.
    pub(crate) fn told(&self) -> usize {
        self.topics.values().filter(|topic| topic.told_in == self.epoch.number).count()
    }

    /// What Envoy wants of those types of which it has what whoever answers has.
    pub(crate) fn all_wanted(&self) -> Vec<(String, Option<Vec<String>>)> {
        let now = self.epoch.number;
        let topics = self.topics.iter().filter(|(_, it)| it.asked_in == now && !it.stale);
        topics.map(|(type_url, topic)| (type_url.clone(), topic.wanted(self.flavour))).collect()
    }

    /// Whether some of what Envoy has is what was kept, and may not hold any more.
    pub(crate) fn is_stale(&self) -> bool {
        self.topics.values().any(|topic| topic.stale)
    }

    /// Whoever answers has had time to say what has changed: what it did not speak of still holds.
    pub(crate) fn confirmed(&mut self) {
        for topic in self.topics.values_mut().filter(|it| it.asked_in == self.epoch.number) {
            // What it did speak of is for Envoy to judge.
            topic.stale &= topic.told_in == self.epoch.number;
            topic.waits_no_more();
        }
    }
}
