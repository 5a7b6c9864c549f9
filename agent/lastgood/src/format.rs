//! How a log looks on disk. All numbers are little endian.
//!
//! ```text
//! header    magic 8 | format 2 | salt 8 | length of key 2 | of type 2 | key | type | crc 4
//! record    mark 4 | kind 1 | form 1 | 0 2 | draft 4 | length 4 | crc 4 | body | trailer
//! ```
//!
//! The trailer of a resource says where in the body its parts are, its name and its version; the
//! body of an acceptance lists what became of the resources of its draft. No record says where
//! in the file it is, so a piece of a log is a piece of any other log with the same salt. The salt
//! goes into every checksum: what istiod sends cannot pass for a record.

use std::time::{Duration, SystemTime};

use crc32fast::Hasher;

/// The name of a resource, shorter.
pub(crate) type Hash = [u8; 16];

/// The hash of a name; FNV-1a.
pub(crate) fn hash(name: &[u8]) -> Hash {
    const PRIME: u128 = (1 << 88) | 0x13b;
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in name {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
    }
    hash.to_le_bytes()
}

/// What is at the begin of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Title {
    pub(crate) salt: u64,
    pub(crate) key: String,
    pub(crate) type_url: String,
}

/// Why a file is not a log of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error("it is cut short")]
    Short,
    #[error("it is not a log")]
    Magic,
    #[error("it has format {found}, expected {FORMAT}")]
    Format { found: u16 },
    #[error("its checksum is wrong")]
    Checksum,
}

impl Title {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (key, type_url) = (self.key.as_bytes(), self.type_url.as_bytes());
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.salt.to_le_bytes());
        for text in [key, type_url] {
            bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        }
        bytes.extend(key);
        bytes.extend(type_url);
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    /// The title and its length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, usize), Foreign> {
        if !bytes.starts_with(MAGIC.get(..bytes.len()).unwrap_or(MAGIC)) {
            return Err(Foreign::Magic);
        }
        let mut rest = Cut(bytes);
        rest.take(MAGIC.len()).ok_or(Foreign::Short)?;
        let mut read = || {
            let format = rest.u16()?;
            let salt = rest.u64()?;
            let (key, type_url) = (rest.u16()?, rest.u16()?);
            let key = rest.take(key.into())?;
            let type_url = rest.take(type_url.into())?;
            Some((format, salt, key, type_url, rest.u32()?))
        };
        let (format, salt, key, type_url, crc) = read().ok_or(Foreign::Short)?;
        let length = bytes.len() - rest.0.len();
        let body = bytes.get(..length - 4).unwrap_or_default();
        if crc32fast::hash(body) != crc {
            return Err(Foreign::Checksum);
        }
        if format != FORMAT {
            return Err(Foreign::Format { found: format });
        }
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).ok().ok_or(Foreign::Checksum);
        Ok((Self { salt, key: text(key)?, type_url: text(type_url)? }, length))
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A resource as state of the world has it.
    Any,
    /// A resource as delta has it.
    Resource,
    /// A draft was accepted.
    Accepted,
}

/// What is at the begin of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) draft: u32,
    /// Of the body.
    pub(crate) length: u32,
}

impl Head {
    pub(crate) fn encode(self, salt: u64) -> [u8; HEAD] {
        let (kind, form) = match self.kind {
            Kind::Any => (1, 0),
            Kind::Resource => (1, 1),
            Kind::Accepted => (2, 0),
        };
        let mut bytes = [0; HEAD];
        let mut put = |at: usize, part: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(part) {
                *to = *from;
            }
        };
        put(0, &MARK);
        put(4, &[kind, form]);
        put(8, &self.draft.to_le_bytes());
        put(12, &self.length.to_le_bytes());
        let crc = salted(salt, bytes.get(..16).unwrap_or_default());
        for (to, from) in bytes.iter_mut().skip(16).zip(crc.to_le_bytes()) {
            *to = from;
        }
        bytes
    }

    pub(crate) fn decode(salt: u64, bytes: &[u8]) -> Option<Self> {
        let mut rest = Cut(bytes);
        if rest.take(MARK.len())? != MARK {
            return None;
        }
        let kind = match rest.u32()? {
            1 => Kind::Any,
            0x0101 => Kind::Resource,
            2 => Kind::Accepted,
            _ => return None,
        };
        let (draft, length, crc) = (rest.u32()?, rest.u32()?, rest.u32()?);
        (salted(salt, bytes.get(..16)?) == crc).then_some(Self { kind, draft, length })
    }
}

/// Where in a body its parts are, and what it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) any: Span,
    pub(crate) value: Span,
    /// Checksums of the value, and of all but the value.
    pub(crate) value_crc: u32,
    pub(crate) rest_crc: u32,
    pub(crate) name: String,
    pub(crate) version: String,
}

