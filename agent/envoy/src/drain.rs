//! Letting connections end before Envoy does.
//!
//! The mesh is told first by whoever calls this, because a connection that nobody opens any more
//! need not be drained. Then Envoy is told, which tells its clients; and then its connections are
//! counted until there are none, or the time is up. What to do next is decided by [`Countdown`],
//! which is pure.

use std::{fmt, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{Error, admin::Admin};

/// What is drained, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Envoy's admin interface.
    pub admin: Admin,
    /// How long connections may take.
    pub limit: Duration,
    /// What it is drained of.
    pub what: What,
}

/// What Envoy is drained of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// All connections, because it is to end: at the end of its own drain time it stops to listen.
    Everything {
        /// Ports of listeners whose connections nobody waits for.
        own_ports: Vec<u16>,
    },
    /// What comes in. It goes on listening: who has not heard of it yet is served and told again.
    Inbound {
        /// Ports of the listeners that it comes in by.
        ports: Vec<u16>,
    },
}

/// What was found out while connections are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There are still so many, and so much time is left.
    Waits {
        /// None if they cannot be counted.
        connections: Option<u64>,
        /// Until [`Step::Late`].
        left: Duration,
    },
    /// There are none any more.
    Empty,
    /// The time is up, and there are so many.
    Late {
        /// None if they cannot be counted.
        connections: Option<u64>,
    },
    /// Envoy is gone, or does not answer any more.
    Gone,
}

/// Decides how long connections are waited for.
#[derive(Debug)]
pub struct Countdown {
    limit: Duration,
    /// Answers missed in a row.
    missed: u32,
}

impl Countdown {
    /// One that ends after `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { limit, missed: 0 }
    }

    /// What there is to do, so long after the beginning, and after `counted` was found: nothing if
    /// Envoy does not answer, an empty answer if it does not say.
    pub fn step(&mut self, passed: Duration, counted: Option<Option<u64>>) -> Step {
        self.missed = if counted.is_some() { 0 } else { self.missed.saturating_add(1) };
        let left = self.limit.saturating_sub(passed);
        match counted {
            Some(Some(0)) => Step::Empty,
            None if self.missed >= MOST_MISSED => Step::Gone,
            counted if left.is_zero() => Step::Late { connections: counted.flatten() },
            counted => Step::Waits { connections: counted.flatten(), left },
        }
    }
}

/// Tells Envoy to drain, and waits until its connections have ended or the time is up. `tell` is
/// given what changes; the last step is returned.
///
/// Cancel safe: what Envoy was told, it goes on with.
pub async fn drain(options: &Options, mut tell: impl FnMut(Step)) -> Result<Step, Error> {
    let admin = options.admin.with_limit(ANSWER);
    match options.what {
        What::Everything { .. } => admin.drain().await?,
        What::Inbound { .. } => drop(admin.post(INBOUND).await?),
    }
    let begun = Instant::now();
    let mut countdown = Countdown::new(options.limit);
    let mut told = None;
    loop {
        let left = options.limit.saturating_sub(begun.elapsed());
        let counted = match admin.with_limit(ANSWER.min(left.max(PAUSE))).get(STATISTICS).await {
            Ok(text) => Some(options.what.connections(&text)),
            // Nobody listens there any more: it has ended.
            Err(Error::Connect { .. }) => return Ok(Step::Gone),
            Err(_late_or_odd) => None,
        };
        let step = countdown.step(begun.elapsed(), counted);
        let Step::Waits { connections, left } = step else { return Ok(step) };
        if told != Some(connections) {
            told = Some(connections);
            tell(step);
        }
        sleep(PAUSE.min(left)).await;
    }
}

impl What {
    /// How many connections there are of it, by the lines of Envoy's statistics; none if it has no
    /// such statistics. Not counted are those of its admin interface and of listeners inside of it,
    /// and those of workers, which are of the same connections.
    pub fn connections(&self, statistics: &str) -> Option<u64> {
        let mut sum: Option<u64> = None;
        for line in statistics.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            let listener = name.strip_prefix("listener.").and_then(|n| n.strip_suffix(ACTIVE));
            let (Some(listener), Ok(value)) = (listener, value.trim().parse::<u64>()) else {
                continue;
            };
            let at = |ports: &[u16]| ports.iter().any(|p| listener.ends_with(&format!("_{p}")));
            let wanted = match self {
                Self::Everything { own_ports } => !at(own_ports),
                Self::Inbound { ports } => at(ports),
            };
            let inside = ["admin", "envoy_internal_"].iter().any(|name| listener.starts_with(name));
            let counts = wanted && !inside && !listener.contains(".worker_");
            // One that does not count is a sign all the same that they are counted.
            sum = Some(sum.unwrap_or_default().saturating_add(if counts { value } else { 0 }));
        }
        sum
    }
}

