//! Follows one response while its bytes pass.
//!
//! The fields of three messages are looked at, each inside the one before: the response, its
//! resources, and (in delta) the `Any` in a resource. What lies inside the value of an `Any` is
//! never looked at: a chunk of it costs one addition.

use bytes::Bytes;

use crate::{Flavour, Malformed};
use ending::Anchor;
use token::{Role, Token};
use told::Told;

mod ending;
#[cfg(test)]
mod tests;
mod token;
mod told;

pub use ending::Ending;

/// No text that is looked at is longer: names, versions, types.
const TEXT: usize = 64 << 10;
/// All names that are no more, together.
const REMOVED: usize = 1 << 20;
/// What has to be held back because no ending is possible inside it.
const HELD: usize = 4 << 20;
/// How deep groups may nest; full decoders have the same limit.
const GROUPS: usize = 100;

/// What passes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A resource begins: in delta a `Resource`, else an `Any`.
    Resource {
        /// Its bytes.
        length: usize,
    },
    /// Its next bytes, at least one: a slice of what was pushed.
    Bytes(Bytes),
    /// It is complete.
    ResourceEnd,
    /// A name that is no more; only in delta.
    Removed(String),
}

/// What a whole response said besides its resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The type it is about.
    pub type_url: String,
    /// The version of all of it; delta may leave it out.
    pub version: String,
    /// What its receipt is to name.
    pub nonce: String,
    /// How many resources there were.
    pub resources: usize,
}

/// Follows a response of which the length is known.
///
/// Fields may come in any order, and chunks may end anywhere. What a full decoder would not take
/// is [`Malformed`] as far as it is looked at; so is what is beyond the limits (64 KiB for a text,
/// 1 MiB for all removed names together, 4 MiB between two values), and a type that changes after
/// it was told: the response may have been passed on by it.
#[derive(Debug)]
pub struct Reader {
    flavour: Flavour,
    length: usize,
    /// How much of the response has been read.
    position: usize,
    /// Where the present message ends, and those around it.
    end: usize,
    around: Vec<usize>,
    /// The numbers of the groups that are open in the present message.
    groups: Vec<u32>,
    token: Token,
    /// A text of which the end is not here yet.
    text: Vec<u8>,
    told: Told,
    tail: Tail,
    /// The bytes of all removed names.
    removed: usize,
    /// The last value inside which an ending is possible.
    anchor: Option<Anchor>,
    malformed: bool,
}

/// Where the events of one chunk go.
struct Passing<'a, F> {
    data: &'a Bytes,
    /// The position at which it begins.
    base: usize,
    /// Where in it the bytes of a resource begin that were not told yet.
    from: Option<usize>,
    tell: &'a mut F,
}

impl<F: FnMut(Event)> Passing<'_, F> {
    /// Tells the bytes of the present resource up to this position.
    fn bytes(&mut self, position: usize) {
        let to = position.saturating_sub(self.base);
        if let Some(from) = self.from.take().filter(|&from| from < to) {
            (self.tell)(Event::Bytes(self.data.slice(from..to)));
        }
    }
}

impl Reader {
    /// Of a response of `length` bytes.
    pub fn new(flavour: Flavour, length: usize) -> Self {
        Self {
            flavour,
            length,
            position: 0,
            end: length,
            around: Vec::with_capacity(2),
            groups: Vec::new(),
            token: Token::NEW,
            text: Vec::new(),
            told: Told::Nobody,
            tail: Tail::default(),
            removed: 0,
            anchor: None,
            malformed: false,
        }
    }

    /// More of the response; what it contains is told at once. Malformed once, it stays so, and
    /// nothing of these bytes is [`releasable`](Self::releasable).
    pub fn push(&mut self, data: &Bytes, tell: &mut impl FnMut(Event)) -> Result<(), Malformed> {
        let (position, anchor) = (self.position, self.anchor);
        let read = self.read(data, tell);
        if read.is_err() {
            self.malformed = true;
            (self.position, self.anchor) = (position, anchor);
        }
        read
    }

