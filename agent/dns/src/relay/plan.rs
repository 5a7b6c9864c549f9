//! In which order resolvers are asked one question, and how long each is waited for.
//!
//! Pure: the caller asks them, and says what came of it.

use std::time::Duration;

use super::resolvers::Order;
use crate::answer::Style;

/// Time until a resolver that is silent is asked once more: the datagram may be lost.
const AGAIN: Duration = Duration::from_millis(1_500);

/// What is to be done about one question.
#[derive(Debug)]
pub(crate) struct Plan {
    order: Order,
    style: Style,
    /// All are asked at once.
    at_once: bool,
    next: usize,
    round: u8,
    /// Resolvers that have said what they have to say, one bit each.
    done: u32,
}

impl Plan {
    pub(crate) fn new(order: Order, style: Style, at_once: bool) -> Self {
        Self { order, style, at_once, next: 0, round: 0, done: 0 }
    }

    /// The resolver to ask now, by its place in the list.
    pub(crate) fn step(&mut self) -> Option<usize> {
        while self.round < self.rounds() {
            while let Some(place) = self.order.get(self.next) {
                self.next += 1;
                if self.done & bit(place) == 0 {
                    return Some(place);
                }
            }
            self.next = 0;
            self.round += 1;
        }
        None
    }

    /// This one need not be asked again.
    pub(crate) fn retire(&mut self, place: usize) {
        self.done |= bit(place);
    }

    /// Whether the only resolver that there is has been asked but once.
    pub(crate) fn may_repeat(&self) -> bool {
        self.style == Style::Plain && self.order.len() == 1 && self.round == 0
    }

    /// How long to wait before the next step, when the last resolver asked is usually patient for
    /// `patience` and there is so much time left. Nothing, if there is no next step.
    pub(crate) fn pause(&self, patience: Duration, left: Duration) -> Option<Duration> {
        let (fresh, steps) = self.ahead();
        if steps == 0 {
            return None;
        }
        let shares = u32::try_from(steps).unwrap_or(u32::MAX).saturating_add(1);
        Some(match self.style {
            _ if self.at_once && fresh => Duration::ZERO,
            Style::Plain if fresh => patience.min(left / shares),
            Style::Plain => AGAIN.min(left / 2),
            Style::Istio => left / shares,
        })
    }

    /// Whether the next to be asked was not asked before, and how many steps there are.
    fn ahead(&self) -> (bool, usize) {
        let open = |from: usize| {
            let places = (from..self.order.len()).filter_map(|index| self.order.get(index));
            places.filter(|&place| self.done & bit(place) == 0).count()
        };
        if self.round >= self.rounds() {
            return (false, 0);
        }
        let here = open(self.next);
        let later = usize::from(self.rounds() - 1 - self.round) * open(0);
        // In the second round one waits for the first once, then for nobody in particular.
        (here > 0 && (self.round == 0 || self.next > 0), here + later)
    }

    /// Times that a silent resolver is asked.
    fn rounds(&self) -> u8 {
        match self.style {
            Style::Plain => 2,
            Style::Istio => 1,
        }
    }
}

fn bit(place: usize) -> u32 {
    u32::try_from(place).ok().and_then(|place| 1_u32.checked_shl(place)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::resolvers::{Resolvers, Upstream};

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(servers: u16, style: Style, at_once: bool) -> Plan {
        let address = |port| Upstream::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        let resolvers = Resolvers::new((1..=servers).map(address).collect());
        Plan::new(Order::ranked(&resolvers.servers()), style, at_once)
    }

    fn steps(mut plan: Plan) -> Vec<usize> {
        std::iter::from_fn(|| plan.step()).collect()
    }

    #[test]
    fn everybody_is_asked_twice_unless_it_has_spoken() {
        assert_eq!(steps(plan(2, Style::Plain, false)), [0, 1, 0, 1]);
        let mut plan = plan(3, Style::Plain, false);
        assert_eq!((plan.step(), plan.step()), (Some(0), Some(1)));
        plan.retire(1);
        assert_eq!(steps(plan), [2, 0, 2]);
    }

    #[test]
    fn only_one_that_is_alone_is_asked_once_more_and_only_in_our_style() {
        for (servers, style, may) in
            [(1, Style::Plain, true), (2, Style::Plain, false), (1, Style::Istio, false)]
        {
            let mut plan = plan(servers, style, false);
            plan.step();
            assert_eq!(plan.may_repeat(), may, "{servers} {style:?}");
            plan.step();
            plan.step();
            assert!(!plan.may_repeat(), "{servers} {style:?}");
        }
    }

    #[test]
    fn nobody_is_asked_if_there_is_nobody() {
        let plan = plan(0, Style::Plain, false);
        assert_eq!(plan.pause(SECOND, SECOND), None);
        assert!(steps(plan).is_empty());
    }

    #[test]
    fn in_the_old_style_everybody_is_asked_once_and_has_its_share() {
        let mut plan = plan(2, Style::Istio, false);
        plan.step();
        assert_eq!(plan.pause(SECOND / 50, 4 * SECOND), Some(2 * SECOND));
        plan.step();
        assert_eq!(plan.pause(SECOND / 50, 2 * SECOND), None);
        assert_eq!(plan.step(), None);
    }

    #[test]
    fn the_second_is_asked_soon_and_the_first_again_later() {
        let mut plan = plan(2, Style::Plain, false);
        plan.step();
        assert_eq!(plan.pause(SECOND / 50, 5 * SECOND), Some(SECOND / 50));
        plan.step();
        assert_eq!(plan.pause(SECOND / 50, 5 * SECOND), Some(AGAIN));
        assert_eq!(plan.pause(SECOND / 50, SECOND), Some(SECOND / 2), "if there is time");
        plan.step();
        assert_eq!(plan.pause(SECOND / 50, 5 * SECOND), Some(SECOND / 50));
        plan.step();
        assert_eq!(plan.pause(SECOND / 50, 5 * SECOND), None);
    }

    #[test]
    fn all_at_once_means_that_nobody_is_waited_for() {
        let mut plan = plan(3, Style::Plain, true);
        for _ in 0..2 {
            plan.step();
            assert_eq!(plan.pause(SECOND, 5 * SECOND), Some(Duration::ZERO));
        }
        plan.step();
        assert_eq!(plan.pause(SECOND, 5 * SECOND), Some(AGAIN));
    }
}
