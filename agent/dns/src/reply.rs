//! What another resolver says: whether it is the reply to what was asked, and how it is passed on.
//!
//! A reply is carried, not understood: records, flags and options go through as they came. What is
//! changed is what the client would miss or not take: its identifier, the letters of its question,
//! and the size.

use crate::answer::{self, Errand, Style};
use crate::message::{HEADER, Record, flag, kind, number, rcode, set_number};

/// What a reply amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The name exists or does not: every resolver would say so.
    Answer,
    /// This resolver cannot or will not say; another one may.
    Refusal,
}

/// Whether `reply` belongs to the query with this identifier and question (RFC 5452 §9.1).
///
/// Letter case may differ, since some resolvers do not keep it. A refusal may have no question.
pub fn check(reply: &[u8], id: u16, question: &[u8]) -> Option<Heard> {
    let &[i0, i1, high, low, q0, q1, ..] = reply.first_chunk::<HEADER>()?;
    let ours = u16::from_be_bytes([i0, i1]) == id;
    if !ours || high & (flag::RESPONSE | flag::OPCODE) != flag::RESPONSE {
        return None;
    }
    let heard = match low & flag::RCODE {
        rcode::FORMAT_ERROR | rcode::SERVER_FAILURE | rcode::NOT_IMPLEMENTED | rcode::REFUSED => {
            Heard::Refusal
        }
        _ => Heard::Answer,
    };
    match u16::from_be_bytes([q0, q1]) {
        0 if reply.len() == HEADER && heard == Heard::Refusal => Some(heard),
        1 => {
            let (name, fields) = question.split_last_chunk::<4>()?;
            let (same_name, same_fields) =
                reply.get(HEADER..HEADER + question.len())?.split_last_chunk::<4>()?;
            (name.eq_ignore_ascii_case(same_name) && fields == same_fields).then_some(heard)
        }
        _ => None,
    }
}

/// Turns a reply to us, one that [`check`] has let pass, into a reply to the client who sent `packet`.
pub fn pass_on(reply: &mut Vec<u8>, packet: &[u8], errand: &Errand) {
    if let (Some(id), Some(place)) = (packet.first_chunk::<2>(), reply.first_chunk_mut()) {
        *place = *id;
    }
    let question = HEADER..errand.question_end;
    if let (Some(asked), Some(place)) = (packet.get(question.clone()), reply.get_mut(question)) {
        place.copy_from_slice(asked);
    }
    // For the name it does exist: the table has its addresses. Caches would drop those as well.
    if let Some(low) = reply.get_mut(3)
        && errand.known
        && *low & flag::RCODE == rcode::NAME_ERROR
    {
        *low &= !flag::RCODE;
    }
    if reply.len() > errand.limit {
        match errand.style {
            Style::Plain => cut(reply, errand.question_end, errand.limit),
            // What the client has no room for, Istio's own agent could not read either.
            Style::Istio => answer::fail(packet, errand, reply),
        }
    }
}

/// Leaves out the last records until the reply fits, and says so.
///
/// The OPT record stays, wherever it is. A compression pointer only ever points backwards, so what
/// is kept does not miss what is cut.
fn cut(reply: &mut Vec<u8>, question_end: usize, limit: usize) {
    let opt = opt_record(reply, question_end)
        .filter(|opt| question_end + opt.len() <= limit)
        .unwrap_or_default();
    let limit = limit - opt.len();
    let mut end = question_end;
    let mut complete = true;
    let mut opt_kept = false;
    for section in [6, 8, 10] {
        let mut kept = 0;
        for _ in 0..number(reply, section).unwrap_or(0) {
            let record = Record::read(reply, end).filter(|record| complete && record.end <= limit);
            let Some(record) = record else {
                complete = false;
                break;
            };
            opt_kept |= record.kind == kind::OPT;
            end = record.end;
            kept += 1;
        }
        set_number(reply, section, kept);
    }
    reply.truncate(end);
    if !opt_kept && !opt.is_empty() {
        reply.extend_from_slice(&opt);
        let additionals = number(reply, 10).unwrap_or(0);
        set_number(reply, 10, additionals + 1);
    }
    if let Some(high) = reply.get_mut(2) {
        *high |= flag::TRUNCATED;
    }
}

/// The octets of the OPT record.
fn opt_record(reply: &[u8], question_end: usize) -> Option<Vec<u8>> {
    let passed = usize::from(number(reply, 6)?) + usize::from(number(reply, 8)?);
    let mut at = question_end;
    for index in 0..passed + usize::from(number(reply, 10)?) {
        let record = Record::read(reply, at)?;
        if index >= passed && record.kind == kind::OPT && record.of_root {
            return reply.get(at..record.end).map(<[u8]>::to_vec);
        }
        at = record.end;
    }
    None
}

#[cfg(test)]
mod tests;