    /// The type, as soon as it is known: the response has it, or its first resource, whichever
    /// comes first in the bytes.
    pub fn type_url(&self) -> Option<&str> {
        (self.told != Told::Nobody).then_some(self.tail.type_url.as_str())
    }

    /// The response is complete; if it is not, that is malformed.
    pub fn end(self) -> Result<Tail, Malformed> {
        if self.complete() { Ok(self.tail) } else { Err(Malformed) }
    }

    /// How many bytes of the message, from its start, may leave so that an ending is still
    /// possible. It never shrinks, and stays where it was when the message turns out malformed.
    pub fn releasable(&self) -> usize {
        if self.complete() {
            return self.length;
        }
        self.anchor.as_ref().map_or(0, |anchor| self.position.min(anchor.last()))
    }

    /// What completes a message of which exactly [`Reader::releasable`] bytes have left: as long
    /// as announced, well-formed for a full decoder, and certain to be refused or passed over by
    /// whoever speaks xDS ([`Ending::answered`]). `None`: nothing was releasable. Nothing is
    /// missing after the very last byte.
    pub fn ending(&self) -> Option<Ending> {
        if self.complete() {
            return Some(Ending::empty(self.told == Told::Response));
        }
        let anchor = self.anchor.as_ref()?;
        Some(Ending::new(anchor, self.releasable(), self.length))
    }

    fn complete(&self) -> bool {
        !self.malformed && self.position == self.length
    }

    fn read(&mut self, data: &Bytes, tell: &mut impl FnMut(Event)) -> Result<(), Malformed> {
        if self.malformed || data.len() > self.length.saturating_sub(self.position) {
            return Err(Malformed);
        }
        let from = (!self.around.is_empty()).then_some(0);
        let mut passing = Passing { data, base: self.position, from, tell };
        let mut rest = data.as_ref();
        while !rest.is_empty() {
            self.step(&mut rest, &mut passing)?;
            self.settle(&mut passing)?;
        }
        passing.bytes(self.position);
        Ok(())
    }

    /// Takes as much as belongs to the present token.
    fn step(
        &mut self,
        rest: &mut &[u8],
        passing: &mut Passing<'_, impl FnMut(Event)>,
    ) -> Result<(), Malformed> {
        let before = rest.len();
        let mut read = None;
        match &mut self.token {
            Token::Tag(varint) | Token::Number(varint) | Token::Length(_, varint) => {
                // Not beyond the present message: `settle` sees that it ends too early.
                read = varint.read(rest, self.end.saturating_sub(self.position))?;
            }
            Token::Skip(end) => {
                token::take(rest, end.saturating_sub(self.position));
            }
            Token::Text(_, end) => {
                let taken = token::take(rest, end.saturating_sub(self.position));
                self.text.extend_from_slice(taken);
            }
        }
        self.position += before.saturating_sub(rest.len());
        match (self.token, read) {
            (Token::Tag(_), Some(tag)) => self.tag(tag),
            (Token::Number(_), Some(_)) => {
                self.token = Token::NEW;
                Ok(())
            }
            (Token::Length(role, _), Some(length)) => self.field(role, length, passing),
            _ => Ok(()),
        }
    }

    /// Closes what is complete here: a field, and the messages that end with it.
    fn settle(&mut self, passing: &mut Passing<'_, impl FnMut(Event)>) -> Result<(), Malformed> {
        loop {
            match self.token {
                Token::Skip(end) if end == self.position => self.token = Token::NEW,
                Token::Text(role, end) if end == self.position => {
                    self.token = Token::NEW;
                    self.text(role, passing)?;
                }
                _ => {}
            }
            if self.position < self.end {
                return Ok(());
            }
            if !self.token.is_new() || !self.groups.is_empty() {
                return Err(Malformed);
            }
            let Some(end) = self.around.pop() else { return Ok(()) };
            self.end = end;
            if self.around.is_empty() {
                passing.bytes(self.position);
                (passing.tell)(Event::ResourceEnd);
            }
        }
    }

