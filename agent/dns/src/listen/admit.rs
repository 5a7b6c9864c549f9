//! Who may ask.
//!
//! On a loopback address whoever gets there: programs of this machine. On any other address this
//! machine still, and the networks that are allowed; nobody else is to have his queries resolved
//! here, or to have answers sent to somebody whose address he writes on his envelopes.

use std::net::{IpAddr, SocketAddr};

use hawser_rt::Cidr;

use crate::message::{HEADER, flag, rcode};

/// Whether `client`, who asks at `asked`, an address of this machine, is on this machine himself.
///
/// The kernel lets nobody get to a loopback address, or come from one, who is not; a query that was
/// redirected here has any address of this machine as its sender, and was sent to one of these.
pub(crate) fn is_near(client: SocketAddr, asked: IpAddr) -> bool {
    let ip = client.ip();
    asked.is_loopback() || ip.is_loopback() || ip == asked
}

/// Whether somebody who is not on this machine may ask.
pub(crate) fn admits(allowed: &[Cidr], client: SocketAddr) -> bool {
    allowed.iter().any(|network| network.contains(client.ip()))
}

/// Writes to `out` that the query is not answered to whoever has asked it; gives whether it is one.
///
/// No longer than the query, so that nobody gains by asking in another's name.
pub(crate) fn turn_away(packet: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let Some(&[id0, id1, high, ..]) = packet.first_chunk::<HEADER>() else { return false };
    if high & flag::RESPONSE != 0 {
        return false;
    }
    let high = flag::RESPONSE | high & (flag::OPCODE | flag::RECURSION_DESIRED);
    out.extend_from_slice(&[id0, id1, high, rcode::REFUSED]);
    out.extend_from_slice(&[0; HEADER - 4]);
    true
}

#[cfg(test)]
mod tests;
