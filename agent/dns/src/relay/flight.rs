//! One question on its way, from when it is first asked to when there is a reply or no time left.

use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{debug, warn};

use super::attempt::{Attempt, Event};
use super::plan::Plan;
use super::question::Sort;
use super::resolvers::{Order, Server};
use super::{ALL_SILENT, Relay, is_error};
use crate::answer::{Errand, Style, Transport};
use crate::counts::Source;
use crate::message::{HEADER, flag, rcode};
use crate::reply::Heard;

/// Time that a resolver is given when it is tried while others answer.
const TRIAL: Duration = Duration::from_secs(2);

/// Time for the whole of a reply that is there in part: what is there will do, and the client has
/// not been waiting for less.
const WHOLE: Duration = Duration::from_secs(2);
/// Milliseconds until the only resolver is asked once more that has failed: often it has just
/// started, or lost a datagram of its own.
const PAUSE: RangeInclusive<u64> = 50..=100;

/// One question on its way.
#[derive(Debug)]
pub(super) struct Flight {
    relay: Arc<Relay>,
    key: Arc<[u8]>,
    /// Under the identifier that was drawn last.
    query: Vec<u8>,
    question_end: usize,
    limit: usize,
    transport: Transport,
    sort: Sort,
    deadline: Instant,
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
enum Verdict {
    Reply(Vec<u8>),
    /// Some resolver could not or would not say.
    Refusal(Vec<u8>),
    Silence,
    /// There was nobody to ask.
    Nobody,
}

/// What is under way.
struct Course<'a> {
    flight: &'a mut Flight,
    servers: &'a [Arc<Server>],
    plan: Plan,
    attempts: Vec<Attempt>,
    refusal: Option<Vec<u8>>,
    /// Whoever has failed is asked once more, after a pause.
    again: bool,
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
        let course = Course {
            flight: self,
            servers: &servers,
            plan,
            attempts: Vec::with_capacity(1),
            refusal: None,
            again: false,
        };
        course.run().await
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

    fn attempt(
        &mut self,
        servers: &[Arc<Server>],
        place: usize,
        transport: Transport,
    ) -> std::io::Result<Attempt> {
        let server = servers.get(place).ok_or(std::io::ErrorKind::NotFound)?;
        Attempt::begin(&self.relay, server, place, &mut self.query, self.question_end, transport)
    }

