//! JSON of whatever size, as it comes: what is secret in it is taken out on its way.
//!
//! Nothing of it is held but the string that is being read and where in the text it stands. What is no
//! JSON comes out as something else, and never with more in it than was in there.

mod rules;

use std::io::{self, Write};

use self::rules::{Context, Frame, Verdict};
use crate::{MASK, text};

/// Takes JSON in pieces and writes it on without what is secret.
#[derive(Debug)]
pub struct Json<W> {
    to: W,
    frames: Vec<Frame>,
    reading: Reading,
    /// What was read of a string or a word.
    part: Vec<u8>,
    /// Longer than anything that is of use.
    overlong: bool,
}

/// Where in the text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Structure,
    String {
        escaped: bool,
    },
    Word,
    /// Below something that is left out: how deep, and whether within a string.
    Hidden {
        depth: usize,
        string: bool,
        escaped: bool,
    },
}

impl<W: Write> Json<W> {
    /// On to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to,
            frames: Vec::new(),
            reading: Reading::Structure,
            part: Vec::new(),
            overlong: false,
        }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) -> io::Result<()> {
        piece.iter().try_for_each(|byte| self.byte(*byte))
    }

    /// There is no more; what it was written to.
    pub fn end(mut self) -> io::Result<W> {
        match self.reading {
            Reading::Word => self.word()?,
            // Half a string may be half a secret.
            Reading::String { .. } => self.masked()?,
            Reading::Structure | Reading::Hidden { .. } => {}
        }
        Ok(self.to)
    }

    fn byte(&mut self, byte: u8) -> io::Result<()> {
        match self.reading {
            Reading::Structure => self.structure(byte),
            Reading::String { escaped } => self.string(byte, escaped),
            Reading::Word if byte.is_ascii_alphanumeric() || b"+-.".contains(&byte) => {
                self.keep(byte);
                Ok(())
            }
            Reading::Word => {
                self.word()?;
                self.reading = Reading::Structure;
                self.structure(byte)
            }
            Reading::Hidden { depth, string, escaped } => {
                self.reading = hidden(byte, depth, string, escaped);
                Ok(())
            }
        }
    }

    fn structure(&mut self, byte: u8) -> io::Result<()> {
        match byte {
            b'"' => {
                self.begin(Reading::String { escaped: false });
                return Ok(());
            }
            b'{' | b'[' => {
                let verdict = self.frames.last().map_or(Verdict::Keep, Frame::verdict);
                if verdict == Verdict::Hide || self.frames.len() >= DEEPEST {
                    self.reading = Reading::Hidden { depth: 1, string: false, escaped: false };
                    return self.masked();
                }
                let context = self.frames.last().map_or(Context::Plain, Frame::below);
                self.frames.push(Frame::new(byte == b'{', context));
            }
            b'}' | b']' => drop(self.frames.pop()),
            b':' => self.frames.last_mut().into_iter().for_each(Frame::colon),
            b',' => self.frames.last_mut().into_iter().for_each(Frame::comma),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => {
                self.begin(Reading::Word);
                self.keep(byte);
                return Ok(());
            }
        }
        self.to.write_all(&[byte])
    }

    fn begin(&mut self, reading: Reading) {
        self.part.clear();
        self.overlong = false;
        self.reading = reading;
    }

    fn keep(&mut self, byte: u8) {
        if self.part.len() < LONGEST {
            self.part.push(byte);
        } else {
            self.overlong = true;
        }
    }

    fn string(&mut self, byte: u8, escaped: bool) -> io::Result<()> {
        if byte == b'"' && !escaped {
            self.reading = Reading::Structure;
            return self.whole_string();
        }
        self.keep(byte);
        self.reading = Reading::String { escaped: !escaped && byte == b'\\' };
        Ok(())
    }

    fn whole_string(&mut self) -> io::Result<()> {
        let mut quoted = Vec::with_capacity(self.part.len().saturating_add(2));
        quoted.push(b'"');
        quoted.extend_from_slice(&self.part);
        quoted.push(b'"');
        let said = serde_json::from_slice::<String>(&quoted).ok().filter(|_| !self.overlong);
        let Some(said) = said else { return self.masked() };
        let verdict = match self.frames.last_mut() {
            Some(frame) if frame.awaits_key() => {
                frame.key(&said);
                Verdict::Keep
            }
            Some(frame) => frame.heard(&said),
            None => Verdict::Keep,
        };
        if verdict != Verdict::Keep {
            return self.masked();
        }
        let left = text(&said);
        if left == said {
            return self.to.write_all(&quoted);
        }
        serde_json::to_writer(&mut self.to, &left).map_err(io::Error::from)
    }

    /// A number or one of the three words there are; anything else is not for us to pass on.
    fn word(&mut self) -> io::Result<()> {
        let number = self.part.len() <= LONGEST_NUMBER
            && self.part.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
        let known = [b"true".as_slice(), b"false", b"null"].contains(&self.part.as_slice());
        let hidden = self.frames.last().is_some_and(|frame| frame.verdict() == Verdict::Hide);
        if !(number || known) || hidden && number {
            return self.masked();
        }
        self.to.write_all(&self.part)
    }

    fn masked(&mut self) -> io::Result<()> {
        write!(self.to, "\"{MASK}\"")
    }
}

/// The next byte of what is left out.
fn hidden(byte: u8, depth: usize, string: bool, escaped: bool) -> Reading {
    let depth = match byte {
        b'{' | b'[' if !string => depth.saturating_add(1),
        b'}' | b']' if !string => depth.saturating_sub(1),
        _ => depth,
    };
    if depth == 0 {
        return Reading::Structure;
    }
    let string = if byte == b'"' && !escaped { !string } else { string };
    Reading::Hidden { depth, string, escaped: string && !escaped && byte == b'\\' }
}

/// Envoy's configuration is some thirty deep.
const DEEPEST: usize = 256;
const LONGEST: usize = 64 << 10;
const LONGEST_NUMBER: usize = 32;

#[cfg(test)]
mod tests;
