//! From what was downloaded to the module in it: gzip and tar, one in the other, in any order.
//!
//! Reads and writes streams: neither the box nor the module is ever in memory whole. A box says
//! how large its content is; that is not believed, every byte is counted as it comes out.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType};

/// What a box may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boxed {
    /// Anything: gzip, a tar whose first file it is, or the module itself.
    Anyhow,
    /// A compressed tar with a file `plugin.wasm` somewhere: a layer of an image.
    Layer,
    /// The module itself.
    Not,
}

/// Writes the module in `from` to `to`, at most `limit` bytes of it. What does not begin as a
/// module does is an error, as is what goes on after `limit`.
pub fn unbox(from: &mut dyn Read, boxed: Boxed, limit: u64, to: &mut dyn Write) -> io::Result<u64> {
    match boxed {
        Boxed::Anyhow => open(from, limit, MOST_BOXES, to),
        Boxed::Layer => {
            let mut from = BufReader::new(from);
            if !from.fill_buf()?.starts_with(GZIP) {
                return Err(unusable("the layer is not compressed"));
            }
            let mut plain = Counted::new(MultiGzDecoder::new(&mut from), limit);
            pick(
                &mut plain,
                limit,
                &mut |path| path.rsplit(|byte| *byte == b'/').next() == Some(PLUGIN),
                to,
            )
        }
        Boxed::Not => module(&mut BufReader::new(from), limit, to),
    }
}

fn open(from: &mut dyn Read, limit: u64, boxes: u32, to: &mut dyn Write) -> io::Result<u64> {
    let mut head = Vec::with_capacity(TAR_MAGIC_ENDS);
    let mut taken = from.take(u64::try_from(TAR_MAGIC_ENDS).unwrap_or(u64::MAX));
    taken.read_to_end(&mut head)?;
    let is_tar = head.get(TAR_MAGIC_BEGINS..) == Some(TAR.as_slice());
    let (is_module, is_gzip) = (head.starts_with(MODULE), head.starts_with(GZIP));
    let mut whole = BufReader::new(head.as_slice().chain(from));
    if is_module {
        return module(&mut whole, limit, to);
    }
    let Some(boxes) = boxes.checked_sub(1) else {
        return Err(unusable("there are too many boxes in each other"));
    };
    if is_gzip {
        open(&mut Counted::new(MultiGzDecoder::new(whole), limit), limit, boxes, to)
    } else if is_tar {
        let mut inside = |from: &mut dyn Read| open(from, limit, boxes, to);
        first(&mut whole, &mut |_| true, &mut inside)
    } else {
        Err(unusable("it is neither a module nor gzip nor tar"))
    }
}

/// The module that is the first file of a tar whose path `is_it` picks.
fn pick(
    from: &mut dyn Read,
    limit: u64,
    is_it: &mut dyn FnMut(&[u8]) -> bool,
    to: &mut dyn Write,
) -> io::Result<u64> {
    first(from, is_it, &mut |from| module(&mut BufReader::new(from), limit, to))
}

/// Goes through a tar. Its entries are taken raw: extensions of names are read here, with a limit,
/// not by the library, without one; sparse files, which make much of nothing, are not followed.
fn first(
    from: &mut dyn Read,
    is_it: &mut dyn FnMut(&[u8]) -> bool,
    found: &mut dyn FnMut(&mut dyn Read) -> io::Result<u64>,
) -> io::Result<u64> {
    let mut archive = Archive::new(from);
    let mut long_name = None;
    for entry in archive.entries()?.raw(true).take(MOST_ENTRIES) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let mut name = text(&mut entry)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                long_name = Some(name);
            }
            EntryType::XHeader => long_name = extended_path(&text(&mut entry)?).or(long_name),
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            EntryType::Regular | EntryType::Continuous => {
                let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
                if is_it(&name) {
                    return found(&mut entry);
                }
            }
            _ => long_name = None,
        }
    }
    Err(unusable("the archive does not hold it"))
}

/// The content of an entry that extends the header of the next.
fn text(entry: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = u64::try_from(LONGEST_EXTENSION).unwrap_or(u64::MAX);
    entry.take(limit + 1).read_to_end(&mut text)?;
    if text.len() > LONGEST_EXTENSION {
        return Err(unusable("a header of the archive is too long"));
    }
    Ok(text)
}

/// The path in a pax header: lines of `LENGTH KEY=VALUE`.
fn extended_path(header: &[u8]) -> Option<Vec<u8>> {
    let lines = header.split(|byte| *byte == b'\n');
    let mut values = lines.filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b' ')?;
        line.get(at + 1..)?.strip_prefix(b"path=")
    });
    values.next_back().map(<[u8]>::to_vec)
}

/// Copies a module, which begins as modules do.
fn module(from: &mut dyn BufRead, limit: u64, to: &mut dyn Write) -> io::Result<u64> {
    let mut head = [0; MODULE.len()];
    from.read_exact(&mut head).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => unusable("it is too short for a module"),
        _ => error,
    })?;
    if head != *MODULE {
        return Err(unusable("what is in it is no module"));
    }
    let mut whole = Counted { inner: head.as_slice().chain(from), left: limit };
    io::copy(&mut whole, to)
}

/// Counts what is read, and fails instead of going on for ever.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R> Counted<R> {
    /// Of a box: its module may have `limit` bytes.
    fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit.saturating_add(ROOM_FOR_HEADERS) }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let count = u64::try_from(read).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(count).ok_or_else(|| unusable("it is too large"))?;
        Ok(read)
    }
}

fn unusable(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// What every module begins with.
pub(crate) const MODULE: &[u8; 4] = b"\0asm";
const GZIP: &[u8] = &[0x1f, 0x8b];
const TAR: &[u8; 5] = b"ustar";
const TAR_MAGIC_BEGINS: usize = 257;
const TAR_MAGIC_ENDS: usize = TAR_MAGIC_BEGINS + TAR.len();
const PLUGIN: &[u8] = b"plugin.wasm";
/// A compressed tar of a compressed module is the most that was ever seen.
const MOST_BOXES: u32 = 4;
const MOST_ENTRIES: usize = 10_000;
const LONGEST_EXTENSION: usize = 64 << 10;
/// What a box around a module of exactly the limit may add.
const ROOM_FOR_HEADERS: u64 = 1 << 20;

#[cfg(test)]
mod tests;
