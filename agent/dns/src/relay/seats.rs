//! How many may wait: all together, of one client, for one question.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Asker, Relay};

/// Queries of one client, unless it is on this machine: there programs share an address.
const OF_ONE_CLIENT: usize = 256;
/// Clients that wait for one and the same reply.
const OF_ONE_FLIGHT: usize = 128;
/// Queries under way, as a multiple of the questions that may be out.
const ASKERS: usize = 4;

/// Those who wait.
#[derive(Debug)]
pub(super) struct Seats {
    /// Sockets that may be open, and that are.
    room: usize,
    sockets: usize,
    /// Queries under way.
    taken: usize,
    clients: HashMap<IpAddr, usize, RandomState>,
}

/// The place of one query; free again when dropped.
pub(super) struct Seat {
    pub(super) relay: Arc<Relay>,
    pub(super) since: Instant,
    client: Option<IpAddr>,
}

impl Seats {
    pub(super) fn new(room: usize) -> Self {
        Self { room, sockets: 0, taken: 0, clients: HashMap::default() }
    }

    /// Whether a query of this client is taken on, for a question that so many wait for already, or
    /// for which a socket is needed.
    /// Flights may not have a socket yet, of which so many are under way.
    pub(super) fn admits(&self, client: Asker, waiting: Option<usize>, under_way: usize) -> bool {
        let free = match waiting {
            Some(others) => others < OF_ONE_FLIGHT,
            None => self.sockets.max(under_way) < self.room,
        };
        let of_client = match stranger(client) {
            Some(client) => self.clients.get(&client).copied().unwrap_or(0),
            None => 0,
        };
        free && self.taken < self.room * ASKERS && of_client < OF_ONE_CLIENT
    }

    /// Whether there is room for a socket that nobody needs to be answered.
    pub(super) fn has_room(&self) -> bool {
        self.sockets < self.room
    }

    pub(super) fn opened(&mut self) {
        self.sockets += 1;
    }

    pub(super) fn closed(&mut self) {
        self.sockets = self.sockets.saturating_sub(1);
    }
}

impl Seat {
    pub(super) fn take(relay: &Arc<Relay>, client: Asker) -> Self {
        let client = stranger(client);
        let mut seats = relay.seats.lock();
        seats.taken += 1;
        relay.counts.in_flight.set(seats.taken);
        if let Some(client) = client {
            *seats.clients.entry(client).or_default() += 1;
        }
        Self { relay: Arc::clone(relay), since: Instant::now(), client }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.relay.seats.lock();
        seats.taken = seats.taken.saturating_sub(1);
        self.relay.counts.in_flight.set(seats.taken);
        if let Some(client) = self.client
            && let Some(queries) = seats.clients.get_mut(&client)
        {
            *queries -= 1;
            if *queries == 0 {
                seats.clients.remove(&client);
            }
        }
    }
}

/// The address of a client that is not on this machine.
fn stranger(client: Asker) -> Option<IpAddr> {
    (!client.near).then(|| client.address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Transport;

    fn asker(ip: &str, near: bool) -> Asker {
        let address = (ip.parse::<IpAddr>().unwrap(), 4000).into();
        Asker { address, transport: Transport::Udp, near }
    }

    #[test]
    fn a_client_has_its_share_and_programs_of_this_machine_have_all() {
        let mut seats = Seats::new(1024);
        let [far, other, mapped] =
            ["10.0.0.9", "10.0.0.8", "::ffff:10.0.0.9"].map(|text| asker(text, false));
        seats.clients.insert(far.address.ip(), OF_ONE_CLIENT);
        seats.taken = 1000;
        assert!(!seats.admits(far, None, 0) && !seats.admits(mapped, Some(1), 0));
        assert!(seats.admits(other, None, 0));
        // Redirected, programs of this machine come from any address of it.
        for near in ["127.0.0.9", "::1", "10.0.0.9"] {
            assert!(seats.admits(asker(near, true), None, 0), "{near}");
        }
    }

    #[test]
    fn there_is_room_for_so_many_questions_and_so_many_who_wait() {
        let mut seats = Seats::new(2);
        let near = asker("127.0.0.1", true);
        assert!(seats.admits(near, None, 1) && !seats.admits(near, None, 2));
        seats.opened();
        seats.opened();
        assert!(!seats.has_room() && !seats.admits(near, None, 0));
        assert!(seats.admits(near, Some(OF_ONE_FLIGHT - 1), 2));
        assert!(!seats.admits(near, Some(OF_ONE_FLIGHT), 2));
        seats.taken = 2 * ASKERS;
        assert!(!seats.admits(near, Some(0), 2));
        seats.closed();
        assert!(seats.has_room());
    }
}
