//! Asking one question: whom, when, and what is made of what they say.

use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use super::attempt::{Attempt, Event};
use super::flight::{Flight, Verdict};
use super::plan::Plan;
use super::resolvers::Server;
use crate::answer::{Style, Transport};
use crate::message::{flag, rcode};
use crate::reply::Heard;

/// Time for the whole of a reply that is there in part: what is there will do, and the client has
/// not been waiting for less.
const WHOLE: Duration = Duration::from_secs(2);
/// Milliseconds until the only resolver is asked once more that has failed: often it has just
/// started, or lost a datagram of its own.
const PAUSE: RangeInclusive<u64> = 50..=100;

/// What is under way.
pub(super) struct Course<'a> {
    flight: &'a mut Flight,
    servers: &'a [Arc<Server>],
    plan: Plan,
    attempts: Vec<Attempt>,
    refusal: Option<Vec<u8>>,
    /// Whoever has failed is asked once more, after a pause.
    again: bool,
}

impl<'a> Course<'a> {
    pub(super) fn new(flight: &'a mut Flight, servers: &'a [Arc<Server>], plan: Plan) -> Self {
        let attempts = Vec::with_capacity(1);
        Self { flight, servers, plan, attempts, refusal: None, again: false }
    }

    pub(super) async fn run(mut self) -> Verdict {
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
            let question = self.flight.question();
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
        let mut reply = None;
        for mut attempt in attempts {
            if !attempt.has_heard() {
                self.note_silent(&attempt, "no reply in time");
            }
            reply = reply.or(attempt.last_word());
        }
        match (reply, self.refusal.take()) {
            (Some(reply), _) => Verdict::Reply(reply),
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
