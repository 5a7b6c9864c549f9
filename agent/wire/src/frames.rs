//! The messages in the body of a gRPC stream.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

#[cfg(test)]
mod tests;

/// What a body consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A message begins.
    Begin {
        /// Its bytes, without the prefix.
        length: usize,
    },
    /// Its next bytes, at least one.
    Data(Bytes),
    /// It is complete.
    End,
}

/// A body that cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Compression was not offered.
    #[error("the message is compressed, which was not offered; turn compression off at the sender")]
    Compressed,
    /// The first byte of a prefix is neither 0 nor 1.
    #[error("not a gRPC message: it begins with {first:#04x}; is this a gRPC service?")]
    Foreign {
        /// That byte.
        first: u8,
    },
    /// More than may be.
    #[error("the message has {length} bytes, and no more than {largest} are taken")]
    TooLarge {
        /// As announced.
        length: usize,
        /// What may be.
        largest: usize,
    },
}

/// Splits a body into its messages as it comes, without a copy.
#[derive(Debug)]
pub struct Frames {
    largest: usize,
    chunks: VecDeque<Bytes>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of a prefix are here.
    Prefix {
        bytes: [u8; 5],
        filled: usize,
    },
    /// So many bytes of a message are still to come.
    Body {
        left: usize,
    },
    Broken(Broken),
}

impl State {
    const BETWEEN: Self = Self::Prefix { bytes: [0; 5], filled: 0 };
}

impl Frames {
    /// Of a body whose messages have at most `largest` bytes.
    pub fn new(largest: usize) -> Self {
        Self { largest, chunks: VecDeque::new(), state: State::BETWEEN }
    }

    /// More of the body. What is here is to be taken with [`Frames::next`] before more is asked
    /// for, so that nothing piles up.
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.has_remaining() {
            self.chunks.push_back(chunk);
        }
    }

    /// The next part. `None`: more of the body is needed. Broken once, it stays so.
    #[expect(clippy::should_implement_trait, reason = "`None` is no end: more may be pushed")]
    pub fn next(&mut self) -> Result<Option<Part>, Broken> {
        let part = self.part();
        if let Err(broken) = part {
            self.state = State::Broken(broken);
            self.chunks.clear();
        }
        part
    }

    /// Whether the body may end here: no message is under way, and nothing is left to be taken.
    pub fn between(&self) -> bool {
        self.chunks.is_empty() && matches!(self.state, State::Prefix { filled: 0, .. })
    }

    fn part(&mut self) -> Result<Option<Part>, Broken> {
        match self.state {
            State::Prefix { bytes, filled } => self.prefix(bytes, filled),
            State::Body { left: 0 } => {
                self.state = State::BETWEEN;
                Ok(Some(Part::End))
            }
            State::Body { left } => Ok(self.body(left)),
            State::Broken(broken) => Err(broken),
        }
    }

    fn prefix(&mut self, mut bytes: [u8; 5], mut filled: usize) -> Result<Option<Part>, Broken> {
        for byte in bytes.iter_mut().skip(filled) {
            let Some(chunk) = self.chunks.front_mut() else { break };
            *byte = chunk.get_u8();
            filled += 1;
            if !chunk.has_remaining() {
                self.chunks.pop_front();
            }
        }
        self.state = State::Prefix { bytes, filled };
        let [first, a, b, c, d] = bytes;
        if filled > 0 && first != 0 {
            return Err(if first == 1 { Broken::Compressed } else { Broken::Foreign { first } });
        }
        if filled < bytes.len() {
            return Ok(None);
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.largest {
            return Err(Broken::TooLarge { length, largest: self.largest });
        }
        self.state = State::Body { left: length };
        Ok(Some(Part::Begin { length }))
    }

    fn body(&mut self, left: usize) -> Option<Part> {
        let mut chunk = self.chunks.pop_front()?;
        let data = if chunk.len() > left {
            let data = chunk.split_to(left);
            self.chunks.push_front(chunk);
            data
        } else {
            chunk
        };
        self.state = State::Body { left: left.saturating_sub(data.len()) };
        Some(Part::Data(data))
    }
}