    fn tag(&mut self, tag: u64) -> Result<(), Malformed> {
        let tag = u32::try_from(tag).ok().ok_or(Malformed)?;
        let (number, kind) = (tag >> 3, tag & 7);
        if number == 0 {
            return Err(Malformed);
        }
        let role = self.role(number);
        // A group does not turn up where something else is looked for.
        if kind != 2 && kind != 4 && role != Role::Other {
            return Err(Malformed);
        }
        self.token = match kind {
            0 => Token::NUMBER,
            1 => Token::Skip(self.behind(8)?),
            2 => Token::length(role),
            3 if self.groups.len() < GROUPS => {
                self.groups.push(number);
                Token::NEW
            }
            4 if self.groups.pop() == Some(number) => Token::NEW,
            5 => Token::Skip(self.behind(4)?),
            _ => return Err(Malformed),
        };
        self.holdable(self.position)
    }

    /// What a field of that number is in the present message.
    fn role(&self, number: u32) -> Role {
        if !self.groups.is_empty() {
            return Role::Other;
        }
        match (self.flavour, self.around.len()) {
            (_, 0) => Role::in_response(self.flavour, number),
            (Flavour::Delta, 1) => Role::in_resource(number),
            _ => Role::in_any(number),
        }
    }

    /// A field begins that has a length.
    fn field(
        &mut self,
        role: Role,
        length: u64,
        passing: &mut Passing<'_, impl FnMut(Event)>,
    ) -> Result<(), Malformed> {
        let length = usize::try_from(length).ok().ok_or(Malformed)?;
        let end = self.behind(length)?;
        match role {
            Role::Message => {
                self.token = Token::NEW;
                self.around.push(self.end);
                self.end = end;
                if self.around.len() == 1 {
                    self.tail.resources += 1;
                    (passing.tell)(Event::Resource { length });
                    passing.from = Some(self.position.saturating_sub(passing.base));
                }
                return Ok(());
            }
            Role::Value | Role::Other => self.token = Token::Skip(end),
            _ if length > TEXT => return Err(Malformed),
            _ => {
                self.text.clear();
                self.token = Token::Text(role, end);
            }
        }
        if role == Role::Value && length > 0 {
            self.value(end);
        }
        self.holdable(end)
    }

    /// The value of an `Any` begins: an ending may be possible inside it.
    fn value(&mut self, end: usize) {
        let resource = self.around.get(1).copied().unwrap_or(self.end);
        let typed = self.told == Told::Response;
        let anchor = Anchor { value: end, any: self.end, resource, typed };
        if anchor.is_sure(self.length) {
            self.anchor = Some(anchor);
        }
    }

    /// Where a field ends of which so many bytes follow.
    fn behind(&self, length: usize) -> Result<usize, Malformed> {
        let end = self.position.checked_add(length).ok_or(Malformed)?;
        let rest = self.end.checked_sub(end).ok_or(Malformed)?;
        // One byte is no field; and none could be put there in an ending.
        if rest == 1 && self.groups.is_empty() { Err(Malformed) } else { Ok(end) }
    }

    /// Whether what lies before `end` need not be held back, or is little.
    fn holdable(&self, end: usize) -> Result<(), Malformed> {
        let last = self.anchor.as_ref().map_or(0, Anchor::last);
        if end.saturating_sub(last) > HELD { Err(Malformed) } else { Ok(()) }
    }

    /// A text is complete.
    fn text(
        &mut self,
        role: Role,
        passing: &mut Passing<'_, impl FnMut(Event)>,
    ) -> Result<(), Malformed> {
        let text = str::from_utf8(&self.text).ok().ok_or(Malformed)?;
        match role {
            Role::Version => text.clone_into(&mut self.tail.version),
            Role::Nonce => text.clone_into(&mut self.tail.nonce),
            Role::Removed => {
                self.removed += text.len();
                if self.removed > REMOVED {
                    return Err(Malformed);
                }
                (passing.tell)(Event::Removed(text.to_owned()));
            }
            Role::Type => self.told = self.told.by_response(&mut self.tail.type_url, text)?,
            // The first resource speaks for all of them, as long as the response does not.
            Role::InnerType if self.tail.resources == 1 => {
                self.told = self.told.by_resource(&mut self.tail.type_url, text)?;
            }
            _ => {}
        }
        Ok(())
    }
}
