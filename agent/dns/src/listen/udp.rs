//! Queries by datagram.
//!
//! What has arrived is read in one go, answered from the table on the spot, with buffers that are
//! kept, and the answers are sent in one go; the rest is the relay's. One query alone waits for
//! nobody: it is a batch of one. Of a crowd one batch is taken before others get their turn.

mod tray;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hawser_rt::{Chain, Throttle};
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::worker::Place;
use tray::{Rest, Tray};

/// Time for others to reply at the end.
const AT_LAST: Duration = Duration::from_secs(1);
/// And to those who have asked after it.
const FOR_NEWCOMERS: Duration = Duration::from_millis(200);
/// Batches that have arrived before the end, and are answered still: no socket holds more.
const LAST: usize = 1024;
/// What the socket itself complains about is rarely gone at once.
const PAUSE: Duration = Duration::from_millis(20);

static UNREADABLE: Throttle = Throttle::new(Duration::from_secs(60));

/// A socket, and how the address that was asked is made the sender of the answer.
#[derive(Debug)]
pub(crate) struct Port {
    socket: UdpSocket,
    address: SocketAddr,
    /// The socket takes queries to any address, so each has to say which it was.
    any: bool,
}

/// Who asked, and whom.
#[derive(Clone, Copy, Debug)]
struct Client {
    address: SocketAddr,
    asked: Asked,
}

/// The address that was asked.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// The only one there is.
    Bound,
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// Answers until told to stop, and then what has arrived by then.
pub(crate) async fn serve(port: Arc<Port>, place: Arc<Place>, stop: CancellationToken) {
    let mut relayed = JoinSet::new();
    let mut stopped = pin!(stop.cancelled());
    loop {
        let ready = tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(_) = relayed.join_next() => continue,
            ready = port.ready() => ready,
        };
        match ready.and_then(|()| port.batch(&place, &mut relayed)) {
            Ok(Rest::Nothing) => {}
            // Whoever waits for a resolver is to have his turn before the next of the crowd.
            Ok(Rest::More) => yield_now().await,
            Err(error) => {
                if let Some(suppressed) = UNREADABLE.allow() {
                    warn!(error = %Chain(&error), suppressed, "cannot read queries");
                }
                sleep(PAUSE).await;
            }
        }
    }
    port.last(&place, &mut relayed).await;
    port.wait_for(relayed, &place).await;
}

impl Port {
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let any = address.ip().is_unspecified();
        if any && address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else if any {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Self { socket: UdpSocket::from_std(socket)?, address, any })
    }

    /// Waits until there is something to read. Cancel safe.
    async fn ready(&self) -> io::Result<()> {
        poll_fn(|context| self.socket.poll_recv_ready(context)).await
    }

    /// Reads a batch, and answers it or gives it to the relay.
    fn batch(self: &Arc<Self>, place: &Place, relayed: &mut JoinSet<()>) -> io::Result<Rest> {
        Tray::with(|tray| {
            let mut received = Ok(Rest::Nothing);
            // What is said here is for the runtime alone.
            let _told = self.socket.try_io(Interest::READABLE, || {
                received = tray.receive(self);
                match &received {
                    Ok(Rest::More) => Ok(()),
                    // What comes next will say so. To ask once more, only to be told that there is
                    // nothing, would cost as much as another query.
                    Ok(Rest::Nothing) => Err(io::ErrorKind::WouldBlock.into()),
                    Err(error) => Err(error.kind().into()),
                }
            });
            match received {
                Ok(rest) => {
                    tray.answer(self, place, relayed);
                    Ok(rest)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Rest::Nothing),
                Err(error) => Err(error),
            }
        })
    }

    /// Waits for those who wait for others to reply; meanwhile everybody else is served. Who waits
    /// for a resolver that is silent asks again, and is answered by the next of us.
    async fn wait_for(self: &Arc<Self>, mut relayed: JoinSet<()>, place: &Place) {
        let mut newcomers = JoinSet::new();
        let mut late = pin!(sleep(AT_LAST));
        while !relayed.is_empty() {
            tokio::select! {
                () = &mut late => break,
                _ = relayed.join_next() => {}
                ready = self.ready() => {
                    if ready.and_then(|()| self.batch(place, &mut newcomers)).is_err() {
                        sleep(PAUSE).await;
                    }
                }
            }
        }
        self.last(place, &mut newcomers).await;
        let answered = async { while newcomers.join_next().await.is_some() {} };
        drop(timeout(FOR_NEWCOMERS, answered).await);
    }

    /// Answers what has arrived before the end.
    async fn last(self: &Arc<Self>, place: &Place, relayed: &mut JoinSet<()>) {
        for _ in 0..LAST {
            // The runtime may not have looked at the socket yet: it is asked itself.
            let rest = Tray::with(|tray| {
                let rest = tray.receive(self)?;
                tray.answer(self, place, relayed);
                Ok::<_, io::Error>(rest)
            });
            match rest {
                Ok(Rest::More) => yield_now().await,
                Ok(Rest::Nothing) => break,
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        debug!(error = %Chain(&error), "cannot read the last queries");
                    }
                    break;
                }
            }
        }
    }

    /// Sends an answer that had to be waited for.
    async fn send(&self, answer: &[u8], client: Client) {
        let sent = match client.asked {
            Asked::Bound => self.socket.send_to(answer, client.address).await,
            _ => {
                let send = || tray::send_from(self.socket.as_raw_fd(), answer, &client);
                self.socket.async_io(Interest::WRITABLE, send).await
            }
        };
        if let Err(error) = sent {
            debug!(peer = %client.address, error = %Chain(&error), "cannot send answer");
        }
    }
}