/// A part of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u32,
    pub(crate) length: u32,
}

impl Trailer {
    pub(crate) fn encode(&self, salt: u64, into: &mut Vec<u8>) {
        let begin = into.len();
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
        let numbers = [
            self.any.at,
            self.any.length,
            self.value.at,
            self.value.length,
            self.value_crc,
            self.rest_crc,
            length(&self.name),
            length(&self.version),
        ];
        into.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        into.extend(self.name.as_bytes());
        into.extend(self.version.as_bytes());
        let crc = salted(salt, into.get(begin..).unwrap_or_default());
        into.extend(crc.to_le_bytes());
    }

    /// How long the trailer is of which these are the first [`TRAILER`] bytes.
    pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
        let mut rest = Cut(bytes.get(24..)?);
        let (name, version) = (rest.u32()? as usize, rest.u32()? as usize);
        let texts = name.checked_add(version)?;
        (texts <= 2 * TEXT).then_some(TRAILER + texts)
    }

    pub(crate) fn decode(salt: u64, bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if salted(salt, body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = Cut(body);
        let any = Span { at: rest.u32()?, length: rest.u32()? };
        let value = Span { at: rest.u32()?, length: rest.u32()? };
        let (value_crc, rest_crc) = (rest.u32()?, rest.u32()?);
        let (name, version) = (rest.u32()? as usize, rest.u32()? as usize);
        let (name, version) = (rest.text(name)?, rest.text(version)?);
        Some(Self { any, value, value_crc, rest_crc, name, version })
    }

    /// Of the value.
    pub(crate) fn digest(&self) -> u64 {
        digest_of(self.value.length, self.value_crc)
    }
}

/// A draft was accepted: what became of the resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Counts the acceptances of this log, from 1.
    pub(crate) number: u64,
    pub(crate) at: SystemTime,
    /// Nothing is but what is listed here.
    pub(crate) whole: bool,
    pub(crate) added: u32,
    pub(crate) changed: u32,
    pub(crate) removed: u32,
    pub(crate) version: String,
    /// Came with the draft.
    pub(crate) own: Vec<Hash>,
    /// Came with the draft as they were.
    pub(crate) same: Vec<Hash>,
    pub(crate) gone: Vec<Hash>,
}

impl Accepted {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let since = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let hashes = [&self.own, &self.same, &self.gone];
        let room: usize = hashes.iter().map(|list| list.len() * 16).sum();
        let mut bytes = Vec::with_capacity(64 + self.version.len() + room);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(u64::try_from(since.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let numbers = [u32::from(self.whole), self.added, self.changed, self.removed];
        let counts = [self.version.len(), self.own.len(), self.same.len(), self.gone.len()];
        for number in numbers.into_iter().chain(counts.map(count)) {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.version.as_bytes());
        bytes.extend(hashes.into_iter().flatten().flatten());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Cut(bytes);
        let number = rest.u64()?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(rest.u64()?))?;
        let whole = rest.u32()? != 0;
        let (added, changed, removed) = (rest.u32()?, rest.u32()?, rest.u32()?);
        let version = rest.u32()? as usize;
        let counts = [rest.u32()?, rest.u32()?, rest.u32()?];
        let version = rest.text(version)?;
        let [own, same, gone] = counts.map(|count| rest.hashes(count as usize));
        let (own, same, gone) = (own?, same?, gone?);
        Some(Self { number, at, whole, added, changed, removed, version, own, same, gone })
    }
}

/// A checksum that only this log has.
pub(crate) fn salted(salt: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// What tells a value from others of its name: equal values have equal ones, and others differ
/// but for one in four thousand million.
pub fn digest(value: &[u8]) -> u64 {
    digest_of(u32::try_from(value.len()).unwrap_or(u32::MAX), crc32fast::hash(value))
}

fn digest_of(length: u32, crc: u32) -> u64 {
    (u64::from(length) << 32) | u64::from(crc)
}

/// Bytes that get shorter at the front.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        str::from_utf8(self.take(length)?).ok().map(str::to_owned)
    }

    fn hashes(&mut self, count: usize) -> Option<Vec<Hash>> {
        let bytes = self.take(count.checked_mul(16)?)?;
        Some(bytes.chunks_exact(16).filter_map(|hash| hash.try_into().ok()).collect())
    }
}

const MAGIC: &[u8; 8] = b"hawser\x02\n";
const FORMAT: u16 = 1;
/// What every record begins with.
pub(crate) const MARK: [u8; 4] = [0x89, b'h', b'w', b'\n'];
/// Bytes of a [`Head`].
pub(crate) const HEAD: usize = 20;
/// Bytes of a [`Trailer`] but for its texts.
pub(crate) const TRAILER: usize = 36;
/// Bytes that a name or a version may have.
pub(crate) const TEXT: usize = 64 << 10;
