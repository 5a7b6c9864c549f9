//! Which address a name has: the one it had, or the next that is free.
//!
//! What is spoken in HTTP is told apart by the name in the request, so all hosts that speak nothing else
//! share the first address of the range. A host that speaks anything else has one of its own. It keeps
//! that when it takes to HTTP, and for as long as there is room also while it is not in the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::model::{Protocol, Range, Services};

/// The addresses of names, kept over restarts: host → address.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Addresses(pub BTreeMap<String, IpAddr>);

/// There are more hosts than addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{range} has room for {room} hosts with an address of their own, and there are {hosts}: choose a larger `addresses`"
)]
#[expect(missing_docs, reason = "the message says it")]
pub struct Full {
    pub range: String,
    pub room: usize,
    pub hosts: usize,
}

impl Addresses {
    /// Hosts that are remembered beyond those of the file.
    const MAX_GONE: usize = 20_000;

    /// The addresses of these services, those that hosts have had before among them.
    pub fn assign(&self, services: &Services) -> Result<Self, Full> {
        let range = services.range;
        let mut own = BTreeMap::<&str, bool>::new();
        for service in &services.services {
            *own.entry(&service.host).or_default() |= service.protocol == Protocol::Tcp;
        }
        let shared = range.shared();
        // An address counts once, and only while it is one of the range's own.
        let mut taken = BTreeSet::new();
        let mut kept = BTreeMap::new();
        let (present, gone): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|(host, _)| own.contains_key(host.as_str()));
        for (host, &address) in present.into_iter().chain(gone.into_iter().take(Self::MAX_GONE)) {
            if address != shared && range.has(address) && taken.insert(address) {
                kept.insert(host.as_str(), address);
            }
        }
        let homeless = |kept: &BTreeMap<&str, IpAddr>| {
            own.iter().filter(|(host, own)| **own && !kept.contains_key(*host)).count()
        };
        let mut free = range.own().filter(|address| !taken.contains(address));
        let mut found: Vec<_> = free.by_ref().take(homeless(&kept)).collect();
        if found.len() < homeless(&kept) {
            // Those who are gone make room.
            kept.retain(|host, _| own.contains_key(host));
            let taken: BTreeSet<_> = kept.values().copied().collect();
            let free = range.own().filter(|address| !taken.contains(address));
            found = free.take(homeless(&kept)).collect();
        }
        let hosts = own.values().filter(|own| **own).count();
        if found.len() < homeless(&kept) {
            return Err(Full { range: range.0.to_string(), room: range.own().count(), hosts });
        }
        let mut found = found.into_iter();
        let mut addresses: BTreeMap<String, IpAddr> =
            kept.iter().map(|(host, address)| ((*host).to_owned(), *address)).collect();
        for (&host, &own) in &own {
            if !kept.contains_key(host) {
                let next = if own { found.next() } else { None };
                addresses.insert(host.to_owned(), next.unwrap_or(shared));
            }
        }
        Ok(Self(addresses))
    }

    /// The address at which programs find a host of these services.
    pub fn of(&self, services: &Services, host: &str) -> IpAddr {
        match &services.forwarder {
            Some(forwarder) => forwarder.address,
            None => self.0.get(host).copied().unwrap_or_else(|| services.range.shared()),
        }
    }
}

impl Range {
    /// The address of all that speak HTTP and nothing else.
    pub fn shared(&self) -> IpAddr {
        self.nth(u128::from(self.spares_the_ends()))
    }

    /// The addresses for hosts that want one of their own.
    fn own(self) -> impl Iterator<Item = IpAddr> {
        let spared = u128::from(self.spares_the_ends());
        let last = self.size().saturating_sub(spared);
        (spared + 1..last).map(move |index| self.nth(index))
    }

    /// Whether an address may be given to a host.
    fn has(&self, address: IpAddr) -> bool {
        self.0.address().is_ipv4() == address.is_ipv4()
            && self.0.contains(address)
            && !(self.spares_the_ends()
                && (address == self.nth(0) || address == self.nth(self.size() - 1)))
    }

    /// Whether the first and the last address are none of hosts: in a network they name the network
    /// and everybody in it.
    fn spares_the_ends(&self) -> bool {
        self.size() > 2
    }

    /// How many addresses there are; of more than anybody can have, as many as can be counted.
    fn size(&self) -> u128 {
        let bits = if self.0.address().is_ipv4() { 32 } else { 128_u32 };
        let left = bits.saturating_sub(self.0.bits().into());
        1_u128.checked_shl(left.min(127)).unwrap_or(u128::MAX)
    }

    fn nth(&self, index: u128) -> IpAddr {
        match self.0.masked().address() {
            IpAddr::V4(first) => {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                IpAddr::V4(first.to_bits().saturating_add(index).into())
            }
            IpAddr::V6(first) => IpAddr::V6(first.to_bits().saturating_add(index).into()),
        }
    }
}

#[cfg(test)]
mod tests;
