//! Addresses to hosts.
//!
//! A slot holds the position of a record, and the record holds the address: that is all there is to
//! remember, because records lie in the order of their entries.

use super::index::{Seed, scale};
use super::{Entry, Realm, Table};

/// Where istiod takes addresses from for hosts that have none: nobody else has names for them.
const ALLOCATED: [&[u8]; 2] = [&[240, 240], &[0x20, 0x01, 0x00, 0x02, 0x00, 0x00]];

/// Addresses to the positions of their records.
#[derive(Default)]
pub(super) struct Reverse {
    seed: Seed,
    /// Position of a record and one; zero if it is free. More of them than records.
    slots: Vec<u32>,
}

impl Reverse {
    /// Indexes those of `records` that lie at `positions`. Of records for the same address the
    /// first that comes wins.
    pub(super) fn new<const N: usize>(
        records: &[[u8; N]],
        positions: impl Iterator<Item = usize>,
    ) -> Self {
        let mut reverse =
            Self { seed: Seed::default(), slots: vec![0; records.len() + records.len() / 2 + 1] };
        for position in positions {
            reverse.insert(records, position);
        }
        reverse
    }

    /// The position of the record with this address.
    pub(super) fn at<const N: usize>(&self, records: &[[u8; N]], address: &[u8]) -> Option<usize> {
        let mut at = scale(self.seed.hash(address), self.slots.len());
        loop {
            let position = (*self.slots.get(at)? as usize).checked_sub(1)?;
            if address_of(records.get(position)?) == address {
                return Some(position);
            }
            at = if at + 1 < self.slots.len() { at + 1 } else { 0 };
        }
    }

    fn insert<const N: usize>(&mut self, records: &[[u8; N]], position: usize) {
        let Some(record) = records.get(position) else { return };
        let Ok(number) = u32::try_from(position + 1) else { return };
        let mut at = scale(self.seed.hash(address_of(record)), self.slots.len());
        while let Some(slot) = self.slots.get_mut(at) {
            let Some(taken) = (*slot as usize).checked_sub(1) else {
                *slot = number;
                return;
            };
            if records.get(taken).is_some_and(|taken| address_of(taken) == address_of(record)) {
                return;
            }
            at = if at + 1 < self.slots.len() { at + 1 } else { 0 };
        }
    }
}

impl Table {
    /// Indexes the addresses: those of services of the own namespace first, then those of others,
    /// then those of hosts that are none; in the order of the hosts. The addresses of hosts that
    /// are known outside too have their names there.
    pub(super) fn index_addresses(&mut self) {
        let by_rank =
            || (0..3).flat_map(|rank| self.entries.iter().filter(move |e| e.rank == rank));
        // No answer has a name with a wildcard in it.
        let hosts = || by_rank().filter(|entry| !self.host_of(entry).starts_with(b"\x01*"));
        let v4 = hosts().flat_map(|entry| entry.v4().filter(|&at| entry.names(&self.v4, at)));
        let v6 = hosts().flat_map(|entry| entry.v6().filter(|&at| entry.names(&self.v6, at)));
        let (v4, v6) = (Reverse::new(&self.v4, v4), Reverse::new(&self.v6, v6));
        (self.by_v4, self.by_v6) = (v4, v6);
    }
}

impl Entry {
    /// Whether the mesh has the name of the address in its record at `position`.
    fn names<const N: usize>(&self, records: &[[u8; N]], position: usize) -> bool {
        self.realm == Realm::Mesh
            || records.get(position).is_some_and(|record| is_allocated(address_of(record)))
    }
}

fn is_allocated(address: &[u8]) -> bool {
    let [v4, v6] = ALLOCATED;
    address.starts_with(if address.len() == 4 { v4 } else { v6 })
}

/// What a record holds behind its head.
fn address_of(record: &[u8]) -> &[u8] {
    record.get(12..).unwrap_or_default()
}
