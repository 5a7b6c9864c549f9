//! Answers as Istio's own agent has always given them, for whoever has come to depend on them.
//!
//! - Owners are in lower case, and in full, unless the answer would not fit.
//! - A search domain is answered by an alias, even of a name with `*`, which then owns the records.
//! - There is no OPT record, no zone, and no recursion; the class is not looked at.
//! - Anything but addresses is for others to say, and so is all about a name that has none.
//!
//! Two things it never did are done here as well: a query of more than 512 octets is read, and
//! without a table others are asked.

use super::draft::{Draft, pointer, record_head};
use super::{Action, Asked, DATAGRAM, View};
use crate::message::{HEADER, flag, kind, rcode};
use crate::name::Name;
use crate::table::{TTL, Via};

/// Decides about a query, and answers it.
pub(super) fn answer(
    asked: &Asked<'_>,
    view: &View<'_>,
    dice: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Action {
    let Some(found) = view
        .table
        .and_then(|table| table.find(asked.name, view.search))
        .filter(|found| found.via != Via::Below && !(found.v4.is_empty() && found.v6.is_empty()))
    else {
        return asked.relay(view, false);
    };
    let reply = Reply { draft: asked.draft(view, DATAGRAM, out), name: asked.name };
    match asked.query.kind {
        kind::A => reply.addresses(found.v4, found.via, asked.query.flags, dice),
        kind::AAAA => reply.addresses(found.v6, found.via, asked.query.flags, dice),
        _ => return asked.relay(view, false),
    }
    Action::Answer
}

/// Third and fourth octet of a refusal: what is not about the code is left as it came.
pub(super) fn refusal([high, low]: [u8; 2], code: u8) -> [u8; 2] {
    let opcode = if code == rcode::NOT_IMPLEMENTED { high & flag::OPCODE } else { 0 };
    let high = high & (flag::TRUNCATED | flag::RECURSION_DESIRED);
    let low = low & (flag::RECURSION_AVAILABLE | flag::AUTHENTIC_DATA | flag::CHECKING_DISABLED);
    [flag::RESPONSE | opcode | high, low | code]
}

/// Octets of an owner that is a pointer, as in the records of a table.
const OWNER: usize = 2;
/// Octets of a record behind its owner and before its data.
const HEAD: usize = 10;

/// An answer from the table on its way.
struct Reply<'a> {
    draft: Draft<'a>,
    name: &'a Name,
}

/// A name in two pieces, without the root's octet.
#[derive(Clone, Copy)]
struct Spelled<'a>(&'a [u8], &'a [u8]);

/// How the owner of a record is written.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Full(Spelled<'a>),
    Pointer([u8; OWNER]),
}

impl Reply<'_> {
    fn addresses<const N: usize>(
        mut self,
        records: &[[u8; N]],
        via: Via,
        [high, low]: [u8; 2],
        dice: &mut fastrand::Rng,
    ) {
        let high = flag::AUTHORITATIVE | high & flag::RECURSION_DESIRED;
        self.draft.begin([high, low & flag::CHECKING_DISABLED]);
        if records.is_empty() {
            return;
        }
        let asked = Spelled(self.name.octets(), b"");
        let target = target(self.name, via);
        let owner = target.unwrap_or(asked);
        let alias = target.map_or(0, |target| asked.len() + HEAD + target.len());
        if alias + records.len() * (owner.len() + N - OWNER) > self.draft.room(0) {
            return self.compressed(records, asked, target, dice);
        }
        if let Some(target) = target {
            self.alias(Owner::Full(asked), target);
        }
        let owner = Owner::Full(owner);
        self.copy(records, [owner, owner], usize::from(target.is_some()), dice);
    }

    /// Writes names once, and what fits.
    fn compressed<const N: usize>(
        &mut self,
        records: &[[u8; N]],
        asked: Spelled<'_>,
        target: Option<Spelled<'_>>,
        dice: &mut fastrand::Rng,
    ) {
        // Its letters may be others.
        let in_question = self.draft.name().strip_suffix(b"\0") == Some(self.name.octets());
        let at_question = Owner::Pointer(pointer(HEADER));
        let first = if in_question { at_question } else { Owner::Full(asked) };
        let Some(target) = target else {
            let again = Owner::Pointer(pointer(self.draft.out.len()));
            let again = if in_question { at_question } else { again };
            return self.copy(records, [first, again], 0, dice);
        };
        match self.alias(first, target) {
            Some(owner) => self.copy(records, [owner, owner], 1, dice),
            None => self.draft.truncated(),
        }
    }

    /// Writes that `owner` is an alias of `target`; gives a pointer to that, if there was room.
    fn alias(&mut self, owner: Owner<'_>, target: Spelled<'_>) -> Option<Owner<'static>> {
        if owner.len() + HEAD + target.len() > self.draft.room(0) {
            return None;
        }
        let len = u16::try_from(target.len()).ok()?;
        let [_, _, head @ ..] = record_head([0; OWNER], kind::CNAME, TTL, len);
        let out = &mut *self.draft.out;
        owner.write(out);
        out.extend_from_slice(&head);
        let at = pointer(out.len());
        target.write(out);
        self.draft.count_answers(1);
        Some(Owner::Pointer(at))
    }

    /// Copies as many of the records as fit, in random order: the first and the rest with these
    /// owners, behind `before` that are there already.
    fn copy<const N: usize>(
        &mut self,
        records: &[[u8; N]],
        [first, rest]: [Owner<'_>; 2],
        before: usize,
        dice: &mut fastrand::Rng,
    ) {
        let start = dice.usize(..records.len());
        let (front, back) = records.split_at_checked(start).unwrap_or((&[], records));
        let mut owner = first;
        let mut count = 0;
        let mut ends_first = 0;
        for record in back.iter().chain(front) {
            let fields = record.get(OWNER..).unwrap_or_default();
            if owner.len() + fields.len() > self.draft.room(0) {
                self.draft.truncated();
                break;
            }
            owner.write(self.draft.out);
            self.draft.out.extend_from_slice(fields);
            if count == 0 {
                ends_first = self.draft.out.len();
            }
            count += 1;
            owner = rest;
        }
        let each = rest.len() + N - OWNER;
        let data = |index| {
            let end = ends_first + index * each;
            end - (N - OWNER - HEAD)..end
        };
        for last in (1..count).rev() {
            let other = dice.usize(..=last);
            // Not disjoint is what is left where it is.
            if let Ok([one, other]) = self.draft.out.get_disjoint_mut([data(last), data(other)]) {
                one.swap_with_slice(other);
            }
        }
        self.draft.count_answers(before + count);
    }
}

/// The name that the question's is an alias of.
fn target(asked: &Name, via: Via) -> Option<Spelled<'_>> {
    match via {
        Via::Name | Via::Wildcard | Via::Below => None,
        Via::Search { octets } => asked.octets().get(..octets).map(|name| Spelled(name, b"")),
        Via::WildcardSearch { start, end } => {
            asked.octets().get(start..end).map(|name| Spelled(b"\x01*", name))
        }
    }
}

impl Spelled<'_> {
    /// Octets, with the root's.
    fn len(self) -> usize {
        self.0.len() + self.1.len() + 1
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
        out.extend_from_slice(self.1);
        out.push(0);
    }
}

impl Owner<'_> {
    fn len(self) -> usize {
        match self {
            Self::Full(name) => name.len(),
            Self::Pointer(at) => at.len(),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Full(name) => name.write(out),
            Self::Pointer(at) => out.extend_from_slice(&at),
        }
    }
}
