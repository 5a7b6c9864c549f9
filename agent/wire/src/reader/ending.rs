//! What completes a message of which no more will come.
//!
//! Its length was announced, so it has to be filled up: the value that was cut with bytes that are
//! no message, the messages around it with a field that nobody knows. That the cut value cannot be
//! decoded is no certainty, though: its last leaf may be bytes of any kind. So two empty resources
//! are added, which have the same name and no type. A client looks at the names and types of all
//! resources before it takes any; and if it was not told the type, it passes the message over.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::write::{self, SHORTEST, UNKNOWN};

#[cfg(test)]
mod tests;

const PIECE: usize = 16 << 10;
static ONES: [u8; PIECE] = [0xff; PIECE];
static ZEROS: [u8; PIECE] = [0; PIECE];
/// Two empty resources.
const REFUSED: [u8; 4] = [0x12, 0, 0x12, 0];
/// A value inside which a message may be cut, and the ends of what is around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) value: usize,
    pub(super) any: usize,
    /// In state of the world the same as `any`.
    pub(super) resource: usize,
    /// Whether the response had told its type before.
    pub(super) typed: bool,
}

impl Anchor {
    /// The last position that leaves a byte of the value out.
    pub(super) fn last(&self) -> usize {
        self.value.saturating_sub(1)
    }

    /// Whether an ending inside it is certain to be refused or passed over.
    pub(super) fn is_sure(&self, length: usize) -> bool {
        !self.typed || has_room(length.saturating_sub(self.resource), REFUSED.len())
    }
}

/// The missing bytes of a message, piece by piece: at most 16 KiB each, and slices of a constant
/// for the most part, so that 100 MB of them cost nothing.
#[derive(Clone, Debug)]
pub struct Ending {
    sections: VecDeque<Section>,
    answered: bool,
}

#[derive(Clone, Debug)]
enum Section {
    Written(Vec<u8>),
    Run { of: &'static [u8; PIECE], left: usize },
}

impl Ending {
    /// Nothing is missing.
    pub(super) fn empty(answered: bool) -> Self {
        Self { sections: VecDeque::new(), answered }
    }

    /// Of a message that is cut at `position` inside the value of the anchor.
    pub(super) fn new(anchor: &Anchor, position: usize, length: usize) -> Self {
        let mut ending = Self::empty(anchor.typed);
        ending.run(&ONES, anchor.value.saturating_sub(position));
        ending.fill(anchor.any.saturating_sub(anchor.value));
        ending.fill(anchor.resource.saturating_sub(anchor.any));
        ending.refuse(length.saturating_sub(anchor.resource));
        ending
    }

    /// How many bytes there are still.
    pub fn remaining(&self) -> usize {
        self.sections.iter().map(Section::remaining).sum()
    }

    /// Whether the client has been told the type, so that it answers (refuses) the message. It
    /// passes a message without one over in silence.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// The end of the response, `room` bytes, with what is refused.
    fn refuse(&mut self, room: usize) {
        let mut left = room;
        if has_room(room, REFUSED.len()) {
            self.written(REFUSED.to_vec());
            left = room.saturating_sub(REFUSED.len());
        }
        self.fill(left);
    }

    /// Fields that nobody knows, of exactly `length` bytes; 1 is never asked for.
    fn fill(&mut self, length: usize) {
        let mut written = Vec::new();
        let mut left = length;
        if left == SHORTEST.len() {
            written.extend_from_slice(&SHORTEST);
            left = 0;
        }
        let mut zeros = 0;
        while left > 0 {
            // Where a length takes one byte more there is a gap: a short field before it closes it.
            let value = write::unknown(left).unwrap_or(0);
            write::header(&mut written, UNKNOWN, value);
            left = left.saturating_sub(write::header_length(UNKNOWN, value) + value);
            zeros = value;
        }
        self.written(written);
        self.run(&ZEROS, zeros);
    }

    fn written(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.sections.push_back(Section::Written(bytes));
        }
    }

    fn run(&mut self, of: &'static [u8; PIECE], left: usize) {
        if left > 0 {
            self.sections.push_back(Section::Run { of, left });
        }
    }
}

/// Whether `needed` bytes fit, and what is left over can be filled.
fn has_room(room: usize, needed: usize) -> bool {
    room.checked_sub(needed).is_some_and(|left| left != 1)
}

impl Section {
    fn remaining(&self) -> usize {
        match self {
            Self::Written(bytes) => bytes.len(),
            Self::Run { left, .. } => *left,
        }
    }
}

impl Iterator for Ending {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match self.sections.pop_front()? {
            Section::Written(bytes) => Some(bytes.into()),
            Section::Run { of, left } => {
                let piece = of.get(..left).unwrap_or(of);
                self.run_on(of, left.saturating_sub(piece.len()));
                Some(Bytes::from_static(piece))
            }
        }
    }
}

impl Ending {
    /// The rest of a run of which a piece was taken.
    fn run_on(&mut self, of: &'static [u8; PIECE], left: usize) {
        if left > 0 {
            self.sections.push_front(Section::Run { of, left });
        }
    }
}
