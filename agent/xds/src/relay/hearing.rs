//! One stream to whoever answers, followed from its first bytes to its last.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hawser_wire::{Broken, Frames, Part};
use tokio::time::{Instant, sleep_until};

use super::{
    Relay, Remote,
    answers::{Garbage, Over},
    detour::Detour,
    pace::First,
};
use crate::{
    Seen,
    downstream::Deaf,
    passage::{Came, Fault, HOLD, Passage, pass_whole},
    record::Record,
    source::{Answers, Opened},
};

/// A stream to whoever answers, while it is heard.
pub(super) struct Hearing<'a> {
    relay: &'a Relay,
    who: String,
    answers: Box<dyn Answers>,
    frames: Frames,
    passage: Option<Passage<'a>>,
    detour: Detour,
    joined: Option<Joined>,
    /// Since the first good message.
    heard: &'a mut Option<Instant>,
    first: First,
    /// Some of what comes may have gone to Envoy.
    has_left: bool,
    /// How many types it has spoken of, and when there was time to speak of all others.
    told: Option<usize>,
    confirmed: Option<Instant>,
}

/// What happens next.
enum Turn {
    /// More bytes.
    Chunk(Bytes),
    /// Modules are here, or are not to be had.
    Made(Remote, Result<Bytes, String>),
    /// There was time to say what has changed.
    Confirmed,
    /// Envoy has refused what it was told, and has nothing else.
    Fallen,
    Over(Over),
}

impl<'a> Hearing<'a> {
    /// Of that stream, of which these bytes are the first.
    pub(super) fn new(
        relay: &'a Relay,
        Opened { who, answers }: Opened,
        first: Bytes,
        heard: &'a mut Option<Instant>,
        patience: Duration,
    ) -> Self {
        let mut frames = Frames::new(LARGEST_RESPONSE);
        frames.push(first);
        let detour = Detour::new(relay.flavour);
        Self {
            relay,
            who,
            answers,
            frames,
            passage: None,
            detour,
            joined: None,
            heard,
            first: First::new(patience),
            has_left: false,
            told: None,
            confirmed: None,
        }
    }

    /// Passes on what is answered, until the end.
    pub(super) async fn hear(&mut self) -> Result<Over, Deaf> {
        let over = self.pass_all().await?;
        let torn = matches!(over, Over::Ended) && !self.frames.between();
        let over = if torn { Over::Torn } else { over };
        if matches!(over, Over::Silent(_) | Over::Garbled { .. } | Over::Torn) {
            self.answers.failed();
        }
        if let Some(passage) = self.passage.take() {
            passage.cut().await?;
        }
        Ok(over)
    }

    async fn pass_all(&mut self) -> Result<Over, Deaf> {
        loop {
            let passed = match self.parts() {
                Err(broken) => return Ok(Over::Garbled { source: broken.into() }),
                Ok(Some(part)) => self.part(part).await,
                Ok(None) => match self.turn().await? {
                    Turn::Over(over) => return Ok(over),
                    Turn::Made(remote, made) => self.pass(remote, made).await,
                    Turn::Chunk(chunk) => {
                        self.take(chunk);
                        Ok(())
                    }
                    Turn::Confirmed => {
                        self.confirmed = None;
                        self.relay.confirmed();
                        Ok(())
                    }
                    Turn::Fallen => self.relay.fall_back().await.map_err(Fault::from),
                },
            };
            match passed {
                Ok(()) => {}
                Err(Fault::Deaf) => return Err(Deaf),
                Err(Fault::Unreadable) => {
                    return Ok(Over::Garbled { source: Garbage::Response });
                }
            }
        }
    }

    /// What came and was not looked at; nothing while too much is kept waiting.
    fn parts(&mut self) -> Result<Option<Part>, Broken> {
        if self.detour.has_room() { self.frames.next() } else { Ok(None) }
    }

    /// Takes what is here in one go: each time that something is handed on costs as much as a good
    /// many bytes of it.
    fn take(&mut self, chunk: Bytes) {
        let mut taken = chunk.len();
        self.frames.push(chunk);
        while taken < AT_ONCE
            && let Some(more) = self.answers.more()
        {
            taken += more.len();
            self.frames.push(more);
        }
        self.first.came(taken);
    }

