//! What an answer is counted as: where it came from, its code, the type asked for, the transport.

use std::ops::Range;

use crate::answer::Transport;
use crate::message::{HEADER, kind, rcode};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The names of the mesh.
    Table,
    /// What a resolver said before, in time.
    Cache,
    /// What a resolver said before, after its time, because none replied now.
    Stale,
    /// A resolver.
    Upstream,
    /// Nowhere: an error of our own.
    None,
}

/// How it was answered, by the four bits of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the protocol")]
pub enum Code {
    NoError,
    FormErr,
    ServFail,
    NxDomain,
    NotImp,
    Refused,
    Other,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "as above")]
pub enum Kind {
    A,
    Aaaa,
    Ptr,
    Srv,
    Https,
    Any,
    Other,
}

/// How many answers were alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Answers {
    pub source: Source,
    pub code: Code,
    pub kind: Kind,
    pub transport: Transport,
    pub count: u64,
}

pub(super) const SOURCES: [Source; 5] =
    [Source::Table, Source::Cache, Source::Stale, Source::Upstream, Source::None];
pub(super) const CODES: [Code; 7] = [
    Code::NoError,
    Code::FormErr,
    Code::ServFail,
    Code::NxDomain,
    Code::NotImp,
    Code::Refused,
    Code::Other,
];
pub(super) const KINDS: [Kind; 7] =
    [Kind::A, Kind::Aaaa, Kind::Ptr, Kind::Srv, Kind::Https, Kind::Any, Kind::Other];
pub(super) const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];

const PTR: u16 = 12;
const SRV: u16 = 33;

impl Source {
    /// The word in metrics and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Cache => "cache",
            Self::Stale => "stale",
            Self::Upstream => "upstream",
            Self::None => "none",
        }
    }
}

impl Code {
    /// The code of a message.
    pub fn of(message: &[u8]) -> Self {
        match message.get(3).map(|low| low & 0x0f) {
            Some(rcode::NO_ERROR) => Self::NoError,
            Some(rcode::FORMAT_ERROR) => Self::FormErr,
            Some(rcode::SERVER_FAILURE) => Self::ServFail,
            Some(rcode::NAME_ERROR) => Self::NxDomain,
            Some(rcode::NOT_IMPLEMENTED) => Self::NotImp,
            Some(rcode::REFUSED) => Self::Refused,
            _ => Self::Other,
        }
    }

    /// The word of the protocol.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::FormErr => "FORMERR",
            Self::ServFail => "SERVFAIL",
            Self::NxDomain => "NXDOMAIN",
            Self::NotImp => "NOTIMP",
            Self::Refused => "REFUSED",
            Self::Other => "other",
        }
    }
}

impl Kind {
    /// The type that a message is about.
    pub fn of(message: &[u8]) -> Self {
        let mut at = HEADER;
        // No pointer: this is the first name there is.
        while let Some(&len @ 1..64) = message.get(at) {
            at += 1 + usize::from(len);
        }
        match message.get(at..).unwrap_or_default() {
            &[0, high, low, ..] => Self::numbered(u16::from_be_bytes([high, low])),
            _ => Self::Other,
        }
    }

    fn numbered(number: u16) -> Self {
        match number {
            kind::A => Self::A,
            kind::AAAA => Self::Aaaa,
            PTR => Self::Ptr,
            SRV => Self::Srv,
            kind::HTTPS => Self::Https,
            kind::ANY => Self::Any,
            _ => Self::Other,
        }
    }

    /// The word of the protocol.
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Ptr => "PTR",
            Self::Srv => "SRV",
            Self::Https => "HTTPS",
            Self::Any => "ANY",
            Self::Other => "other",
        }
    }
}

impl Transport {
    /// The word in metrics and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Everything that an answer can be counted as, in the order of [`cell`].
pub(super) fn cells() -> impl Iterator<Item = Answers> {
    SOURCES.into_iter().flat_map(|source| {
        CODES.into_iter().flat_map(move |code| {
            KINDS.into_iter().flat_map(move |kind| {
                TRANSPORTS.into_iter().map(move |transport| Answers {
                    source,
                    code,
                    kind,
                    transport,
                    count: 0,
                })
            })
        })
    })
}

/// Where it is counted.
pub(super) fn cell(source: Source, code: Code, kind: Kind, transport: Transport) -> usize {
    let by_code = source as usize * CODES.len() + code as usize;
    (by_code * KINDS.len() + kind as usize) * TRANSPORTS.len() + transport as usize
}

/// Where everything is counted that came from one source.
pub(super) fn row(source: Source) -> Option<Range<usize>> {
    let len = CODES.len() * KINDS.len() * TRANSPORTS.len();
    let start = len.checked_mul(source as usize)?;
    Some(start..start + len)
}
