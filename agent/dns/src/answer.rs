//! What becomes of a query: answered from the table, relayed, refused or dropped.
//!
//! Values in, values out: the caller brings the packet, the table, the dice and the buffer, and
//! carries out what is decided. What is true of every answer:
//!
//! - It repeats identifier and question as they came, letter case included, and its records belong
//!   to the name that was asked: no alias in other letters, no `*`.
//! - It fits: records that do not are left out whole, and the answer says so (TC).
//! - It has an OPT record if and only if the query had one.
//! - A name of the mesh is never said not to exist, and nobody else is asked for its addresses.

use crate::message::{self, Edns, HEADER, NoQuery, Query, flag, kind, rcode};
use crate::name::Name;
use crate::table::{Realm, TTL, Table, Via};

/// Largest query that is taken by datagram, and said to be taken.
pub const MAX_QUERY: usize = 4096;
/// Largest answer that is made for UDP, whatever the client says: a datagram in many pieces is
/// easily lost.
const MAX_DATAGRAM: usize = 4096;
/// Largest answer that is relayed over UDP; bounds what a query in flight costs.
const MAX_RELAYED: usize = 16 * 1024;
/// Seconds for which it may be remembered that a name has no such record.
const NEGATIVE_TTL: u32 = 10;

/// What a query came by, and its answer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each.
    Udp,
    /// A stream of messages.
    Tcp,
}

/// What to do with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the answer, which is from the table.
    Answer,
    /// Send the answer, which is an error.
    Refuse,
    /// Ask others.
    Relay(Errand),
    /// Nothing.
    Drop,
}

/// What must be known of a query to relay it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Where the question ends.
    pub question_end: usize,
    /// Largest answer that the client takes.
    pub limit: usize,
    /// The OPT record of the query.
    pub edns: Option<Edns>,
    /// Whether the table has the name, so that "no such name" would be wrong.
    pub known: bool,
}

/// Decides about `packet`, and writes the answer, if there is one, to `out`.
pub fn answer(
    packet: &[u8],
    table: Option<&Table>,
    transport: Transport,
    dice: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Action {
    let query = match Query::parse(packet) {
        // What is longer than it may be was cut where it was read.
        Ok(_) if transport == Transport::Udp && packet.len() > MAX_QUERY => {
            return refuse(packet, rcode::FORMAT_ERROR, out);
        }
        Ok(query) => query,
        Err(NoQuery::Silent) => return Action::Drop,
        Err(NoQuery::Code(code)) => return refuse(packet, code, out),
    };
    let Some(found) = table
        .filter(|_| query.class == message::IN)
        .and_then(|table| table.find(&Name::read(packet, HEADER)?))
    else {
        return Action::Relay(Errand::new(&query, transport, false));
    };
    let limit = match transport {
        Transport::Udp => query.payload().min(MAX_DATAGRAM),
        Transport::Tcp => usize::from(u16::MAX),
    };
    let mut draft = Draft { packet, query: &query, limit, out };
    if query.edns.is_some_and(|edns| edns.version > 0) {
        draft.bad_version();
        return Action::Answer;
    }
    match (query.kind, found.realm) {
        (kind::A, _) => draft.addresses(found.v4, found.via, dice),
        (kind::AAAA, _) => draft.addresses(found.v6, found.via, dice),
        // One set of records will do (RFC 8482 §4.1).
        (kind::ANY, _) if found.v4.is_empty() => draft.addresses(found.v6, found.via, dice),
        (kind::ANY, _) => draft.addresses(found.v4, found.via, dice),
        // What others say here would lead around the mesh: it may hold addresses.
        (kind::SVCB | kind::HTTPS, _) | (_, Realm::Mesh) => draft.no_data(),
        (_, Realm::World) => return Action::Relay(Errand::new(&query, transport, true)),
    }
    Action::Answer
}

/// Writes the answer to a query that nobody has answered.
pub fn fail(packet: &[u8], errand: &Errand, out: &mut Vec<u8>) {
    let Some(&[_, _, high, low]) = packet.first_chunk() else { return out.clear() };
    let high = high & flag::RECURSION_DESIRED;
    begin(packet, errand.question_end, [high, low, rcode::SERVER_FAILURE], out);
    end(errand.edns, 0, out);
}

impl Errand {
    fn new(query: &Query, transport: Transport, known: bool) -> Self {
        let limit = match transport {
            Transport::Udp => query.payload().min(MAX_RELAYED),
            Transport::Tcp => usize::from(u16::MAX),
        };
        Self { question_end: query.question_end, limit, edns: query.edns, known }
    }
}

/// An answer from the table on its way.
struct Draft<'a> {
    packet: &'a [u8],
    query: &'a Query,
    limit: usize,
    out: &'a mut Vec<u8>,
}

