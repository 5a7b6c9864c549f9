//! Answers that suit every client.
//!
//! - Records belong to the name that was asked, in its letters: no alias in other ones, no `*`.
//! - There is an OPT record if and only if the query had one.
//! - What a known name does not have is said with a zone (SOA), so that it may be remembered for a
//!   while, and nobody else is asked for what is of the mesh alone.
//! - Recursion is available: there are resolvers that pass over who says it is not.

use super::draft::{Draft, pointer, record_head};
use super::{Action, Asked, MAX_DATAGRAM, MAX_QUERY, View, refuse};
use crate::message::{ANY_CLASS, Edns, HEADER, IN, Query, flag, kind, rcode, set_number};
use crate::table::{Found, Realm, TTL, Via};

/// Seconds for which it may be remembered that a name has no such record.
const NEGATIVE_TTL: u32 = 10;

/// Decides about a query, and answers it.
pub(super) fn answer(
    asked: &Asked<'_>,
    view: &View<'_>,
    dice: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Action {
    let Asked { packet, query, name, .. } = asked;
    if !query.sound {
        return refuse(packet, rcode::FORMAT_ERROR, view.style, out);
    }
    // The first message of a zone would be all that is passed on of it.
    if matches!(query.kind, kind::AXFR | kind::IXFR) {
        return Reply::new(asked, view, out).refused();
    }
    let Some(table) = view.table else { return asked.relay(view, false) };
    let Some(found) = table.find(name, view.search) else {
        let address = name.address().filter(|_| !table.excludes(name, view.search));
        return match address.and_then(|address| table.reverse(address)) {
            Some(host) => reverse(host, asked, view, out),
            None => asked.relay(view, false),
        };
    };
    match (query.class, found.realm) {
        (IN | ANY_CLASS, _) => by_kind(&found, asked, view, dice, out),
        (_, Realm::Mesh) => Reply::new(asked, view, out).refused(),
        (_, Realm::World) => asked.relay(view, true),
    }
}

/// Answers for a known name, in class IN.
fn by_kind(
    found: &Found<'_>,
    asked: &Asked<'_>,
    view: &View<'_>,
    dice: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Action {
    let &Found { v4, v6, via, realm } = found;
    // Outside, a name without any address may still have some.
    if realm == Realm::World && v4.is_empty() && v6.is_empty() {
        return asked.relay(view, true);
    }
    // Under a search domain the machine's operator may have a host of this name, too.
    let searched = matches!(via, Via::Search { .. } | Via::WildcardSearch { .. });
    let mut reply = Reply::new(asked, view, out);
    if reply.speaks_other_edns() {
        return reply.bad_version();
    }
    match (asked.query.kind, via) {
        (kind::A, _) => reply.addresses(v4, via, dice),
        (kind::AAAA, _) => reply.addresses(v6, via, dice),
        // One set of records will do (RFC 8482 §4.1).
        (kind::ANY, _) if v4.is_empty() => reply.addresses(v6, via, dice),
        (kind::ANY, _) => reply.addresses(v4, via, dice),
        (kind::CNAME, Via::Search { octets }) => reply.alias(octets),
        // What others say here would lead around the mesh: it may hold addresses.
        (kind::SVCB | kind::HTTPS, _) => reply.no_data(),
        _ if realm == Realm::Mesh && !searched => reply.no_data(),
        _ => asked.relay(view, true),
    }
}

/// Answers for the name of an address of `host`.
fn reverse(host: &[u8], asked: &Asked<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Action {
    let of_names = matches!(asked.query.kind, kind::PTR | kind::ANY);
    if !of_names || !matches!(asked.query.class, IN | ANY_CLASS) {
        // The address is not of the mesh alone, as a name is.
        return asked.relay(view, true);
    }
    let mut reply = Reply::new(asked, view, out);
    if reply.speaks_other_edns() {
        return reply.bad_version();
    }
    reply.pointer_to(host)
}

/// Ends an answer: the OPT record, if the query had one.
#[inline]
pub(super) fn end(edns: Option<Edns>, extended: u8, out: &mut Vec<u8>) {
    if let Some(edns) = edns {
        let payload = u16::try_from(MAX_QUERY).unwrap_or(u16::MAX);
        out.extend_from_slice(&edns.reply(payload, extended));
        set_number(out, 10, 1);
    }
}

/// An answer from the table on its way.
struct Reply<'a> {
    draft: Draft<'a>,
    query: &'a Query,
}

impl<'a> Reply<'a> {
    fn new(asked: &'a Asked<'_>, view: &View<'_>, out: &'a mut Vec<u8>) -> Self {
        Self { draft: asked.draft(view, MAX_DATAGRAM, out), query: &asked.query }
    }

    fn addresses<const N: usize>(
        &mut self,
        records: &[[u8; N]],
        via: Via,
        dice: &mut fastrand::Rng,
    ) -> Action {
        if records.is_empty() {
            return self.no_data();
        }
        self.begin(rcode::NO_ERROR);
        match (via, records) {
            // Mostly so.
            (Via::Name | Via::Wildcard | Via::WildcardSearch { .. }, [record]) => {
                self.draft.out.extend_from_slice(record);
                self.draft.count_answers(1);
            }
            (Via::Search { octets }, _) => match self.canonical_name(octets) {
                Some(owner) => self.copy(records, 1, Some(owner), dice),
                None => self.draft.truncated(),
            },
            _ => self.copy(records, 0, None, dice),
        }
        self.end(0)
    }

    /// Says which name the question's is an alias of: its first `octets`.
    fn alias(&mut self, octets: usize) -> Action {
        self.begin(rcode::NO_ERROR);
        match self.canonical_name(octets) {
            Some(_) => self.draft.count_answers(1),
            None => self.draft.truncated(),
        }
        self.end(0)
    }

    fn pointer_to(&mut self, host: &[u8]) -> Action {
        self.begin(rcode::NO_ERROR);
        if self.name_record(kind::PTR, host).is_some() {
            self.draft.count_answers(1);
        } else {
            self.draft.truncated();
        }
        self.end(0)
    }

    /// Says that the name is known, and has no such record.
    ///
    /// The zone that is named is the parent of the name, as if each were served by itself
    /// (RFC 6303 §3); caches need one to remember what is not there (RFC 2308 §2). It always fits:
    /// a question of any length leaves more than it needs of 512 octets.
    fn no_data(&mut self) -> Action {
        self.begin(rcode::NO_ERROR);
        let first = self.draft.name().first().map_or(0, |&len| usize::from(len));
        let [p0, p1] = pointer(HEADER + 1 + first);
        let out = &mut *self.draft.out;
        out.extend_from_slice(&record_head([p0, p1], kind::SOA, NEGATIVE_TTL, 38));
        out.extend_from_slice(&[p0, p1]);
        out.extend_from_slice(b"\x06nobody\x07invalid\x00");
        // serial, refresh, retry, expire, minimum
        let times = [1, 3600, 1200, 604_800, NEGATIVE_TTL].map(u32::to_be_bytes);
        out.extend_from_slice(times.as_flattened());
        set_number(out, 8, 1);
        self.end(0)
    }

    fn speaks_other_edns(&self) -> bool {
        self.query.edns.is_some_and(|edns| edns.version > 0)
    }

    /// Says which version of EDNS is spoken here (RFC 6891 §6.1.3).
    fn bad_version(&mut self) -> Action {
        self.begin(rcode::NO_ERROR);
        self.end(1)
    }

    fn refused(&mut self) -> Action {
        self.begin(rcode::REFUSED);
        if let Some(high) = self.draft.out.get_mut(2) {
            *high &= !flag::AUTHORITATIVE;
        }
        self.end(0);
        Action::Refuse
    }

    /// Writes that the first `octets` of the question are the name proper; gives a pointer to it,
    /// if there was room.
    fn canonical_name(&mut self, octets: usize) -> Option<[u8; 2]> {
        let target = self.draft.packet.get(HEADER..HEADER + octets)?;
        self.name_record(kind::CNAME, target)
    }

    /// Writes a record that names `host`; gives a pointer to it, if there was room.
    fn name_record(&mut self, kind: u16, host: &[u8]) -> Option<[u8; 2]> {
        let head = record_head(pointer(HEADER), kind, TTL, u16::try_from(host.len() + 1).ok()?);
        if head.len() + host.len() + 1 > self.room() {
            return None;
        }
        let out = &mut *self.draft.out;
        out.extend_from_slice(&head);
        let at = pointer(out.len());
        out.extend_from_slice(host);
        out.push(0);
        Some(at)
    }

    /// Copies as many of the records as fit in random order, any of them as likely as the others
    /// to be first; `before` records there are already.
    fn copy<const N: usize>(
        &mut self,
        records: &[[u8; N]],
        before: usize,
        owner: Option<[u8; 2]>,
        dice: &mut fastrand::Rng,
    ) {
        let fit = (self.room() / N).min(records.len());
        let start = if records.len() > 1 { dice.usize(..records.len()) } else { 0 };
        let (front, back) = records.split_at_checked(start).unwrap_or((&[], records));
        let out = &mut *self.draft.out;
        let first = out.len();
        let tail = fit.saturating_sub(back.len());
        out.extend_from_slice(back.get(..fit).unwrap_or(back).as_flattened());
        out.extend_from_slice(front.get(..tail).unwrap_or_default().as_flattened());

        let (copies, _) = out.get_mut(first..).unwrap_or_default().as_chunks_mut::<N>();
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
        self.draft.count_answers(before + fit);
        if fit < records.len() {
            self.draft.truncated();
        }
    }

    fn begin(&mut self, code: u8) {
        let [high, low] = self.query.flags;
        let high = flag::AUTHORITATIVE | high & flag::RECURSION_DESIRED;
        let low = flag::RECURSION_AVAILABLE | low & flag::CHECKING_DISABLED;
        self.draft.begin([high, low | code]);
    }

    fn end(&mut self, extended: u8) -> Action {
        end(self.query.edns, extended, self.draft.out);
        Action::Answer
    }

    /// Octets left for records.
    fn room(&self) -> usize {
        self.draft.room(if self.query.edns.is_some() { Edns::LEN } else { 0 })
    }
}
