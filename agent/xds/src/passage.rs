//! One response on its way to Envoy.
//!
//! - A small one is gathered before a byte of it leaves, so that losing its sender costs nothing.
//! - A large one leaves as it comes, and never as a whole is it here. If its sender is lost it is
//!   completed with an ending that Envoy refuses, and Envoy's stream goes on.
//! - One whose resources have to be made fit is rewritten field by field as it leaves; one with
//!   modules to be fetched is gathered, within a limit, and handed back: others pass meanwhile.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use hawser_wire::{Event, Fieldwise, Malformed, Reader, Response, Tail, write};

use crate::{
    downstream::{Deaf, Floor},
    record::Record,
    relay::{Relay, Remote},
    session::Sent,
};

/// What has to happen because of a response.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Envoy does not listen any more.
    Deaf,
    /// It is no message that can be read.
    Unreadable,
}

impl From<Deaf> for Fault {
    fn from(Deaf: Deaf) -> Self {
        Self::Deaf
    }
}

impl From<Malformed> for Fault {
    fn from(Malformed: Malformed) -> Self {
        Self::Unreadable
    }
}

/// A response that has begun.
#[derive(Debug)]
pub(crate) struct Passage<'a> {
    relay: &'a Relay,
    course: Course<'a>,
}

#[derive(Debug)]
enum Course<'a> {
    /// Until it is complete, or so much of it is here that its type is known.
    Gathered { bytes: BytesMut, length: usize },
    /// Large: its type is looked for.
    Looking { reader: Reader, length: usize, events: Vec<Event>, waiting: VecDeque<Bytes> },
    /// As it comes.
    Streamed(Box<Streamed<'a>>),
    /// It is not for Envoy.
    Skipped,
    /// Too large to be made fit: only what its refusal has to name is looked for.
    Refused(Reader),
}

impl<'a> Passage<'a> {
    pub(crate) fn begin(relay: &'a Relay, length: usize) -> Self {
        let course = if length <= HOLD {
            Course::Gathered { bytes: BytesMut::with_capacity(length), length }
        } else {
            let reader = Reader::new(relay.flavour(), length);
            Course::Looking { reader, length, events: Vec::new(), waiting: VecDeque::new() }
        };
        Self { relay, course }
    }

    /// More of it; what of it may leave waits for [`Self::release`].
    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), Fault> {
        match &mut self.course {
            Course::Gathered { bytes, .. } => bytes.extend_from_slice(&data),
            Course::Looking { reader, events, waiting, .. } => {
                reader.push(&data, &mut |event| events.push(event))?;
                waiting.push_back(data);
                let looked_at: usize = waiting.iter().map(Bytes::len).sum();
                match reader.type_url().map(str::to_owned) {
                    Some(type_url) => return self.found(&type_url).await,
                    None if looked_at > HOLD => return Err(Fault::Unreadable),
                    None => {}
                }
            }
            Course::Streamed(streamed) => streamed.data(data).await?,
            Course::Skipped => {}
            Course::Refused(reader) => reader.push(&data, &mut |_| {})?,
        }
        Ok(())
    }

    /// The type of a large one is known.
    async fn found(&mut self, type_url: &str) -> Result<(), Fault> {
        let course = std::mem::replace(&mut self.course, Course::Skipped);
        let Course::Looking { reader, length, events, waiting } = course else { return Ok(()) };
        if !self.relay.session().passes(type_url) {
            self.relay.withheld(type_url);
            return Ok(());
        }
        if self.relay.localizes(type_url) {
            self.course = if length > MOST_GATHERED {
                Course::Refused(reader)
            } else {
                let mut bytes = BytesMut::with_capacity(length);
                waiting.iter().for_each(|data| bytes.extend_from_slice(data));
                Course::Gathered { bytes, length }
            };
            return Ok(());
        }
        let record = Record::kept(self.relay, type_url);
        if self.relay.fits(type_url) {
            // What is told of it is what leaves, so the reader begins again behind the fitting.
            let reader = Reader::new(self.relay.flavour(), length);
            let mut streamed = Streamed::new(self.relay, reader, length, record).fitted(type_url);
            let mut passed = Ok(());
            for data in waiting {
                passed = streamed.data(data).await;
                if passed.is_err() {
                    break;
                }
            }
            self.course = Course::Streamed(Box::new(streamed));
            return passed;
        }
        let mut streamed = Box::new(Streamed::new(self.relay, reader, length, record));
        streamed.waiting = waiting;
        events.into_iter().for_each(|event| streamed.record.event(event));
        streamed.record.hand_over().await;
        self.course = Course::Streamed(streamed);
        Ok(())
    }

    /// Lets go of what may leave.
    pub(crate) async fn release(&mut self) -> Result<(), Deaf> {
        match &mut self.course {
            Course::Streamed(streamed) => streamed.release().await,
            _ => Ok(()),
        }
    }

    /// It is complete. One with modules to be fetched is handed back.
    pub(crate) async fn end(self) -> Result<Option<Remote>, Fault> {
        let Self { relay, course } = self;
        match course {
            Course::Gathered { bytes, length } if bytes.len() == length => {
                return whole(relay, bytes.freeze()).await;
            }
            Course::Streamed(streamed) => streamed.end().await?,
            Course::Skipped => {}
            Course::Refused(reader) => {
                let Tail { type_url, nonce, .. } = reader.end()?;
                let reason = format!("more than {MOST_GATHERED} bytes cannot be rewritten here");
                relay.refuse(&type_url, &nonce, &reason);
            }
            Course::Gathered { .. } | Course::Looking { .. } => return Err(Fault::Unreadable),
        }
        Ok(None)
    }

    /// Its sender is gone, or what came is no message: Envoy is given an end of it.
    pub(crate) async fn cut(self) -> Result<(), Deaf> {
        match self.course {
            Course::Streamed(streamed) => streamed.cut().await,
            _ => Ok(()),
        }
    }
}

