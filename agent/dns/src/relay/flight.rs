//! One question on its way, from when it is first asked to when there is a reply or no time left.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::attempt::{Attempt, Event};
use super::course::Course;
use super::plan::Plan;
use super::question::Sort;
use super::resolvers::{Order, Server};
use super::{ALL_SILENT, Relay, is_error};
use crate::answer::{Errand, Style, Transport};
use crate::counts::Source;
use crate::message::HEADER;

/// Time that a resolver is given when it is tried while others answer.
const TRIAL: Duration = Duration::from_secs(2);

/// One question on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) relay: Arc<Relay>,
    pub(super) key: Arc<[u8]>,
    /// Under the identifier that was drawn last.
    query: Vec<u8>,
    question_end: usize,
    /// The most that the client takes.
    pub(super) limit: usize,
    pub(super) transport: Transport,
    sort: Sort,
    pub(super) deadline: Instant,
    generation: u64,
    landed: bool,
}

/// What has come of a flight.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    pub(super) reply: Option<Vec<u8>>,
    pub(super) source: Source,
}

/// What has come of asking.
pub(super) enum Verdict {
    Reply(Vec<u8>),
    /// Some resolver could not or would not say.
    Refusal(Vec<u8>),
    Silence,
    /// There was nobody to ask.
    Nobody,
}

impl Default for Landed {
    fn default() -> Self {
        Self { reply: None, source: Source::None }
    }
}

impl Flight {
    pub(super) fn new(
        relay: &Arc<Relay>,
        key: Arc<[u8]>,
        query: Vec<u8>,
        errand: &Errand,
        transport: Transport,
        sort: Sort,
    ) -> Self {
        Self {
            relay: Arc::clone(relay),
            key,
            query,
            question_end: errand.question_end,
            limit: errand.limit,
            transport,
            sort,
            deadline: Instant::now() + relay.options.timeout,
            generation: relay.resolvers.generation(),
            landed: false,
        }
    }

    /// Asks until there is a reply, tells everybody who waits, and keeps it.
    pub(super) async fn run(mut self) -> Landed {
        let verdict = self.ask().await;
        let landed = self.judge(verdict);
        self.land(&landed);
        landed
    }

    async fn ask(&mut self) -> Verdict {
        let relay = Arc::clone(&self.relay);
        let servers = relay.resolvers.servers();
        let now = relay.resolvers.now();
        let style = relay.options.style;
        let order = match style {
            Style::Istio if !relay.options.parallel => {
                Order::shuffled(&servers, &mut fastrand::Rng::new())
            }
            _ => Order::ranked(&servers),
        };
        if order.len() == 0 {
            return Verdict::Nobody;
        }
        if order.len() > 1 && style == Style::Plain {
            self.try_others(&servers, order.get(0), now);
        }
        let plan = Plan::new(order, style, relay.options.parallel);
        Course::new(self, &servers, plan).run().await
    }

    /// Puts the question to those that are behind others as well, if it is time to see how they do.
    fn try_others(&mut self, servers: &[Arc<Server>], first: Option<usize>, now: u64) {
        for (place, server) in servers.iter().enumerate() {
            if Some(place) == first || !server.claim_try(now) || !self.relay.seats.lock().has_room()
            {
                continue;
            }
            let question = self.question().to_vec();
            if let Ok(attempt) = self.attempt(servers, place, Transport::Udp) {
                let relay = Arc::clone(&self.relay);
                self.relay.go_on(trial(relay, Arc::clone(server), attempt, question));
            }
        }
    }

    pub(super) fn attempt(
        &mut self,
        servers: &[Arc<Server>],
        place: usize,
        transport: Transport,
    ) -> std::io::Result<Attempt> {
        let server = servers.get(place).ok_or(std::io::ErrorKind::NotFound)?;
        Attempt::begin(&self.relay, server, place, &mut self.query, self.question_end, transport)
    }

    pub(super) fn question(&self) -> &[u8] {
        self.query.get(HEADER..self.question_end).unwrap_or_default()
    }

    /// What the client is told.
    fn judge(&self, verdict: Verdict) -> Landed {
        let upstream = |reply| Landed { reply: Some(reply), source: Source::Upstream };
        let refusal = match verdict {
            Verdict::Reply(reply) => return upstream(reply),
            Verdict::Refusal(reply) => Some(reply),
            Verdict::Silence => {
                self.relay.resolvers.note_lost();
                if let Some(suppressed) = ALL_SILENT.allow() {
                    warn!(suppressed, "no resolver replies");
                }
                None
            }
            Verdict::Nobody => None,
        };
        let now = self.relay.resolvers.now();
        let mut desk = self.relay.desk.lock();
        if self.sort == Sort::Plain
            && let Some(cache) = &mut desk.cache
        {
            cache.rest(&self.key, now);
            let mut stale = Vec::new();
            if cache.copy(&self.key, now, &mut stale).is_some() && !is_error(&stale) {
                return Landed { reply: Some(stale), source: Source::Stale };
            }
        }
        refusal.map(upstream).unwrap_or_default()
    }

    /// Tells everybody.
    fn land(&mut self, landed: &Landed) {
        self.landed = true;
        let waiting = {
            let mut desk = self.relay.desk.lock();
            if let Landed { reply: Some(reply), source: Source::Upstream } = landed
                && self.sort == Sort::Plain
                && self.generation == self.relay.resolvers.generation()
                && let Some(cache) = &mut desk.cache
            {
                cache.keep(&self.key, reply, self.relay.resolvers.now());
                desk.count(&self.relay.counts);
            }
            desk.flights.remove(&self.key)
        };
        for waiter in waiting.unwrap_or_default() {
            // Whoever has left does not want to know.
            drop(waiter.send(landed.clone()));
        }
    }
}

impl Drop for Flight {
    /// A flight that was given up leaves nobody waiting.
    fn drop(&mut self) {
        if !self.landed {
            self.relay.desk.lock().flights.remove(&self.key);
        }
    }
}

/// Finds out how a resolver does, with a question that another one answers.
async fn trial(relay: Arc<Relay>, server: Arc<Server>, mut attempt: Attempt, question: Vec<u8>) {
    let heard = std::future::poll_fn(|context| attempt.poll(context, &question, usize::MAX));
    let now = || relay.resolvers.now();
    match tokio::time::timeout(TRIAL, heard).await {
        Ok(Event::Reply(..) | Event::Cut(_) | Event::Doubt) => {
            server.note_answered(attempt.begun.elapsed());
        }
        Ok(Event::Failed(error, _)) => server.note_silent(&error.to_string(), now()),
        Err(_late) => server.note_silent("no reply in time", now()),
    }
}