    fn question(&self) -> &[u8] {
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

impl Course<'_> {
    async fn run(mut self) -> Verdict {
        let mut timer = pin!(sleep_until(self.flight.deadline));
        if !self.next(timer.as_mut()) {
            return self.end();
        }
        loop {
            let Some((index, event)) = self.wait(timer.as_mut()).await else {
                if Instant::now() >= self.flight.deadline {
                    return self.end();
                }
                // It is time for the next, but the others may still reply.
                self.next(timer.as_mut());
                continue;
            };
            if let Some(reply) = self.hear(index, event) {
                self.leave();
                return Verdict::Reply(reply);
            }
            if timer.deadline() > self.flight.deadline {
                timer.as_mut().reset(self.flight.deadline);
            }
            if std::mem::take(&mut self.again) {
                let pause = Duration::from_millis(fastrand::Rng::new().u64(PAUSE));
                sleep_until((Instant::now() + pause).min(self.flight.deadline)).await;
            }
            if self.attempts.is_empty() && !self.next(timer.as_mut()) {
                return self.end();
            }
        }
    }

    /// Waits until something is heard, or it is time to go on.
    async fn wait(&mut self, mut timer: Pin<&mut Sleep>) -> Option<(usize, Event)> {
        std::future::poll_fn(|context: &mut Context<'_>| {
            let question_end = self.flight.question_end;
            let question = self.flight.query.get(HEADER..question_end).unwrap_or_default();
            for (index, attempt) in self.attempts.iter_mut().enumerate() {
                if let Poll::Ready(event) = attempt.poll(context, question, self.flight.limit) {
                    return Poll::Ready(Some((index, event)));
                }
            }
            timer.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// Asks whoever is next, and sets the timer for the one after; says whether anybody is waited
    /// for.
    fn next(&mut self, timer: Pin<&mut Sleep>) -> bool {
        let mut at = self.flight.deadline;
        while let Some(place) = self.plan.step() {
            let under_way = |attempt: &Attempt| attempt.place == place;
            if self.attempts.iter().any(|attempt| under_way(attempt) && attempt.is_stream()) {
                // What a stream brings, it brings.
                continue;
            }
            if let Some(again) = self.attempts.iter().position(under_way) {
                let attempt = self.attempts.swap_remove(again);
                self.note_silent(&attempt, "no reply in time");
            } else if !self.attempts.is_empty() {
                // Nobody needs a second socket as long as there is one.
                if !self.flight.relay.seats.lock().has_room() {
                    break;
                }
                self.flight.relay.counts.hedged.add();
            }
            match self.flight.attempt(self.servers, place, self.flight.transport) {
                Ok(attempt) => self.attempts.push(attempt),
                Err(error) => {
                    self.failed(place, &error);
                    continue;
                }
            }
            let patience = self.servers.get(place).map(|server| server.patience());
            let left = self.flight.deadline.saturating_duration_since(Instant::now());
            match self.plan.pause(patience.unwrap_or_default(), left) {
                Some(Duration::ZERO) => continue,
                Some(pause) => at = (Instant::now() + pause).min(at),
                None => {}
            }
            break;
        }
        timer.reset(at);
        !self.attempts.is_empty()
    }

    /// Takes in what was heard; gives the reply, if that is it.
    fn hear(&mut self, index: usize, event: Event) -> Option<Vec<u8>> {
        let place = self.attempts.get(index)?.place;
        match event {
            Event::Reply(heard, reply) => {
                let attempt = self.attempts.swap_remove(index);
                let good =
                    heard == Heard::Answer || self.flight.relay.options.style == Style::Istio;
                self.note_answered(&attempt);
                if good {
                    return Some(reply);
                }
                self.again = has_failed(&reply) && self.plan.may_repeat();
                if !self.again {
                    self.plan.retire(place);
                }
                self.attempts.retain(|attempt| attempt.place != place);
                self.refusal.get_or_insert(reply);
            }
            Event::Cut(reply) => {
                let attempt = self.attempts.swap_remove(index);
                self.note_answered(&attempt);
                self.flight.relay.counts.by_tcp.add();
                match self.flight.attempt(self.servers, place, Transport::Tcp) {
                    Ok(whole) => {
                        self.attempts.push(whole.or_else(reply));
                        let deadline = &mut self.flight.deadline;
                        *deadline = (Instant::now() + WHOLE).min(*deadline);
                    }
                    Err(_) => return Some(reply),
                }
            }
            Event::Doubt => {
                self.flight.relay.counts.by_tcp.add();
                match self.flight.attempt(self.servers, place, Transport::Tcp) {
                    Ok(sure) => self.attempts.push(sure),
                    Err(error) => debug!(%error, "cannot ask over tcp"),
                }
            }
            Event::Failed(error, otherwise) => {
                drop(self.attempts.swap_remove(index));
                if otherwise.is_some() {
                    return otherwise;
                }
                let other = self.attempts.iter_mut().find(|attempt| attempt.place == place);
                match other.map(Attempt::believe) {
                    // It does not speak TCP, and what was taken for guesses was hardly one.
                    Some((true, reply)) => return reply,
                    Some((false, _)) => self.attempts.retain(|attempt| attempt.place != place),
                    None => {}
                }
                self.failed(place, &error);
            }
        }
        None
    }

    /// Nobody has said anything of use.
    fn end(mut self) -> Verdict {
        let attempts = std::mem::take(&mut self.attempts);
        let mut cut = None;
        for mut attempt in attempts {
            if attempt.otherwise.is_none() {
                self.note_silent(&attempt, "no reply in time");
            }
            cut = cut.or(attempt.otherwise.take());
        }
        match (cut, self.refusal.take()) {
            (Some(cut), _) => Verdict::Reply(cut),
            (None, Some(refusal)) => Verdict::Refusal(refusal),
            (None, None) => Verdict::Silence,
        }
    }

    /// Somebody has answered; the others were slower.
    fn leave(&mut self) {
        let now = self.flight.relay.resolvers.now();
        for attempt in &self.attempts {
            if let Some(server) = self.servers.get(attempt.place) {
                let waited = attempt.begun.elapsed();
                if waited >= server.patience() {
                    server.note_lost(waited, now);
                }
            }
        }
    }

    fn failed(&mut self, place: usize, error: &std::io::Error) {
        self.plan.retire(place);
        if let Some(server) = self.servers.get(place) {
            debug!(peer = %server.upstream, %error, "no reply from resolver");
            server.note_silent(&error.to_string(), self.flight.relay.resolvers.now());
        }
    }

    fn note_answered(&self, attempt: &Attempt) {
        if let Some(server) = self.servers.get(attempt.place) {
            server.note_answered(attempt.begun.elapsed());
        }
    }

    fn note_silent(&self, attempt: &Attempt, why: &str) {
        let Some(server) = self.servers.get(attempt.place) else { return };
        server.note_silent(why, self.flight.relay.resolvers.now());
        // Who else would ask the very same meanwhile, if not the resolver?
        let key = &self.flight.key;
        let desk = self.flight.relay.desk.lock();
        if desk.flights.get(key).is_some_and(|waiting| !waiting.is_empty()) {
            drop(desk);
            self.flight.relay.loops.suspect(server.upstream.address);
        }
    }
}

/// Whether the resolver could not, which may pass; to refuse is its decision.
fn has_failed(reply: &[u8]) -> bool {
    reply.get(3).is_some_and(|low| low & flag::RCODE == rcode::SERVER_FAILURE)
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
