//! Who sends canaries, and when: to every resolver when the list comes or changes, to one that is
//! suspected, and once a minute to those that lead back. Otherwise nothing wakes up.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hawser_rt::addresses::towards;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Loop, Loops};

/// Time in which a canary returns, or does not.
const FLIGHT: Duration = Duration::from_secs(5);
/// Time after which a resolver that leads back is looked at again.
const AGAIN: Duration = Duration::from_secs(60);
/// A suspicion is looked into at most this often.
const BETWEEN: Duration = Duration::from_secs(10);

/// What a patrol is told.
#[derive(Debug)]
pub struct Patrol<M> {
    /// Where canaries come back to.
    pub loops: Arc<Loops>,
    /// The resolvers that are asked over plain DNS.
    pub resolvers: watch::Receiver<Vec<SocketAddr>>,
    /// The addresses that we listen on.
    pub own: Vec<SocketAddr>,
    /// Called when another set of resolvers leads back here.
    pub mark: M,
}

/// Looks for loops until `stop`.
pub async fn patrol<M: FnMut(&[Loop])>(mut patrol: Patrol<M>, stop: CancellationToken) {
    stop.run_until_cancelled(patrol.walk()).await;
}

impl<M: FnMut(&[Loop])> Patrol<M> {
    async fn walk(&mut self) {
        let mut told: Vec<SocketAddr> = Vec::new();
        let mut asked = self.resolvers.borrow_and_update().clone();
        let mut begun = Instant::now();
        let mut wings = self.send(&asked).await;
        loop {
            // Sockets stay open for as long as somebody may answer them.
            let over = begun + FLIGHT;
            let again = begun + AGAIN;
            let looping = self.loops.looping();
            tokio::select! {
                () = self.loops.stir.notified() => {
                    self.tell(&mut told);
                    let suspects = self.loops.suspects.swap(Arc::default());
                    let fresh: Vec<_> =
                        suspects.iter().copied().filter(|one| !told.contains(one)).collect();
                    if fresh.is_empty() {
                        continue;
                    }
                    sleep(BETWEEN.saturating_sub(begun.elapsed())).await;
                    // Those that lead back as well: their minute begins anew with each suspicion.
                    asked = fresh.into_iter().chain(told.iter().copied()).collect();
                }
                Ok(()) = self.resolvers.changed() => {
                    asked = self.resolvers.borrow_and_update().clone();
                    // One that is listed no more may lead back still, which nobody would notice.
                    asked.extend(told.iter().filter(|one| !asked.contains(one)).copied().collect::<Vec<_>>());
                }
                () = sleep_until(over), if !wings.is_empty() => {
                    wings.clear();
                    self.loops.clear(&asked, begun);
                    self.tell(&mut told);
                    continue;
                }
                () = sleep_until(again), if wings.is_empty() && !looping.is_empty() => {
                    asked = looping.iter().map(|known| known.resolver).collect();
                }
            }
            begun = Instant::now();
            wings = self.send(&asked).await;
        }
    }

    /// Sends a canary to each that may lead back; the sockets, which wait for what nobody reads.
    async fn send(&self, resolvers: &[SocketAddr]) -> Vec<UdpSocket> {
        let mut wings = Vec::with_capacity(resolvers.len());
        for &resolver in resolvers.iter().filter(|&&resolver| self.may_lead_back(resolver)) {
            let any: SocketAddr = match resolver {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let sent = async {
                let socket = UdpSocket::bind(any).await?;
                socket.send_to(&self.loops.canary(resolver), resolver).await?;
                Ok::<_, io::Error>(socket)
            };
            match timeout(FLIGHT, sent).await {
                Ok(Ok(socket)) => wings.push(socket),
                Ok(Err(error)) => debug!(peer = %resolver, %error, "no canary sent"),
                Err(_late) => {}
            }
        }
        wings
    }

    /// Nobody reaches a loopback address from another machine: where we listen on no other, a
    /// resolver elsewhere need not be bothered.
    fn may_lead_back(&self, resolver: SocketAddr) -> bool {
        let is_here =
            || towards(resolver).is_ok_and(|source| source == resolver.ip().to_canonical());
        self.own.iter().any(|own| !own.ip().is_loopback())
            || self.loops.accused.load().contains(&resolver)
            || is_here()
    }

    /// Says what has changed since it was said last.
    fn tell(&mut self, told: &mut Vec<SocketAddr>) {
        let looping = self.loops.looping();
        let now: Vec<_> = looping.iter().map(|known| known.resolver).collect();
        for found in looping.iter().filter(|found| !told.contains(&found.resolver)) {
            let Loop { resolver, from, .. } = found;
            let own: Vec<_> = self.own.iter().map(ToString::to_string).collect();
            warn!(peer = %resolver, %from, own = own.join(","),
                remedy = "let this resolver ask other servers than hawser, or name those in dns.upstreams; \
                    if packets are redirected, exempt hawser's user",
                "resolver sends what it is asked back to hawser; it is not asked until it stops");
        }
        for resolver in told.iter().filter(|resolver| !now.contains(resolver)) {
            info!(peer = %resolver, "resolver does not lead back to hawser any more");
        }
        if *told != now {
            *told = now;
            (self.mark)(&looping);
        }
    }
}