    /// What comes next, once all that may leave has left.
    async fn turn(&mut self) -> Result<Turn, Deaf> {
        if let Some(passage) = &mut self.passage {
            passage.release().await?;
        }
        if self.heard.is_none() {
            return self.first_turn().await;
        }
        let (relay, between, room) = (self.relay, self.passage.is_none(), self.detour.has_room());
        let due = self.confirmed.filter(|_| between);
        Ok(tokio::select! {
            (remote, made) = self.detour.next(), if between => Turn::Made(remote, made),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Turn::Confirmed,
            next = relay.next(&mut self.answers, None), if room => {
                next.map_or_else(Turn::Over, Turn::Chunk)
            }
            () = relay.renewal(), if !room => Turn::Over(Over::Renewed),
            () = relay.doubts(), if between => Turn::Over(Over::Renewed),
            () = relay.falls(), if between => Turn::Fallen,
        })
    }

    /// What comes next of the first message. As long as nothing of it has left, Envoy may have waited
    /// too long for it.
    async fn first_turn(&mut self) -> Result<Turn, Deaf> {
        let relay = self.relay;
        let next = relay.next(&mut self.answers, Some(self.first.left()));
        let next = if self.has_left { next.await } else { relay.meanwhile(next).await? };
        let outdated = relay.session().is_outdated() && !self.has_left;
        Ok(match next {
            Ok(_) if outdated => Turn::Over(Over::Renewed),
            Err(Over::Silent(_)) => Turn::Over(Over::Silent(self.first.patience)),
            next => next.map_or_else(Turn::Over, Turn::Chunk),
        })
    }

    async fn part(&mut self, part: Part) -> Result<(), Fault> {
        match part {
            Part::Begin { length } => {
                self.relay.shared.metrics.begins(length);
                self.has_left = length > HOLD;
                self.passage = Some(Passage::begin(self.relay, length));
            }
            Part::Data(data) => {
                if let Some(passage) = &mut self.passage {
                    passage.data(data).await?;
                }
            }
            Part::End => {
                if let Some(passage) = self.passage.take()
                    && let Some(remote) = passage.end().await?
                {
                    self.detour.push(remote);
                }
                self.good();
                self.relay.tell_gone().await?;
            }
        }
        Ok(())
    }

    /// Passes on what others have passed by.
    async fn pass(&mut self, remote: Remote, made: Result<Bytes, String>) -> Result<(), Fault> {
        let Remote { type_url, nonce, .. } = &remote;
        match made {
            Ok(message) => {
                let record = Record::kept(self.relay, type_url);
                pass_whole(self.relay, record, message, Came::Answered).await
            }
            Err(reason) => {
                self.relay.refuse(type_url, nonce, &reason);
                Ok(())
            }
        }
    }

    /// A good message has come.
    fn good(&mut self) {
        let (first, told) = {
            let mut session = self.relay.session();
            (session.heard(), Some(session.told()))
        };
        if self.told != told {
            self.told = told;
            self.confirmed = Some(Instant::now() + CONFIRMED);
        }
        if !first {
            return;
        }
        *self.heard = Some(Instant::now());
        self.answers.heard();
        let shared = &self.relay.shared;
        shared.outage.over();
        shared.seen.change(|standing| {
            standing.joined += 1;
            standing.since.get_or_insert_with(SystemTime::now);
            standing.source = Some(self.who.clone());
            standing.attempts = 0;
        });
        self.joined = Some(Joined(shared.seen.clone()));
    }
}

/// A stream of Envoy's that is answered, counted for as long as this lives.
struct Joined(Seen);

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.change(|standing| {
            standing.joined -= 1;
            if standing.joined == 0 {
                standing.since = None;
            }
        });
    }
}

/// What is taken in one go, about.
const AT_ONCE: usize = 128 << 10;
/// What gRPC implementations agree on as the largest message.
const LARGEST_RESPONSE: usize = i32::MAX as usize;
/// What was not spoken of by then has not changed.
const CONFIRMED: Duration = Duration::from_secs(5);
