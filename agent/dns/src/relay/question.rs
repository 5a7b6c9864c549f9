//! When two queries are one question, and how it is put to others.
//!
//! Most queries are *plain*: nothing in them but a question, and an OPT record whose options concern
//! nobody but the client and us. Their replies are as good for one client as for another, so they
//! are put in our own words, asked once, and kept. Any other query is passed on as it is, and shares
//! its reply with those that are the same to the octet.

use crate::answer::{Errand, Style, Transport};
use crate::message::{Edns, HEADER, IN, flag, number, set_number};

/// Least size of a datagram that we say to take: what a client takes is our affair.
const PAYLOAD: u16 = 1232;
/// Options between a client and us: keepalive, cookie, padding.
const HOP_BY_HOP: [u16; 3] = [11, 10, 12];
/// Types of which a reply is more than a message, or none of anybody else's business: zone
/// transfers, and what belongs to a signature or a connection.
const ODD_KINDS: [std::ops::RangeInclusive<u16>; 2] = [249..=252, 41..=41];

/// How a query is known here; the octets of `key` say whether two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Plain,
    Odd,
}

/// Writes what tells the question of `packet` from others to `key`.
pub(crate) fn key(packet: &[u8], errand: &Errand, transport: Transport, key: &mut Vec<u8>) -> Sort {
    key.clear();
    if errand.style == Style::Plain
        && let Some(flags) = plain_flags(packet, errand)
    {
        key.push(flags);
        let question = packet.get(HEADER..errand.question_end).unwrap_or_default();
        let (name, fields) = question.split_last_chunk::<4>().unwrap_or((&[], &[0; 4]));
        key.extend(name.iter().map(u8::to_ascii_lowercase));
        key.extend_from_slice(fields);
        return Sort::Plain;
    }
    key.push(if transport == Transport::Udp { u8::MAX } else { u8::MAX - 1 });
    key.extend_from_slice(packet.get(2..).unwrap_or_default());
    Sort::Odd
}

/// The query to be sent; its identifier is filled in for each resolver.
pub(crate) fn query(packet: &[u8], errand: &Errand, sort: Sort) -> Vec<u8> {
    let Sort::Plain = sort else { return packet.to_vec() };
    let opt = errand.edns.map_or(0, |_| Edns::LEN);
    let mut query = packet.get(..errand.question_end + opt).unwrap_or(packet).to_vec();
    if let Some(edns) = errand.edns {
        set_number(&mut query, errand.question_end + 3, edns.payload.max(PAYLOAD));
        set_number(&mut query, errand.question_end + 9, 0);
    }
    query
}

/// What of a plain query's header and OPT record changes the reply; nothing, if it is not plain.
fn plain_flags(packet: &[u8], errand: &Errand) -> Option<u8> {
    const ZERO: u8 = 0x40;
    const AUTHENTIC: u8 = 0x20;
    let &[_, _, high, low, _, _, an0, an1, ns0, ns1, ar0, ar1] = packet.first_chunk::<HEADER>()?;
    let additionals = u16::from_be_bytes([ar0, ar1]);
    let fields = errand.question_end.checked_sub(4)?;
    let (kind, class) = (number(packet, fields)?, number(packet, fields + 2)?);
    let plain = high == flag::RECURSION_DESIRED
        && low & !(flag::CHECKING_DISABLED | AUTHENTIC) == 0
        && low & ZERO == 0
        && [an0, an1, ns0, ns1] == [0; 4]
        && additionals == u16::from(errand.edns.is_some())
        && class == IN
        && !ODD_KINDS.iter().any(|kinds| kinds.contains(&kind));
    if !plain {
        return None;
    }
    let mut flags = low & (flag::CHECKING_DISABLED | AUTHENTIC);
    match errand.edns {
        None if packet.len() != errand.question_end => return None,
        None => {}
        Some(edns) => {
            flags |= 1 | u8::from(edns.dnssec_ok) << 1;
            plain_opt(packet.get(errand.question_end..)?, edns)?;
        }
    }
    Some(flags)
}

/// Whether an OPT record, which is all that is left of the message, means nothing to others.
fn plain_opt(record: &[u8], edns: Edns) -> Option<()> {
    let (&[_, _, _, _, _, extended, version, high, low, l0, l1], mut options) =
        record.split_first_chunk::<{ Edns::LEN }>()?;
    let whole = options.len() == usize::from(u16::from_be_bytes([l0, l1]));
    if !whole || edns.version != 0 || [extended, version, high & 0x7f, low] != [0; 4] {
        return None;
    }
    while !options.is_empty() {
        let code = number(options, 0)?;
        let len = usize::from(number(options, 2)?);
        options = options.get(4 + len..)?;
        if !HOP_BY_HOP.contains(&code) {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
