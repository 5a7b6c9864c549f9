//! The ports from which a question is out, whichever worker sent it.
//!
//! A query that comes in from one of them is a question of our own: the resolver leads back to us,
//! or its address is redirected here.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// For each port the number of the resolver that is asked from it; 0: none.
#[derive(Debug)]
pub(crate) struct Ports(Box<[AtomicU8]>);

/// The address that we have on the way to a resolver, told apart well enough.
#[derive(Debug, Default)]
pub(crate) struct Own(AtomicU32);

impl Ports {
    pub(crate) fn open(&self, port: u16, resolver: u8) {
        self.put(port, resolver);
    }

    pub(crate) fn close(&self, port: u16) {
        self.put(port, 0);
    }

    /// The number of the resolver that is asked from this port now.
    pub(crate) fn asked_from(&self, port: u16) -> Option<u8> {
        let resolver = self.0.get(usize::from(port))?.load(Ordering::Relaxed);
        (resolver != 0).then_some(resolver)
    }

    fn put(&self, port: u16, resolver: u8) {
        if let Some(place) = self.0.get(usize::from(port)) {
            place.store(resolver, Ordering::Relaxed);
        }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self((0..=u16::MAX).map(|_| AtomicU8::new(0)).collect())
    }
}

impl Own {
    pub(crate) fn note(&self, ip: IpAddr) {
        let seen = fold(ip);
        // Others read it all the time, and it hardly ever changes.
        if self.0.load(Ordering::Relaxed) != seen {
            self.0.store(seen, Ordering::Relaxed);
        }
    }

    pub(crate) fn is(&self, ip: IpAddr) -> bool {
        self.0.load(Ordering::Relaxed) == fold(ip)
    }
}

fn fold(ip: IpAddr) -> u32 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            v6.octets().as_chunks::<4>().0.iter().fold(1, |all: u32, &part| {
                all.rotate_left(7).wrapping_add(u32::from_be_bytes(part))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_known_as_long_as_a_question_is_out() {
        let ports = Ports::default();
        for port in [0, 1, 40_000, u16::MAX] {
            assert_eq!(ports.asked_from(port), None);
            ports.open(port, 3);
            assert_eq!(ports.asked_from(port), Some(3));
            ports.close(port);
            assert_eq!(ports.asked_from(port), None);
        }
    }

    #[test]
    fn our_own_address_is_told_from_others() {
        let own = Own::default();
        own.note("10.0.0.5".parse().unwrap());
        assert!(own.is("10.0.0.5".parse().unwrap()) && own.is("::ffff:10.0.0.5".parse().unwrap()));
        assert!(!own.is("10.0.0.6".parse().unwrap()) && !own.is("::1".parse().unwrap()));
        own.note("fe80::1".parse().unwrap());
        assert!(own.is("fe80::1".parse().unwrap()) && !own.is("fe80::2".parse().unwrap()));
    }
}
