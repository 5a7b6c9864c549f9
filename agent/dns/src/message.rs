//! Messages as they travel (RFC 1035 §4): where a question ends, where a record ends, what a query
//! asks for.
//!
//! Nothing is decoded that need not be: a query is its header, its one question and its OPT
//! record. Nothing is copied or allocated. Counts are believed only as
//! far as there are octets, and every read is checked.

use crate::name::Name;

/// Octets of a header.
pub const HEADER: usize = 12;
/// Class IN.
pub const IN: u16 = 1;
/// Whatever class there is.
pub const ANY_CLASS: u16 = 255;

/// Types that are named in answers.
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Canonical name.
    pub const CNAME: u16 = 5;
    /// Start of a zone.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Where a service is (RFC 2782).
    pub const SRV: u16 = 33;
    /// EDNS (RFC 6891).
    pub const OPT: u16 = 41;
    /// Service binding (RFC 9460).
    pub const SVCB: u16 = 64;
    /// Service binding for HTTP (RFC 9460).
    pub const HTTPS: u16 = 65;
    /// What has changed of a zone (RFC 1995).
    pub const IXFR: u16 = 251;
    /// A whole zone (RFC 5936).
    pub const AXFR: u16 = 252;
    /// Whatever there is.
    pub const ANY: u16 = 255;
}

/// Codes of answers.
pub mod rcode {
    /// Answered.
    pub const NO_ERROR: u8 = 0;
    /// The query is no query.
    pub const FORMAT_ERROR: u8 = 1;
    /// Nobody could be asked.
    pub const SERVER_FAILURE: u8 = 2;
    /// There is no such name.
    pub const NAME_ERROR: u8 = 3;
    /// An operation that is not offered.
    pub const NOT_IMPLEMENTED: u8 = 4;
    /// Not for this client.
    pub const REFUSED: u8 = 5;
}

/// Bits of the third and fourth octet of a header.
pub mod flag {
    /// A response (third octet).
    pub const RESPONSE: u8 = 0x80;
    /// The operation (third octet).
    pub const OPCODE: u8 = 0x78;
    /// From whom is responsible (third octet).
    pub const AUTHORITATIVE: u8 = 0x04;
    /// Records are missing (third octet).
    pub const TRUNCATED: u8 = 0x02;
    /// Ask others too (third octet).
    pub const RECURSION_DESIRED: u8 = 0x01;
    /// Others were, or would be, asked (fourth octet).
    pub const RECURSION_AVAILABLE: u8 = 0x80;
    /// All of it was validated (fourth octet).
    pub const AUTHENTIC_DATA: u8 = 0x20;
    /// Do not validate (fourth octet).
    pub const CHECKING_DISABLED: u8 = 0x10;
    /// The code (fourth octet).
    pub const RCODE: u8 = 0x0f;
}

/// What a query asks for. The name is left where it is, behind the header.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// Third and fourth octet of the header.
    pub flags: [u8; 2],
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
    /// Where the question ends; it begins behind the header.
    pub question_end: usize,
    /// The OPT record, the last if there are several.
    pub edns: Option<Edns>,
    /// Whether there is at most one OPT record, and it is the root's (RFC 6891 §6.1.1).
    pub sound: bool,
}

/// What an OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Largest datagram that the sender takes.
    pub payload: u16,
    /// Version; there is one so far, 0.
    pub version: u8,
    /// Whether DNSSEC records are wanted; copied into the answer (RFC 3225 §3).
    pub dnssec_ok: bool,
}

/// Why a message is no query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoQuery {
    /// To be dropped: answering it could begin a loop, or there is nothing to answer.
    Silent,
    /// To be answered with this code.
    Code(u8),
}

/// One record of a message.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Its type.
    pub kind: u16,
    /// Whether its owner is the root.
    pub of_root: bool,
    /// Where its class and TTL begin, which an OPT record uses otherwise.
    pub fields: usize,
    /// Where the next begins.
    pub end: usize,
}

impl Query {
    /// Reads a query.
    pub fn parse(message: &[u8]) -> Result<Self, NoQuery> {
        Self::read(message, &mut Name::ROOT.clone())
    }

