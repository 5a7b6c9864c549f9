//! How many connections there may be at a time, of all and of each who comes: nobody takes every
//! place.

use std::{collections::HashMap, fmt, hash::Hash, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// Places for connections of those that `K` tells apart. Clones are the same places.
#[derive(Debug, Clone)]
pub(super) struct Crowd<K: Eq + Hash> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    most: usize,
    most_each: usize,
}

/// A place, given back when dropped.
pub(super) struct Place<K: Eq + Hash> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    whose: K,
}

impl<K: Eq + Hash + Clone> Crowd<K> {
    /// As many as `most`, and of each as many as `most_each`.
    pub(super) fn new(most: usize, most_each: usize) -> Self {
        Self { taken: Arc::default(), most, most_each }
    }

    /// A place for one more, if there is one.
    pub(super) fn admit(&self, whose: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock();
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&whose).copied().unwrap_or(0));
        if all >= self.most || own >= self.most_each {
            return None;
        }
        taken.insert(whose.clone(), own + 1);
        Some(Place { taken: Arc::clone(&self.taken), whose })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Some(own) = taken.get_mut(&self.whose) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

impl<K: Eq + Hash> fmt::Debug for Place<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

/// What tells machines apart by their addresses: of IPv6 the network, since a machine has all of it.
pub(super) fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6((v6.to_bits() & NETWORK).into()),
        other => other,
    }
}

const NETWORK: u128 = !0 << 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_every_place_and_places_come_back() {
        let crowd = Crowd::new(3, 2);
        let first = crowd.admit("greedy").unwrap();
        let second = crowd.admit("greedy").unwrap();
        assert!(crowd.admit("greedy").is_none(), "has enough");
        let other = crowd.admit("other").unwrap();
        assert!(crowd.admit("third").is_none(), "all are taken");
        drop((first, second));
        let places = [crowd.admit("third").unwrap(), crowd.admit("third").unwrap()];
        drop((places, other));
        assert!(crowd.taken.lock().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn a_machine_is_one_whatever_address_of_its_network_it_takes() {
        let table = [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::1"),
        ];
        for (address, same) in table {
            assert_eq!(machine(address.parse().unwrap()), same.parse::<IpAddr>().unwrap());
        }
    }
}
