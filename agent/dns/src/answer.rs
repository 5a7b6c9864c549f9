//! What becomes of a query: answered from the table, relayed, refused or dropped.
//!
//! Values in, values out: the caller brings the packet, what is known, the dice and the buffer, and
//! carries out what is decided. What is true of every answer:
//!
//! - It repeats identifier and question as they came, letter case included.
//! - It fits: records that do not are left out whole, and the answer says so (TC).
//! - A name of the mesh is never said not to exist, and nobody else is asked for its addresses.
//!
//! How it is put is a matter of style: `plain` is what suits every client, `istio` what Istio's own
//! agent has always said.

mod draft;
mod istio;
mod plain;

use crate::message::{Edns, NoQuery, Query, flag, rcode};
use crate::name::Name;
pub use crate::table::Style;
use crate::table::{Search, Table};
use draft::{Draft, begin};

/// Largest query that is taken by datagram, and said to be taken.
pub const MAX_QUERY: usize = 4096;
/// Largest answer that is made for UDP, whatever the client says: a datagram in many pieces is
/// easily lost.
const MAX_DATAGRAM: usize = 4096;
/// Largest answer that is sent to another machine by UDP: it passes every network in one piece,
/// and makes little of us to whoever asks in the name of others.
const MAX_AFAR: usize = 1232;
/// Largest answer that is relayed over UDP; bounds what a query in flight costs.
const MAX_RELAYED: usize = 16 * 1024;
/// Largest datagram that there is (IPv4).
const DATAGRAM: usize = 65507;

/// What a query came by, and its answer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each.
    Udp,
    /// A stream of messages.
    Tcp,
}

/// What is known when a query is answered, and of whom it comes from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The names of the mesh; none, as long as nothing has been heard of it.
    pub table: Option<&'a Table>,
    /// What resolvers of this machine append to names.
    pub search: &'a Search,
    /// Whose rules hold.
    pub style: Style,
    /// Whether who asks is not on this machine.
    pub far: bool,
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
    /// Whose rules hold for the reply.
    pub style: Style,
}

/// Decides about `packet`, and writes the answer, if there is one, to `out`.
pub fn answer(
    packet: &[u8],
    view: &View<'_>,
    transport: Transport,
    dice: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Action {
    let mut name = Name::ROOT;
    let query = match Query::read(packet, &mut name) {
        // What is longer than it may be was cut where it was read, or is not kept.
        Ok(_) if packet.len() > MAX_QUERY => {
            return refuse(packet, rcode::FORMAT_ERROR, view.style, out);
        }
        Ok(query) => query,
        Err(NoQuery::Silent) => return Action::Drop,
        Err(NoQuery::Code(code)) => return refuse(packet, code, view.style, out),
    };
    let asked = Asked { packet, query, name: &name, transport };
    match view.style {
        Style::Plain => plain::answer(&asked, view, dice, out),
        Style::Istio => istio::answer(&asked, view, dice, out),
    }
}

/// Writes the answer to a query that nobody has answered.
pub fn fail(packet: &[u8], errand: &Errand, out: &mut Vec<u8>) {
    let Some(&[_, _, high, low]) = packet.first_chunk() else { return out.clear() };
    let high = high & flag::RECURSION_DESIRED;
    match errand.style {
        Style::Plain => {
            let low = flag::RECURSION_AVAILABLE | low & flag::CHECKING_DISABLED;
            begin(packet, errand.question_end, [high, low | rcode::SERVER_FAILURE], out);
            plain::end(errand.edns, 0, out);
        }
        Style::Istio => {
            let low = low & flag::CHECKING_DISABLED;
            begin(packet, errand.question_end, [high, low | rcode::SERVER_FAILURE], out);
        }
    }
}

/// A query that was read.
struct Asked<'a> {
    packet: &'a [u8],
    query: Query,
    name: &'a Name,
    transport: Transport,
}

impl<'a> Asked<'a> {
    /// Relays the query; `known` says that the table has the name.
    fn relay(&self, view: &View<'_>, known: bool) -> Action {
        let limit = self.limit(view, MAX_RELAYED);
        let Query { question_end, edns, .. } = self.query;
        Action::Relay(Errand { question_end, limit, edns, known, style: view.style })
    }

    /// An answer of at most `most` octets, if it is a datagram.
    fn draft(&self, view: &View<'_>, most: usize, out: &'a mut Vec<u8>) -> Draft<'a> {
        let limit = self.limit(view, most);
        Draft { packet: self.packet, question_end: self.query.question_end, limit, out }
    }

    fn limit(&self, view: &View<'_>, most: usize) -> usize {
        match self.transport {
            Transport::Udp => self.query.payload().min(if view.far { MAX_AFAR } else { most }),
            Transport::Tcp => usize::from(u16::MAX),
        }
    }
}

/// Writes an answer that is a header and nothing else, for what cannot be read any further.
fn refuse(packet: &[u8], code: u8, style: Style, out: &mut Vec<u8>) -> Action {
    let Some(&[id0, id1, high, low]) = packet.first_chunk() else { return Action::Drop };
    let flags = match style {
        Style::Plain => {
            let kept = high & (flag::OPCODE | flag::RECURSION_DESIRED);
            [flag::RESPONSE | kept, flag::RECURSION_AVAILABLE | code]
        }
        Style::Istio => istio::refusal([high, low], code),
    };
    let [high, low] = flags;
    out.clear();
    out.extend_from_slice(&[id0, id1, high, low, 0, 0, 0, 0, 0, 0, 0, 0]);
    Action::Refuse
}

#[cfg(test)]
mod tests;