/// A response that is here as a whole.
async fn whole(relay: &Relay, message: Bytes) -> Result<Option<Remote>, Fault> {
    let seen = Response::scan(relay.flavour(), &message)?;
    let (type_url, nonce) = (seen.type_url.to_owned(), seen.nonce.to_owned());
    if !relay.session().passes(&type_url) {
        relay.withheld(&type_url);
        return Ok(None);
    }
    let message = match relay.refitted(&type_url, &message) {
        Ok(fitted) => fitted.map_or(message, Bytes::from),
        Err(Malformed) => {
            relay.refuse(&type_url, &nonce, "a resource cannot be read");
            return Ok(None);
        }
    };
    if let Some(modules) = relay.modules(&type_url).cloned() {
        return Ok(Some(Remote { type_url, nonce, message, modules }));
    }
    pass_whole(relay, Record::kept(relay, &type_url), message, Came::Answered).await?;
    Ok(None)
}

/// Whose a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// Of whoever answers.
    Answered,
    /// It was kept.
    Kept,
}

/// Gives Envoy a response that is here as a whole.
pub(crate) async fn pass_whole(
    relay: &Relay,
    mut record: Record<'_>,
    message: Bytes,
    came: Came,
) -> Result<(), Fault> {
    let mut reader = Reader::new(relay.flavour(), message.len());
    reader.push(&message, &mut |event| record.event(event))?;
    let tail = reader.end()?;
    let sent = record.done(tail.nonce.clone(), tail.version.clone()).await;
    relay.sent(&tail, sent, came);
    let pieces = [prefix(message.len()), message];
    let _floor = relay.voice().floor().await;
    Ok(relay.voice().say(pieces.into_iter().filter(|piece| !piece.is_empty()).collect()).await?)
}

/// A response that leaves as it comes.
#[derive(Debug)]
pub(crate) struct Streamed<'a> {
    relay: &'a Relay,
    reader: Reader,
    length: usize,
    record: Record<'a>,
    /// What has come and not left, and how much has left.
    waiting: VecDeque<Bytes>,
    left: usize,
    /// From its first byte that leaves to its last.
    floor: Option<Floor>,
    came: Came,
    /// It is made fit field by field.
    fieldwise: Option<Fieldwise>,
}

