//! How long a reply may be kept, and where its TTLs are.

use crate::message::{HEADER, IN, Record, flag, kind, number, rcode};
use crate::name::Name;

/// Longest time that anything is kept, in seconds.
const DAY: u32 = 86_400;
/// Longest time for which there is no such record.
const NEGATIVE: u32 = 300;
/// Time that an error is kept (RFC 9520 §3.2: at least this, at most 5 minutes): a resolver that
/// works again is noticed at once.
const ERROR: u32 = 1;
/// Records of a reply that is kept.
const RECORDS: usize = 512;
/// Octets of a reply that is kept.
const OCTETS: usize = 16 * 1024;

/// How a reply may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shelf {
    pub(super) seconds: u32,
    /// It says nothing about the name.
    pub(super) error: bool,
}

/// What the records of a reply amount to.
struct Found {
    shortest: u32,
    /// There is a record of the type that was asked for.
    answered: bool,
    /// How long the zone lets it be remembered that there is none.
    negative: Option<u32>,
}

impl Shelf {
    /// Reads a reply and notes where its TTLs are; nothing, if it is not to be kept.
    pub(super) fn of(reply: &[u8], ttls: &mut Vec<u16>) -> Option<Self> {
        let &[_, _, high, low, ..] = reply.first_chunk::<HEADER>()?;
        if reply.len() > OCTETS || high & flag::TRUNCATED != 0 || number(reply, 4) != Some(1) {
            return None;
        }
        let found = read(reply, ttls)?;
        let code = low & flag::RCODE;
        let shelf = match code {
            rcode::NO_ERROR if found.answered => {
                Self { seconds: found.shortest.min(DAY), error: false }
            }
            rcode::NO_ERROR | rcode::NAME_ERROR => {
                let seconds = found.negative?.min(found.shortest).min(NEGATIVE);
                Self { seconds, error: false }
            }
            rcode::SERVER_FAILURE | rcode::REFUSED => Self { seconds: ERROR, error: true },
            _ => return None,
        };
        (shelf.seconds > 0).then_some(shelf)
    }
}

fn read(reply: &[u8], ttls: &mut Vec<u16>) -> Option<Found> {
    let name_end = Name::end(reply, HEADER)?;
    let asked = number(reply, name_end)?;
    let counts = [6, 8, 10].map(|at| usize::from(number(reply, at).unwrap_or(0)));
    let [answers, authorities, additionals] = counts;
    if answers + authorities + additionals > RECORDS {
        return None;
    }
    let mut found = Found { shortest: u32::MAX, answered: false, negative: None };
    let mut at = name_end + 4;
    for index in 0..answers + authorities + additionals {
        let record = Record::read(reply, at)?;
        at = record.end;
        if record.kind == kind::OPT {
            continue;
        }
        let place = record.fields + 2;
        let ttl = ttl(reply, place)?;
        ttls.push(u16::try_from(place).ok()?);
        found.shortest = found.shortest.min(ttl);
        if index < answers {
            found.answered |= record.kind == asked || asked == kind::ANY;
        } else if index < answers + authorities && record.kind == kind::SOA {
            let minimum = seconds(reply, record.end.checked_sub(4)?)?;
            found.negative = Some(ttl.min(minimum));
        }
    }
    // What follows the last record is not understood, nor is another class.
    (at == reply.len() && number(reply, name_end + 2) == Some(IN)).then_some(found)
}

/// A TTL; one with the highest bit set means none (RFC 2181 §8).
fn ttl(reply: &[u8], at: usize) -> Option<u32> {
    seconds(reply, at).map(|ttl| if ttl > u32::MAX / 2 { 0 } else { ttl })
}

fn seconds(reply: &[u8], at: usize) -> Option<u32> {
    reply.get(at..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}
