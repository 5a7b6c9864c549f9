//! Ports and addresses that nobody uses, for a process that must be told one.
//!
//! They lie below what the kernel hands out to outgoing connections, so that none of those can
//! sit on a port between its choice and its use, or while a server is down for a while. No port
//! is handed out twice by one process, and processes begin at different ones.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A free TCP port of an address.
///
/// # Errors
/// When none is free.
pub fn port(ip: IpAddr) -> Result<u16> {
    let start = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(taken) % COUNT)?;
        if TcpListener::bind((ip, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {ip} is free")
}

/// A free address and port in 127.0.0.0/8, but not 127.0.0.1.
///
/// # Errors
/// When none is found.
pub fn vip() -> Result<SocketAddr> {
    let ip = Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(2..255));
    Ok(SocketAddr::new(ip.into(), port(ip.into())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let localhost = Ipv4Addr::LOCALHOST.into();
        let ports: Vec<_> = (0..50).map(|_| port(localhost).unwrap()).collect();
        for (index, one) in ports.iter().enumerate() {
            assert!((20_000..32_000).contains(one));
            assert!(!ports[..index].contains(one));
        }
    }
}