    /// Reads a query, and its name into `name`.
    #[inline]
    pub fn read(message: &[u8], name: &mut Name) -> Result<Self, NoQuery> {
        let header = message.first_chunk::<HEADER>().ok_or(NoQuery::Silent)?;
        let [_, _, high, low, counts @ ..] = *header;
        if high & flag::RESPONSE != 0 {
            return Err(NoQuery::Silent);
        }
        if high & flag::OPCODE != 0 {
            return Err(NoQuery::Code(rcode::NOT_IMPLEMENTED));
        }
        let [q0, q1, an0, an1, ns0, ns1, ar0, ar1] = counts;
        let questions = u16::from_be_bytes([q0, q1]);
        let answers = u16::from_be_bytes([an0, an1]);
        let authorities = u16::from_be_bytes([ns0, ns1]);
        let additionals = u16::from_be_bytes([ar0, ar1]);
        // A zone transfer that goes on has one record of authority; OPT and a signature are two
        // additional ones.
        if questions != 1 || answers > 1 || authorities > 1 || additionals > 2 {
            return Err(NoQuery::Code(rcode::FORMAT_ERROR));
        }
        Self::question(message, [high, low], name)
            .and_then(|query| query.options(message, answers + authorities, additionals))
            .ok_or(NoQuery::Code(rcode::FORMAT_ERROR))
    }

    /// Largest answer that a client takes over UDP.
    pub fn payload(&self) -> usize {
        self.edns.map_or(512, |edns| usize::from(edns.payload).max(512))
    }

    #[inline]
    fn question(message: &[u8], flags: [u8; 2], name: &mut Name) -> Option<Self> {
        let end = name.fill(message, HEADER)?;
        let [k0, k1, c0, c1] = *message.get(end..)?.first_chunk()?;
        Some(Self {
            flags,
            kind: u16::from_be_bytes([k0, k1]),
            class: u16::from_be_bytes([c0, c1]),
            question_end: end + 4,
            edns: None,
            sound: true,
        })
    }

    /// Finds the OPT record behind the question and the records that are passed over.
    #[inline]
    fn options(mut self, message: &[u8], passed: u16, additionals: u16) -> Option<Self> {
        let mut at = self.question_end;
        for _ in 0..passed {
            at = Record::read(message, at)?.end;
        }
        for _ in 0..additionals {
            let record = Record::read(message, at)?;
            at = record.end;
            if record.kind == kind::OPT {
                self.sound &= record.of_root && self.edns.is_none();
                self.edns = Some(Edns::read(message, record.fields)?);
            }
        }
        Some(self)
    }
}

impl Edns {
    /// Octets of an OPT record without options.
    pub const LEN: usize = 11;

    /// An OPT record that goes with an answer to this one; `extended` are the high bits of its code.
    pub fn reply(&self, payload: u16, extended: u8) -> [u8; Self::LEN] {
        let [_, kind] = kind::OPT.to_be_bytes();
        let [p0, p1] = payload.to_be_bytes();
        [0, 0, kind, p0, p1, extended, 0, u8::from(self.dnssec_ok) << 7, 0, 0, 0]
    }

    fn read(message: &[u8], fields: usize) -> Option<Self> {
        let [p0, p1, _extended, version, high, _] = *message.get(fields..)?.first_chunk()?;
        let payload = u16::from_be_bytes([p0, p1]);
        Some(Self { payload, version, dnssec_ok: high & 0x80 != 0 })
    }
}

impl Record {
    /// Reads the record that begins at `start`; names are passed over, not followed.
    pub fn read(message: &[u8], start: usize) -> Option<Self> {
        let (&first, _) = message.get(start..)?.split_first()?;
        let owner_end = pass_name(message, start)?;
        let kind = number(message, owner_end)?;
        let fields = owner_end + 2;
        let data = fields + 8;
        let end = data + usize::from(number(message, fields + 6)?);
        message.get(data..end)?;
        Some(Self { kind, of_root: first == 0, fields, end })
    }
}

/// Reads a number of two octets.
pub fn number(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))
}

/// Overwrites a number of two octets; does nothing beyond the end of the message.
pub fn set_number(message: &mut [u8], at: usize, value: u16) {
    if let Some(octets) = message.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *octets = value.to_be_bytes();
    }
}

/// Where the name that begins at `at` ends; a compression pointer ends it.
fn pass_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
