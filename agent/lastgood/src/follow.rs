//! A resource followed while its bytes pass: its name, its version, where its parts are, and
//! checksums of them. Holds no more of it than the texts and the begin of the value.

use crc32fast::Hasher;
use hawser_wire::{Fields, Flavour, Malformed, Value, resource_name};

use crate::format::{Span, TEXT, Trailer};

/// Follows one resource: an `Any`, or in delta a `Resource`.
#[derive(Debug)]
pub(crate) struct Follow {
    flavour: Flavour,
    at: usize,
    state: State,
    /// Where the `Any` ends, inside of a `Resource`.
    any_end: Option<usize>,
    groups: usize,
    trailer: Trailer,
    name: Vec<u8>,
    version: Vec<u8>,
    /// The begin of the value, which has the name where there is no other.
    begin: Vec<u8>,
    /// Of the value, and of the rest; none if nobody is going to read it back.
    sums: Option<(Hasher, Hasher)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Tag {
        value: u64,
        shift: u32,
    },
    /// The number of a field is left out.
    Number {
        shift: u32,
    },
    Length {
        field: u32,
        value: u64,
        shift: u32,
    },
    Payload {
        part: Part,
        left: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Version,
    Value,
    Other,
}

impl Follow {
    /// `summed`: with checksums.
    pub(crate) fn new(flavour: Flavour, summed: bool) -> Self {
        Self {
            flavour,
            at: 0,
            state: TAG,
            any_end: None,
            groups: 0,
            trailer: Trailer::default(),
            name: Vec::new(),
            version: Vec::new(),
            begin: Vec::new(),
            sums: summed.then(<(Hasher, Hasher)>::default),
        }
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, mut data: &[u8]) -> Result<(), Malformed> {
        while !data.is_empty() {
            if let State::Payload { part, left } = self.state {
                let (payload, rest) = data.split_at(left.min(data.len()));
                data = rest;
                self.at += payload.len();
                self.payload(part, payload)?;
                self.state = match left - payload.len() {
                    0 => TAG,
                    left => State::Payload { part, left },
                };
            } else {
                let (taken, rest) = self.between(data)?;
                self.sum_of_rest(taken);
                data = rest;
            }
            if self.any_end.is_some_and(|end| self.at >= end) {
                if self.state != TAG {
                    return Err(Malformed);
                }
                self.any_end = None;
            }
        }
        Ok(())
    }

    /// What was found; an error if it does not end here.
    pub(crate) fn end(self, type_url: &str) -> Result<Trailer, Malformed> {
        if self.state != TAG || self.groups > 0 || self.any_end.is_some() {
            return Err(Malformed);
        }
        let mut trailer = self.trailer;
        if self.flavour == Flavour::Sotw {
            trailer.any = Span { at: 0, length: narrow(self.at)? };
        }
        let text = |text: Vec<u8>| String::from_utf8(text).ok().ok_or(Malformed);
        trailer.version = text(self.version)?;
        trailer.name = match self.flavour {
            Flavour::Delta => text(self.name)?,
            Flavour::Sotw => {
                let whole = self.begin.len() == trailer.value.length as usize;
                named(type_url, &self.begin, whole).unwrap_or_default()
            }
        };
        let (value, rest) = self.sums.unwrap_or_default();
        (trailer.value_crc, trailer.rest_crc) = (value.finalize(), rest.finalize());
        Ok(trailer)
    }

    /// Takes what is between payloads, as far as it goes.
    fn between<'a>(&mut self, data: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let mut taken = 0;
        for &byte in data {
            taken += 1;
            self.at += 1;
            self.byte(byte)?;
            let out = self.any_end.is_some_and(|end| self.at >= end);
            if matches!(self.state, State::Payload { .. }) || out {
                break;
            }
        }
        Ok(data.split_at(taken))
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        let (low, more) = (u64::from(byte & 0x7f), byte & 0x80 != 0);
        match self.state {
            State::Tag { value, shift } => {
                let value = value | (low << shift);
                if more {
                    self.state = State::Tag { value, shift: longer(shift, 28)? };
                } else {
                    self.tag(u32::try_from(value).ok().ok_or(Malformed)?)?;
                }
            }
            State::Number { shift } => {
                self.state = if more { State::Number { shift: longer(shift, 63)? } } else { TAG };
            }
            State::Length { field, value, shift } => {
                let value = value | (low << shift);
                if more {
                    self.state = State::Length { field, value, shift: longer(shift, 28)? };
                } else {
                    self.length(field, usize::try_from(value).ok().ok_or(Malformed)?)?;
                }
            }
            State::Payload { .. } => return Err(Malformed),
        }
        Ok(())
    }

