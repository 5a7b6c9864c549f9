//! From endpoints to TCP connections: names are resolved beside each other, addresses are tried
//! best first, and one that does not answer at once does not hold up the next.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hawser_rt::Chain;
use socket2::SockRef;
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use crate::{
    Endpoint,
    health::{Candidate, Spot},
    istiod::Way,
};

/// One search for somebody who answers.
#[derive(Debug)]
pub(crate) struct Race<'a> {
    way: &'a Way,
    resolving: JoinSet<(usize, io::Result<Vec<SocketAddr>>)>,
    unresolved: BTreeSet<usize>,
    waiting: Vec<Candidate>,
    connecting: JoinSet<(Spot, io::Result<TcpStream>)>,
    /// Those that were called and have not answered, in that order.
    called: Vec<Spot>,
    /// When the next is tried, whatever becomes of those before.
    due: Instant,
    failures: Vec<Failure>,
}

/// An endpoint, or one of its addresses, that came to nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) endpoint: usize,
    /// None: the endpoint has none.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) error: io::Error,
}

impl<'a> Race<'a> {
    /// Begins to resolve; nobody is called yet.
    pub(crate) fn new(way: &'a Way) -> Self {
        let mut race = Self {
            way,
            resolving: JoinSet::new(),
            unresolved: BTreeSet::new(),
            waiting: Vec::new(),
            connecting: JoinSet::new(),
            called: Vec::new(),
            due: Instant::now() + STAGGER,
            failures: Vec::new(),
        };
        for (place, endpoint) in way.options.endpoints.iter().enumerate() {
            match known(way, endpoint) {
                Some(addresses) => race.enter(place, addresses),
                None => race.resolve(place, endpoint),
            }
        }
        race
    }

    /// The next connection that was made; none when all have been tried. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<(Spot, TcpStream)> {
        loop {
            self.start();
            // In the order in which they matter: what is there comes before what may come.
            tokio::select! {
                biased;
                Some(connected) = self.connecting.join_next() => match connected {
                    Ok((spot, Ok(stream))) => {
                        self.answered(spot);
                        return Some((spot, stream));
                    }
                    Ok((spot, Err(error))) => self.failed(spot, error),
                    Err(_) => {}
                },
                Some(resolved) = self.resolving.join_next() => {
                    if let Ok((place, found)) = resolved {
                        self.resolved(place, found);
                    }
                }
                () = sleep_until(self.due), if !self.waiting.is_empty() => {}
                else => return None,
            }
        }
    }

    /// What came to nothing until now.
    pub(crate) fn failures(self) -> Vec<Failure> {
        self.failures
    }

    fn resolve(&mut self, place: usize, Endpoint { host, port, .. }: &Endpoint) {
        let (host, port, limit) = (host.clone(), *port, self.way.options.connect_timeout);
        self.unresolved.insert(place);
        self.resolving.spawn(async move {
            let found = within(limit, lookup_host((host.as_str(), port))).await;
            (place, found.map(|found| found.take(MOST_ADDRESSES).collect()))
        });
    }

    fn resolved(&mut self, place: usize, found: io::Result<Vec<SocketAddr>>) {
        self.unresolved.remove(&place);
        match found {
            Ok(addresses) => self.enter(place, addresses),
            Err(error) => {
                let before = self.way.health.lock().good(place);
                debug!(error = %Chain(&error), addresses = ?before, "istiod's name not resolved");
                self.failures.push(Failure { endpoint: place, address: None, error });
                self.enter(place, before);
            }
        }
    }

    fn enter(&mut self, endpoint: usize, addresses: Vec<SocketAddr>) {
        for address in addresses {
            let spot = Spot { endpoint, address };
            if !self.waiting.iter().any(|candidate| candidate.spot == spot) {
                self.waiting.push(Candidate { spot, lot: fastrand::u32(..) });
            }
        }
    }

    /// Calls the next if it is time.
    fn start(&mut self) {
        let now = Instant::now();
        let health = self.way.health.lock();
        let Some(place) = health.first(&self.waiting, now) else { return };
        let Some(Candidate { spot, .. }) = self.waiting.get(place).copied() else { return };
        let better_may_come = !self.resolving.is_empty()
            && (health.avoided(spot, now).is_some()
                || self.unresolved.first().is_some_and(|first| *first < spot.endpoint));
        drop(health);
        if now < self.due && (better_may_come || !self.connecting.is_empty()) {
            return;
        }
        self.waiting.swap_remove(place);
        self.called.push(spot);
        self.due = now + STAGGER;
        let limit = self.way.options.connect_timeout;
        self.connecting.spawn(async move { (spot, connect(spot.address, limit).await) });
    }

    /// Who was called earlier and has not answered yet is not to hold up the next race as well.
    fn answered(&mut self, spot: Spot) {
        let Some(place) = self.called.iter().position(|called| *called == spot) else { return };
        for slow in self.called.drain(..=place).take(place) {
            self.way.unwell(slow);
        }
    }

    fn failed(&mut self, spot: Spot, error: io::Error) {
        self.called.retain(|called| *called != spot);
        self.way.unwell(spot);
        self.failures.push(Failure { endpoint: spot.endpoint, address: Some(spot.address), error });
        self.due = Instant::now();
    }
}

/// The addresses that are known without DNS: the host itself, or those of the hosts given.
pub(crate) fn known(way: &Way, Endpoint { host, port, .. }: &Endpoint) -> Option<Vec<SocketAddr>> {
    let with_port = |address: &IpAddr| SocketAddr::new(*address, *port);
    if let Ok(address) = host.parse() {
        return Some(vec![with_port(&address)]);
    }
    let known = way.options.hosts.addresses(host);
    let addresses = known.iter().take(MOST_ADDRESSES).map(with_port).collect();
    (!known.is_empty()).then_some(addresses)
}

pub(crate) async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = within(limit, TcpStream::connect(address)).await?;
    // Requests are small and answered one by one: waiting to fill a segment only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %Chain(&error), "TCP_NODELAY not set");
    }
    // What is sent and not received there for so long is lost, pings or not.
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(RECEIVED_WITHIN)) {
        debug!(error = %Chain(&error), "TCP_USER_TIMEOUT not set");
    }
    Ok(stream)
}

pub(crate) async fn within<T>(
    limit: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A name with more addresses than this is not istiod's.
pub(crate) const MOST_ADDRESSES: usize = 8;
/// What RFC 8305 recommends between two attempts.
const STAGGER: Duration = Duration::from_millis(250);
const RECEIVED_WITHIN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_into_the_void_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();

        let stream = connect(address, Duration::from_secs(5)).await.unwrap();

        let given_up = SockRef::from(&stream).tcp_user_timeout().unwrap();
        assert_eq!(given_up, Some(Duration::from_secs(20)));
        assert!(stream.nodelay().unwrap());
    }
}