impl Step {
    /// So many connections, in words.
    pub fn count(connections: Option<u64>) -> String {
        match connections {
            Some(1) => "1 connection".to_owned(),
            Some(count) => format!("{count} connections"),
            None => "connections that cannot be counted".to_owned(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waits { connections, left } => {
                write!(f, "{}, {} s left", Self::count(*connections), left.as_secs_f64().ceil())
            }
            Self::Empty => f.write_str("no connections"),
            Self::Late { connections } => {
                write!(f, "time is up, {} cut", Self::count(*connections))
            }
            Self::Gone => f.write_str("envoy has ended"),
        }
    }
}

const ACTIVE: &str = ".downstream_cx_active";
const STATISTICS: &str = "/stats?filter=%5Elistener%5C..*%5C.downstream_cx_active%24";
/// As Istio's agent does when it ends.
const INBOUND: &str = "/drain_listeners?inboundonly&graceful&skip_exit";
const ANSWER: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(1);
const MOST_MISSED: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds what was found.
    type Found<'a> = &'a [(u64, Option<Option<u64>>)];

    #[test]
    fn connections_that_somebody_has_are_counted_once() {
        let statistics = "listener.0.0.0.0_15001.downstream_cx_active: 2\n\
                          listener.0.0.0.0_15001.worker_0.downstream_cx_active: 2\n\
                          listener.[__]_15006.downstream_cx_active: 3\n\
                          listener.0.0.0.0_15021.downstream_cx_active: 5\n\
                          listener.0.0.0.0_15090.downstream_cx_active: 7\n\
                          listener.admin.downstream_cx_active: 1\n\
                          listener.admin.main_thread.downstream_cx_active: 1\n\
                          listener.envoy_internal_connect_originate.downstream_cx_active: 9\n\
                          http.x.downstream_cx_active: 11\nno line";
        let everything = What::Everything { own_ports: vec![15021, 15090] };
        let inbound = What::Inbound { ports: vec![15006, 15008] };
        let counted =
            |statistics| (everything.connections(statistics), inbound.connections(statistics));
        assert_eq!(counted(statistics), (Some(5), Some(3)));
        assert_eq!(counted("listener.admin.downstream_cx_active: 1"), (Some(0), Some(0)));
        assert_eq!(counted("http.x.downstream_cx_active: 11\n"), (None, None));
    }

    #[test]
    fn it_is_waited_until_there_are_none_or_the_time_is_up_or_envoy_is_gone() {
        let at = Duration::from_secs;
        let waits = |connections, left| Step::Waits { connections, left: at(left) };
        let table: [(Found<'_>, &[Step]); 4] = [
            (
                &[(0, Some(Some(500))), (2, Some(Some(3))), (3, Some(Some(0)))],
                &[waits(Some(500), 10), waits(Some(3), 8), Step::Empty],
            ),
            (
                &[(0, Some(Some(1))), (10, Some(Some(1)))],
                &[waits(Some(1), 10), Step::Late { connections: Some(1) }],
            ),
            (
                &[(0, Some(None)), (11, Some(None))],
                &[waits(None, 10), Step::Late { connections: None }],
            ),
            (
                &[
                    (0, None),
                    (1, None),
                    (2, Some(Some(1))),
                    (3, None),
                    (4, None),
                    (5, None),
                    (6, None),
                    (7, None),
                ],
                &[
                    waits(None, 10),
                    waits(None, 9),
                    waits(Some(1), 8),
                    waits(None, 7),
                    waits(None, 6),
                    waits(None, 5),
                    waits(None, 4),
                    Step::Gone,
                ],
            ),
        ];
        for (found, expected) in table {
            let mut countdown = Countdown::new(at(10));
            let steps: Vec<Step> = found
                .iter()
                .map(|(passed, counted)| countdown.step(at(*passed), *counted))
                .collect();
            assert_eq!(steps, expected);
        }
    }

    #[test]
    fn a_step_is_told_in_words() {
        let left = Duration::from_millis(44_200);
        let waits = |connections| Step::Waits { connections, left };
        assert_eq!(waits(Some(500)).to_string(), "500 connections, 45 s left");
        assert_eq!(waits(Some(1)).to_string(), "1 connection, 45 s left");
        assert_eq!(
            Step::Late { connections: Some(2) }.to_string(),
            "time is up, 2 connections cut"
        );
    }
}