    fn tag(&mut self, tag: u32) -> Result<(), Malformed> {
        let field = tag >> 3;
        if field == 0 {
            return Err(Malformed);
        }
        self.state = match tag & 7 {
            0 => State::Number { shift: 0 },
            1 => State::Payload { part: Part::Other, left: 8 },
            2 => State::Length { field, value: 0, shift: 0 },
            3 => {
                self.groups += 1;
                TAG
            }
            4 => {
                self.groups = self.groups.checked_sub(1).ok_or(Malformed)?;
                TAG
            }
            5 => State::Payload { part: Part::Other, left: 4 },
            _ => return Err(Malformed),
        };
        Ok(())
    }

    /// A field of that length begins.
    fn length(&mut self, field: u32, length: usize) -> Result<(), Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        if self.any_end.is_some_and(|any| end > any) {
            return Err(Malformed);
        }
        let span = Span { at: narrow(self.at)?, length: narrow(length)? };
        let inside = self.flavour == Flavour::Sotw || self.any_end.is_some();
        let part = match (inside, field) {
            _ if self.groups > 0 => Part::Other,
            (true, 2) => {
                if self.trailer.value.length > 0 {
                    return Err(Malformed);
                }
                self.trailer.value = span;
                Part::Value
            }
            (false, 1) => Part::Version,
            (false, 3) => Part::Name,
            (false, 2) => {
                // Twice would be merged; nobody does that, and it is not taken down.
                if self.trailer.any != Span::default() {
                    return Err(Malformed);
                }
                self.trailer.any = span;
                self.any_end = Some(end);
                self.state = TAG;
                return Ok(());
            }
            _ => Part::Other,
        };
        match part {
            Part::Name => self.name.clear(),
            Part::Version => self.version.clear(),
            Part::Value | Part::Other => {}
        }
        self.state = if length == 0 { TAG } else { State::Payload { part, left: length } };
        Ok(())
    }

    fn payload(&mut self, part: Part, bytes: &[u8]) -> Result<(), Malformed> {
        let text = match part {
            Part::Value => {
                if self.flavour == Flavour::Sotw {
                    let room = BEGIN - self.begin.len();
                    let begin = bytes.get(..room).unwrap_or(bytes);
                    self.begin.extend_from_slice(begin);
                }
                if let Some((value, _)) = &mut self.sums {
                    value.update(bytes);
                }
                return Ok(());
            }
            Part::Name => &mut self.name,
            Part::Version => &mut self.version,
            Part::Other => {
                self.sum_of_rest(bytes);
                return Ok(());
            }
        };
        if text.len() + bytes.len() > TEXT {
            return Err(Malformed);
        }
        text.extend_from_slice(bytes);
        self.sum_of_rest(bytes);
        Ok(())
    }

    fn sum_of_rest(&mut self, bytes: &[u8]) {
        if let Some((_, rest)) = &mut self.sums {
            rest.update(bytes);
        }
    }
}

/// The name that a value says itself, of which this is the begin.
fn named(type_url: &str, begin: &[u8], whole: bool) -> Option<String> {
    if whole {
        return resource_name(type_url, begin).map(str::to_owned);
    }
    // Whether this type has its name there.
    resource_name(type_url, &[0x0a, 1, b'x'])?;
    Fields::new(begin).map_while(Result::ok).find_map(|field| match field {
        (1, Value::Bytes(name)) if !name.is_empty() => str::from_utf8(name).ok().map(str::to_owned),
        _ => None,
    })
}

fn longer(shift: u32, most: u32) -> Result<u32, Malformed> {
    if shift >= most { Err(Malformed) } else { Ok(shift + 7) }
}

fn narrow(number: usize) -> Result<u32, Malformed> {
    u32::try_from(number).ok().ok_or(Malformed)
}

const TAG: State = State::Tag { value: 0, shift: 0 };
/// Names are well within.
const BEGIN: usize = 4 << 10;