impl<'a> Streamed<'a> {
    pub(crate) fn new(relay: &'a Relay, reader: Reader, length: usize, record: Record<'a>) -> Self {
        let (came, fieldwise) = (Came::Answered, None);
        let (waiting, left, floor) = (VecDeque::new(), 0, None);
        Self { relay, reader, length, record, waiting, left, floor, came, fieldwise }
    }

    /// Envoy cannot load everything of that type: each resource is made fit on its way, in as many
    /// bytes as it had, since how long the response is has been said before.
    pub(crate) fn fitted(mut self, type_url: &str) -> Self {
        self.fieldwise = self.relay.fits(type_url).then(|| Fieldwise::new(MOST_GATHERED));
        self
    }

    /// It was kept.
    pub(crate) fn kept(mut self) -> Self {
        self.came = Came::Kept;
        self
    }

    /// More of it, which is taken down; what of it may leave waits for [`Self::release`].
    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), Fault> {
        let data = match &mut self.fieldwise {
            Some(fieldwise) => {
                let mut fit = BytesMut::new();
                fieldwise.push(&data);
                while let Some(field) = fieldwise.next_field()? {
                    fit.extend_from_slice(&self.relay.field(field)?);
                }
                fit.freeze()
            }
            None => data,
        };
        // Nothing is said without a word: Envoy takes empty frames for an attack.
        if data.is_empty() {
            return Ok(());
        }
        self.waiting.push_back(data.clone());
        let record = &mut self.record;
        self.reader.push(&data, &mut |event| record.event(event))?;
        record.hand_over().await;
        Ok(())
    }

    /// Lets go of what may leave. The last of it waits for the end, when it is known what Envoy is
    /// going to answer.
    pub(crate) async fn release(&mut self) -> Result<(), Deaf> {
        match self.reader.releasable() {
            may if may < self.length => self.let_go(may).await,
            _ => Ok(()),
        }
    }

    /// Lets so many bytes of it leave, from its beginning.
    async fn let_go(&mut self, until: usize) -> Result<(), Deaf> {
        if until <= self.left {
            return Ok(());
        }
        let mut pieces = VecDeque::with_capacity(self.waiting.len() + 1);
        if self.left == 0 {
            self.floor = Some(self.relay.voice().floor().await);
            pieces.push_back(prefix(self.length));
        }
        while self.left < until {
            let Some(data) = self.waiting.front_mut() else { break };
            let piece = data.split_to(data.len().min(until - self.left));
            if !data.has_remaining() {
                self.waiting.pop_front();
            }
            self.left += piece.len();
            pieces.push_back(piece);
        }
        self.relay.voice().say(pieces).await
    }

    pub(crate) async fn end(mut self) -> Result<(), Fault> {
        if self.reader.releasable() != self.length {
            self.cut().await?;
            return Err(Fault::Unreadable);
        }
        let Self { relay, length, came, .. } = self;
        let reader = std::mem::replace(&mut self.reader, Reader::new(relay.flavour(), 0));
        let tail = reader.end()?;
        let fresh = Record::passing(relay, &tail.type_url);
        let record = std::mem::replace(&mut self.record, fresh);
        let sent = record.done(tail.nonce.clone(), tail.version.clone()).await;
        relay.sent(&tail, sent, came);
        Ok(self.let_go(length).await?)
    }

    /// Completes it with what Envoy refuses, if any of it has left.
    pub(crate) async fn cut(mut self) -> Result<(), Deaf> {
        let Some(ending) = self.reader.ending().filter(|_| self.left > 0) else { return Ok(()) };
        self.let_go(self.reader.releasable()).await?;
        if ending.answered() {
            let type_url = self.reader.type_url().unwrap_or_default();
            self.relay.broken(type_url, Sent::broken());
        }
        for piece in ending {
            self.relay.voice().say([piece].into()).await?;
        }
        Ok(())
    }
}

/// What precedes a message of that length.
fn prefix(length: usize) -> Bytes {
    Bytes::copy_from_slice(&write::prefix(length))
}

/// What is gathered before it leaves.
pub(crate) const HOLD: usize = 256 << 10;
/// What is gathered to be rewritten.
pub(crate) const MOST_GATHERED: usize = 64 << 20;
