//! Whole messages on a stream of the source.

use bytes::{Bytes, BytesMut};
use hawser_wire::{Flavour, Frames, Part, Reader, Tail};
use tokio::sync::mpsc;

use super::conversation::LARGEST;
use crate::source::{Lost, Opened, Source};

/// A stream that is answered, message by message.
#[derive(Debug)]
pub(super) struct Stream {
    opened: Opened,
    frames: Frames,
    /// The message that is under way.
    under_way: Option<UnderWay>,
}

/// What has come.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Whole(Bytes),
    /// One that nobody wants to hold; what it said besides its resources.
    TooLarge {
        length: usize,
        tail: Tail,
    },
}

#[derive(Debug)]
enum UnderWay {
    Whole { gathered: BytesMut, length: usize },
    TooLarge { length: usize, reader: Box<Reader> },
}

/// Why a stream cannot be read any further.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("the stream ended in the middle of a message")]
    CutOff,
    #[error("a message of {length} bytes is too large, and cannot be read")]
    TooLarge { length: usize },
}

impl Stream {
    pub(super) async fn open(
        source: &impl Source,
        requests: mpsc::Receiver<Bytes>,
    ) -> Result<Self, Lost> {
        let opened = source.open(Flavour::Sotw, requests).await?;
        Ok(Self { opened, frames: Frames::new(usize::MAX), under_way: None })
    }

    /// Whom it leads to.
    pub(super) fn who(&self) -> &str {
        &self.opened.who
    }

    /// A good message has come.
    pub(super) fn heard(&mut self) {
        self.opened.answers.heard();
    }

    /// It is given up for what the source did not do.
    pub(super) fn failed(&mut self) {
        self.opened.answers.failed();
    }

    /// The next message; none when the source has ended the stream as it should. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Lost> {
        loop {
            while let Some(part) = self.frames.next().map_err(Lost::new)? {
                if let Some(message) = self.take(part).map_err(Lost::new)? {
                    return Ok(Some(message));
                }
            }
            match self.opened.answers.chunk().await? {
                Some(chunk) => self.frames.push(chunk),
                None if self.frames.between() => return Ok(None),
                None => return Err(Lost::new(Unreadable::CutOff)),
            }
        }
    }

    /// Takes one part, and returns the message that it completes.
    fn take(&mut self, part: Part) -> Result<Option<Message>, Unreadable> {
        match (part, &mut self.under_way) {
            (Part::Begin { length }, under_way) => {
                *under_way = Some(UnderWay::begin(length));
                Ok(None)
            }
            (Part::Data(data), Some(UnderWay::Whole { gathered, length })) => {
                // All of it at once and no more: names stay for long in what they came in.
                if gathered.capacity() - gathered.len() < data.len() {
                    gathered.reserve(length.saturating_sub(gathered.len()));
                }
                gathered.extend_from_slice(&data);
                Ok(None)
            }
            (Part::Data(data), Some(UnderWay::TooLarge { length, reader })) => {
                let read = reader.push(&data, &mut |_resource| {});
                read.map(|()| None).map_err(|_malformed| Unreadable::TooLarge { length: *length })
            }
            (Part::Data(_), None) => Ok(None),
            (Part::End, under_way) => under_way.take().map(UnderWay::end).transpose(),
        }
    }
}

impl UnderWay {
    fn begin(length: usize) -> Self {
        if length > LARGEST {
            return Self::TooLarge { length, reader: Box::new(Reader::new(Flavour::Sotw, length)) };
        }
        Self::Whole { gathered: BytesMut::with_capacity(length.min(AT_ONCE)), length }
    }

    fn end(self) -> Result<Message, Unreadable> {
        match self {
            Self::Whole { gathered, .. } => Ok(Message::Whole(gathered.freeze())),
            Self::TooLarge { length, reader } => match reader.end() {
                Ok(tail) => Ok(Message::TooLarge { length, tail }),
                Err(_malformed) => Err(Unreadable::TooLarge { length }),
            },
        }
    }
}

/// What is set aside for a message that was only announced.
const AT_ONCE: usize = 1 << 20;