impl Draft<'_> {
    fn addresses<const N: usize>(
        &mut self,
        records: &[[u8; N]],
        via: Via,
        dice: &mut fastrand::Rng,
    ) {
        if records.is_empty() {
            return self.no_data();
        }
        self.begin();
        let mut count = 0;
        let mut owner = None;
        if let Via::Search { octets } = via {
            owner = self.canonical_name(octets);
            if owner.is_none() {
                self.truncated();
                return self.end(0);
            }
            count = 1;
        }
        let fit = (self.room() / N).min(records.len());
        if fit < records.len() {
            self.truncated();
        }
        self.copy(records, fit, owner, dice);
        message::set_number(self.out, 6, count + u16::try_from(fit).unwrap_or(0));
        self.end(0);
    }

    /// Says that the name is known, and has no such record.
    ///
    /// The zone that is named is the parent of the name, as if each were served by itself
    /// (RFC 6303 §3); caches need one to remember what is not there (RFC 2308 §2).
    fn no_data(&mut self) {
        let parent = self.packet.get(HEADER).map_or(0, |&len| HEADER + 1 + usize::from(len));
        let [p0, p1] = pointer(parent);
        let [_, soa] = kind::SOA.to_be_bytes();
        let [t0, t1, t2, t3] = NEGATIVE_TTL.to_be_bytes();
        self.begin();
        self.out.extend_from_slice(&[p0, p1, 0, soa, 0, 1, t0, t1, t2, t3, 0, 38, p0, p1]);
        self.out.extend_from_slice(b"\x06nobody\x07invalid\x00");
        // serial, refresh, retry, expire, minimum
        for value in [1, 3600, 1200, 604_800, NEGATIVE_TTL] {
            self.out.extend_from_slice(&value.to_be_bytes());
        }
        message::set_number(self.out, 8, 1);
        self.end(0);
    }

    /// Says which version of EDNS is spoken here (RFC 6891 §6.1.3).
    fn bad_version(&mut self) {
        self.begin();
        self.end(1);
    }

    /// Writes which name the records belong to: the first `octets` of the question; gives a
    /// pointer to it, if there was room.
    fn canonical_name(&mut self, octets: usize) -> Option<[u8; 2]> {
        let target = self.packet.get(HEADER..HEADER + octets)?;
        let [_, cname] = kind::CNAME.to_be_bytes();
        let [t0, t1, t2, t3] = TTL.to_be_bytes();
        let [l0, l1] = u16::try_from(octets + 1).ok()?.to_be_bytes();
        let head = [0xc0, 12, 0, cname, 0, 1, t0, t1, t2, t3, l0, l1];
        if head.len() + octets + 1 > self.room() {
            return None;
        }
        self.out.extend_from_slice(&head);
        let owner = pointer(self.out.len());
        self.out.extend_from_slice(target);
        self.out.push(0);
        Some(owner)
    }

    /// Copies `fit` of the records in random order, any of them as likely as the others to be
    /// first.
    fn copy<const N: usize>(
        &mut self,
        records: &[[u8; N]],
        fit: usize,
        owner: Option<[u8; 2]>,
        dice: &mut fastrand::Rng,
    ) {
        let start = if records.len() > 1 { dice.usize(..records.len()) } else { 0 };
        let (before, after) = records.split_at_checked(start).unwrap_or((&[], records));
        let first = self.out.len();
        let tail = fit.saturating_sub(after.len());
        self.out.extend_from_slice(after.get(..fit).unwrap_or(after).as_flattened());
        self.out.extend_from_slice(before.get(..tail).unwrap_or_default().as_flattened());

        let (copies, _) = self.out.get_mut(first..).unwrap_or_default().as_chunks_mut::<N>();
        if copies.len() > 1 {
            dice.shuffle(copies);
        }
        if let Some(owner) = owner {
            for copy in copies {
                if let Some(name) = copy.first_chunk_mut() {
                    *name = owner;
                }
            }
        }
    }

    fn begin(&mut self) {
        let [high, low] = self.query.flags;
        let high = flag::AUTHORITATIVE | high & flag::RECURSION_DESIRED;
        begin(self.packet, self.query.question_end, [high, low, rcode::NO_ERROR], self.out);
    }

    fn end(&mut self, extended: u8) {
        end(self.query.edns, extended, self.out);
    }

    fn truncated(&mut self) {
        if let Some(high) = self.out.get_mut(2) {
            *high |= flag::TRUNCATED;
        }
    }

    /// Octets left for records.
    fn room(&self) -> usize {
        let reserved = if self.query.edns.is_some() { Edns::LEN } else { 0 };
        self.limit.saturating_sub(self.out.len() + reserved)
    }
}

/// Writes an answer that is a header and nothing else, for what cannot be read any further.
fn refuse(packet: &[u8], code: u8, out: &mut Vec<u8>) -> Action {
    let Some(&[id0, id1, high, _]) = packet.first_chunk() else { return Action::Drop };
    let high = flag::RESPONSE | high & (flag::OPCODE | flag::RECURSION_DESIRED);
    out.clear();
    out.extend_from_slice(&[id0, id1, high, flag::RECURSION_AVAILABLE | code]);
    out.extend_from_slice(&[0; HEADER - 4]);
    Action::Refuse
}

/// Starts an answer: identifier, flags and question, no records yet.
fn begin(packet: &[u8], question_end: usize, [high, low, code]: [u8; 3], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(packet.get(..2).unwrap_or_default());
    out.push(flag::RESPONSE | high);
    out.push(flag::RECURSION_AVAILABLE | low & flag::CHECKING_DISABLED | code);
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(packet.get(HEADER..question_end).unwrap_or_default());
}

/// Ends an answer: the OPT record.
fn end(edns: Option<Edns>, extended: u8, out: &mut Vec<u8>) {
    if let Some(edns) = edns {
        let payload = u16::try_from(MAX_QUERY).unwrap_or(u16::MAX);
        out.extend_from_slice(&edns.reply(payload, extended));
        message::set_number(out, 10, 1);
    }
}

/// A compression pointer. Whatever is pointed at here lies in or just behind the question, far
/// below the 16 KiB that a pointer reaches.
fn pointer(at: usize) -> [u8; 2] {
    (0xc000 | u16::try_from(at).unwrap_or(0)).to_be_bytes()
}

#[cfg(test)]
mod tests;
