//! One thread that answers: its sockets, its relay, its counts.
//!
//! A query is read, answered and counted by the thread that it came to, and nothing of it is handed
//! to another. What workers have in common they only read.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::Guard;
use hawser_rt::Cidr;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::Error;
use crate::answer::{self, Action, View};
use crate::counts::{Counts, Source};
use crate::listen::{tcp, udp};
use crate::proxy::{Shared, hand_on};
use crate::relay::{Asker, Relay};
use crate::sign;
use crate::table::{Search, Table};

/// One of those who answer, to be run on a thread and a runtime of its own.
#[derive(Debug)]
pub struct Worker {
    pub(crate) place: Arc<Place>,
    pub(crate) datagrams: Vec<(SocketAddr, std::net::UdpSocket)>,
    /// Streams are served by the first worker alone.
    pub(crate) streams: Vec<(SocketAddr, std::net::TcpListener)>,
}

/// Where a worker works: what its sockets share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) counts: Arc<Counts>,
    /// Who may ask on an address that is not loopback.
    pub(crate) allow: Vec<Cidr>,
}

/// What is known at one moment. To be let go of soon: it keeps a table in memory.
pub(crate) struct Sight {
    table: Guard<Option<Arc<Table>>>,
    search: Guard<Arc<Search>>,
}

impl Worker {
    /// Answers until `stop`.
    ///
    /// At the end every query that has come in is answered, which takes at most
    /// [`Forward::timeout`](crate::Forward::timeout) and the time of a slow client.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        let Self { place, datagrams, streams } = self;
        let mut parts = JoinSet::new();
        for (address, socket) in datagrams {
            let port = udp::Port::new(socket).map_err(|source| Error::Serve { address, source })?;
            parts.spawn(udp::serve(Arc::new(port), Arc::clone(&place), stop.clone()));
        }
        for (address, listener) in streams {
            let listener = TcpListener::from_std(listener)
                .map_err(|source| Error::Serve { address, source })?;
            parts.spawn(tcp::serve(listener, Arc::clone(&place), stop.clone()));
            info!(peer = %address, "answering DNS");
        }
        place.shared.serves();
        while let Some(ended) = parts.join_next().await {
            ended.unwrap_or_else(hand_on);
        }
        Ok(())
    }
}

impl Place {
    /// What is known now.
    pub(crate) fn sight(&self) -> Sight {
        Sight { table: self.shared.table(), search: self.shared.search.load() }
    }

    /// Decides about a query, and counts it.
    pub(crate) fn answer(
        &self,
        packet: &[u8],
        sight: &Sight,
        from: Asker,
        dice: &mut fastrand::Rng,
        out: &mut Vec<u8>,
    ) -> Action {
        let Asker { transport, near, .. } = from;
        let view = View {
            table: sight.table.as_deref(),
            search: &sight.search,
            style: self.shared.scope.style,
            far: !near,
        };
        let action = answer::answer(packet, &view, transport, dice, out);
        if action == Action::Refuse && sign::is_question(packet) {
            return action;
        }
        self.counts.queries.add();
        match action {
            Action::Answer => self.counts.note(Source::Table, transport, out),
            Action::Refuse => {
                self.counts.refused.add();
                self.counts.note(Source::None, transport, out);
            }
            Action::Drop => self.counts.dropped.add(),
            // Counted where it is taken on or turned away.
            Action::Relay(_) => {}
        }
        action
    }
}
