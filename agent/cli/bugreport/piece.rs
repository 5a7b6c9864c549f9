//! One file of a report: what it is, and what is in it, without secrets.

use std::io::{self, Read, Write};

use hawser_redact::{Json, text};

/// A file of the report, or why there is none.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) name: &'static str,
    /// What it is, in few words.
    pub(super) what: &'static str,
    pub(super) content: Result<Content, String>,
}

/// What is in a file. There is no way to make one that leaves secrets in.
#[derive(Debug)]
pub(super) struct Content {
    bytes: Vec<u8>,
    /// Whether there was more of it.
    cut: bool,
}

/// What somebody has said, as it came.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) bytes: Vec<u8>,
    pub(super) cut: bool,
}

impl Piece {
    pub(super) fn text(name: &'static str, what: &'static str, raw: Result<Raw, String>) -> Self {
        Self { name, what, content: raw.map(|raw| Content::text(&raw)) }
    }
}

impl Raw {
    pub(super) fn whole(text: impl Into<String>) -> Self {
        Self { bytes: text.into().into_bytes(), cut: false }
    }
}

impl Content {
    pub(super) fn text(raw: &Raw) -> Self {
        let bytes = text(&String::from_utf8_lossy(&raw.bytes)).into_bytes();
        Self { bytes, cut: raw.cut }
    }

    /// JSON as it comes; of more than enough, the beginning.
    pub(super) fn json(from: &mut dyn Read) -> io::Result<Self> {
        Self::json_within(from, LARGEST)
    }

    fn json_within(from: &mut dyn Read, largest: usize) -> io::Result<Self> {
        let mut json = Json::new(Limited { bytes: Vec::new(), largest, cut: false });
        let mut piece = vec![0; PIECE];
        loop {
            let length = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            // Fails when there is enough.
            if json.feed(piece.get(..length).unwrap_or_default()).is_err() {
                break;
            }
        }
        let Limited { bytes, cut, .. } = json.end()?;
        Ok(Self { bytes, cut })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// So much and no more.
struct Limited {
    bytes: Vec<u8>,
    largest: usize,
    cut: bool,
}

impl Write for Limited {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(piece.len()) > self.largest {
            // The end of it is said by the last who writes.
            let again = std::mem::replace(&mut self.cut, true);
            return if again { Ok(piece.len()) } else { Err(io::ErrorKind::FileTooLarge.into()) };
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What there is, for who has to decide whether it may be passed on.
pub(super) fn listing(pieces: &[Piece]) -> String {
    let mut lines = String::new();
    for Piece { name, what, content } in pieces {
        lines.push_str(&match content {
            Ok(Content { bytes, cut }) => {
                let cut = if *cut { "; the beginning of it" } else { "" };
                format!("{name:<28} {:>10}  {what}{cut}\n", size(bytes.len() as u64))
            }
            Err(reason) => format!("{name:<28} {:>10}  {what}: {reason}\n", "-"),
        });
    }
    let had = pieces.iter().filter_map(|piece| piece.content.as_ref().ok());
    let all: u64 = had.clone().map(|content| content.bytes.len() as u64).sum();
    lines.push_str(&format!("{} files, {} before they are packed\n", had.count(), size(all)));
    lines
}

/// A size as people say it.
pub(super) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded anyway")]
    let kibi = bytes as f64 / 1024.0;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{kibi:.1} KiB"),
        _ => format!("{:.1} MiB", kibi / 1024.0),
    }
}

const PIECE: usize = 64 << 10;
/// What a file of the report may hold.
const LARGEST: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_cut_and_says_so() {
        let text = format!("[{}1]", "\"some text\",".repeat(10_000));
        let content = Content::json_within(&mut text.as_bytes(), 64 << 10).unwrap();
        assert!(content.cut && content.bytes.len() <= 64 << 10 && content.bytes.len() > 60 << 10);

        let piece = Piece { name: "a.json", what: "a thing", content: Ok(content) };
        let missing = Piece { name: "b", what: "another", content: Err("not here".into()) };
        let listing = listing(&[piece, missing]);
        assert!(listing.contains("a thing; the beginning of it\n"), "{listing}");
        assert!(listing.contains("-  another: not here\n1 files, 64.0 KiB"), "{listing}");
    }

    #[test]
    fn sizes_are_said_as_people_say_them() {
        let table = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB")];
        for (bytes, said) in table {
            assert_eq!(size(bytes), said);
        }
    }
}
