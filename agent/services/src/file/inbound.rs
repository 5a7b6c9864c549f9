//! What of this machine the mesh may call.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    at::{A_PORT, At, Judge, Section, port},
    words,
};
use crate::model::{Callers, Inbound, Protocol};

/// Reads one port.
pub(super) fn read(at: &At<'_>, trust_domain: &str, judge: &mut Judge) -> Option<Inbound> {
    let mut section = Section::open(at, judge)?;
    let number = section.required(judge, "port", A_PORT, port);
    let address = section.read(judge, "address", "an IP address of this machine", |text| {
        text.parse().ok().filter(|ip: &IpAddr| words::callable(*ip) || ip.is_unspecified())
    });
    let expected = "the port of the program, or its address with a port: 8080 or 127.0.0.1:8080";
    let to = section.required(judge, "to", expected, |text| match port(text) {
        Some(port) => Some((LOOPBACK, port)),
        None => {
            let socket: SocketAddr = text.parse().ok()?;
            words::callable(socket.ip()).then_some((socket.ip(), socket.port().try_into().ok()?))
        }
    });
    let protocol = section.read(judge, "protocol", words::A_PROTOCOL, words::protocol);
    let callers = callers(&mut section, trust_domain, judge);
    let to_at = section.field("to");
    section.close(judge);
    let inbound = Inbound {
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        port: number?,
        to: to?,
        protocol: protocol.unwrap_or(Protocol::Http),
        callers: callers?,
        place: judge.place(at.line()),
    };
    let (ip, port) = inbound.to;
    if port == inbound.port
        && (ip == inbound.address || (inbound.address.is_unspecified() && ip.is_loopback()))
    {
        judge.wrong(&to_at?, "the port that it listens on itself", "another one");
    }
    Some(inbound)
}

fn callers(section: &mut Section<'_>, trust_domain: &str, judge: &mut Judge) -> Option<Callers> {
    let Some(at) = section.field("callers") else { return Some(Callers::Mesh) };
    match at.text() {
        Some("mesh") => return Some(Callers::Mesh),
        Some("anybody") => return Some(Callers::Anybody),
        _ => {}
    }
    let expected = format!("mesh, anybody, or who may call: {}", words::AN_IDENTITY);
    let ids = section.some(judge, "callers", (&expected, MAX_CALLERS), |text| {
        words::identity(text, trust_domain)
    })?;
    Some(Callers::These(ids))
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MAX_CALLERS: usize = 256;
