//! Who listens on which TCP port of this machine.
//!
//! The kernel is asked for sockets in LISTEN alone, which are few however many connections there
//! are; where it does not tell (no `inet_diag`), its table in `/proc` is read.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use nix::libc;
use nix::sys::socket::SockProtocol;

use crate::netlink::{self, Message, Netlink, u32_at};

/// A socket that takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Where.
    pub port: u16,
    /// Whose it is.
    pub uid: u32,
    /// Whether it takes those of IPv4.
    pub ipv4: bool,
    /// Whether it takes those of IPv6.
    pub ipv6: bool,
}

/// All sockets that take connections, of both families, in this network namespace. `proc` is where
/// the kernel's tables are: `/proc/self/net`.
pub fn listeners(proc: &Path) -> io::Result<BTreeSet<Listener>> {
    asked().or_else(|_| read(proc))
}

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
const LISTEN: u32 = 10;
/// Octets that name a socket: ports, addresses, interface, cookie.
const SOCKET_ID: usize = 48;
/// Where in the answer the port is, in network order, the address, and the owner.
const PORT: usize = 4;
const ADDRESS: usize = 8;
const UID: usize = 4 + SOCKET_ID + 12;
/// Octets of the answer before attributes, and the one that says that it is for IPv6 alone.
const ANSWER: usize = 4 + SOCKET_ID + 20;
const V6_ONLY: u16 = 11;

fn asked() -> io::Result<BTreeSet<Listener>> {
    let mut kernel = Netlink::open(SockProtocol::NetlinkSockDiag)?;
    let mut all = BTreeSet::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let octet = |number: i32| u8::try_from(number).unwrap_or_default();
        let mut question = vec![octet(family), octet(libc::IPPROTO_TCP), 0, 0];
        question.extend_from_slice(&(1_u32 << LISTEN).to_ne_bytes());
        question.resize(question.len() + SOCKET_ID, 0);
        let ipv6 = family == libc::AF_INET6;
        let seen = kernel.dump(&Message::new(BY_FAMILY, 0, &question), |_, body| {
            let port = body.get(PORT..)?.first_chunk().copied().map(u16::from_be_bytes)?;
            let any = body.get(ADDRESS..)?.first_chunk::<16>()?.iter().all(|octet| *octet == 0);
            let only = netlink::attributes(body, ANSWER)
                .any(|(number, value)| number == V6_ONLY && value.first() == Some(&1));
            Some(Listener { port, uid: u32_at(body, UID)?, ipv4: !ipv6 || (any && !only), ipv6 })
        })?;
        all.extend(seen);
    }
    Ok(all)
}

fn read(proc: &Path) -> io::Result<BTreeSet<Listener>> {
    let mut all = BTreeSet::new();
    all.extend(fs::read_to_string(proc.join("tcp"))?.lines().filter_map(line));
    // There is none where IPv6 is off.
    if let Ok(table) = fs::read_to_string(proc.join("tcp6")) {
        all.extend(table.lines().filter_map(line));
    }
    Ok(all)
}

/// `0: 0100007F:3AD9 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998 …`
fn line(line: &str) -> Option<Listener> {
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let uid = words.nth(3)?;
    if u32::from_str_radix(state, 16).ok()? != LISTEN {
        return None;
    }
    let (address, port) = local.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Whether one of IPv6 takes the other too is not said there; most do.
    let ipv6 = address.len() > 8;
    let any = address.bytes().all(|digit| digit == b'0');
    Some(Listener { port, uid: uid.parse().ok()?, ipv4: !ipv6 || any, ipv6 })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::unistd::geteuid;

    use super::*;

    #[test]
    fn a_listener_is_seen_by_both_ways_and_a_connection_is_none() {
        let uid = geteuid().as_raw();
        let cases =
            [("127.0.0.1:0", (true, false)), ("[::1]:0", (false, true)), ("[::]:0", (true, true))];
        for (address, (ipv4, ipv6)) in cases {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let here = Listener { port, uid, ipv4, ipv6 };
            let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let other = connection.local_addr().unwrap().port();

            for seen in [asked().unwrap(), read(Path::new("/proc/self/net")).unwrap()] {
                assert!(seen.contains(&here), "{here:?} in {seen:?}");
                assert!(!seen.iter().any(|one| one.port == other), "{other} in {seen:?}");
            }
        }
    }

    #[test]
    fn lines_of_the_kernels_table_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 8 1 0\n\
            \x20  1: 0100007F:3A99 0100007F:C001 01 00000000:00000000 00:00000000 00000000   998        0 9 1 0\n\
            \x20  2: 00000000000000000000000000000000:3A9E 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 7\n\
            garbage\n";
        let seen: Vec<_> = table.lines().filter_map(line).collect();
        assert_eq!(
            seen,
            [
                Listener { port: 15001, uid: 998, ipv4: true, ipv6: false },
                Listener { port: 15006, uid: 0, ipv4: true, ipv6: true },
            ]
        );
    }
}
