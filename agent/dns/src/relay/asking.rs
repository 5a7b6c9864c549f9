//! One client that waits for an answer.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Asker;
use super::flight::Landed;
use super::seats::Seat;
use crate::answer::{self, Errand};
use crate::counts::Source;
use crate::reply;

/// Time after which a client is given what is past its time (RFC 8767 §5).
const PATIENT: Duration = Duration::from_millis(1_800);

/// One who waits for an answer.
pub(super) struct Asking {
    pub(super) part: Part,
    pub(super) seat: Seat,
    pub(super) packet: Box<[u8]>,
    pub(super) errand: Errand,
    pub(super) from: Asker,
    /// There is something past its time to fall back on.
    pub(super) fallback: bool,
}

/// What somebody does for the answer.
pub(super) enum Part {
    /// Asks, for all who want to know.
    Flies(Option<Pin<Box<dyn Future<Output = Landed> + Send>>>),
    /// Waits for who asks.
    Waits(oneshot::Receiver<Landed>),
}

impl Asking {
    /// The message for the client, when there is one.
    pub(super) async fn answer(mut self) -> Vec<u8> {
        let Landed { reply, source } = if self.fallback {
            match timeout(PATIENT, self.part()).await {
                Ok(landed) => landed,
                Err(_late) => self.fall_back(),
            }
        } else {
            self.part().await
        };
        let relay = &self.seat.relay;
        let mut out = Vec::new();
        match reply {
            Some(reply) => {
                out = reply;
                reply::pass_on(&mut out, &self.packet, &self.errand);
            }
            None => {
                relay.counts.relay_failed.add();
                answer::fail(&self.packet, &self.errand, &mut out);
            }
        }
        relay.counts.note(source, self.from.transport, &out);
        relay.counts.took(source, self.seat.since.elapsed(), 1);
        out
    }

    async fn part(&mut self) -> Landed {
        match &mut self.part {
            Part::Waits(told) => told.await.unwrap_or_default(),
            Part::Flies(flight) => {
                let landed = match flight.as_mut() {
                    Some(flight) => flight.await,
                    None => Landed::default(),
                };
                *flight = None;
                landed
            }
        }
    }

    fn fall_back(&self) -> Landed {
        match self.seat.relay.stale(&self.packet, &self.errand, self.from) {
            Some(reply) => Landed { reply: Some(reply), source: Source::Stale },
            None => Landed::default(),
        }
    }
}

impl Drop for Asking {
    /// Others may wait for the flight, and what comes of it is kept.
    fn drop(&mut self) {
        if let Part::Flies(flight) = &mut self.part
            && let Some(flight) = flight.take()
        {
            self.seat.relay.go_on(async move { drop(flight.await) });
        }
    }
}
