//! Requests without a pause, counted: what a change must not disturb.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http1::call;
use crate::service::Service;
use crate::wait::until;
use crate::workload::Answer;

/// Between two requests of one client.
const BREATH: Duration = Duration::from_millis(10);

/// How many failures are told in words.
const TOLD: usize = 20;

/// What became of the requests so far.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// How many were answered by the workload.
    pub ok: usize,
    /// How many were not.
    pub failed: usize,
    /// Why not, for the first of them.
    pub why: Vec<String>,
    /// Serial numbers of the certificates by which the workload has known the caller.
    pub serials: BTreeSet<String>,
}

/// Clients of a service; they end when this is dropped.
#[derive(Debug)]
pub struct Traffic {
    served: watch::Sender<Served>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

impl Traffic {
    /// Starts clients, each with a connection of its own for each request, as a program on the
    /// machine makes them. To have a TLS handshake behind Envoy for each of them too, let the
    /// workload be [brief](crate::workload::Workload::brief).
    #[must_use]
    pub fn start(service: &Service, clients: usize) -> Self {
        let served = watch::Sender::<Served>::default();
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            running.spawn(ask_on(service.clone(), served.clone(), stop.clone()));
        }
        Self { served, stop, clients: running }
    }

    /// What became of the requests so far.
    #[must_use]
    pub fn so_far(&self) -> Served {
        self.served.borrow().clone()
    }

    /// Waits until something became of them.
    ///
    /// # Errors
    /// After [`crate::wait::PATIENCE`].
    pub async fn until(&self, what: &str, done: impl FnMut(&Served) -> bool) -> Result<Served> {
        until(what, &mut self.served.subscribe(), done).await
    }

    /// Makes no new requests, waits for those on their way, and tells what became of all.
    ///
    /// # Errors
    /// When a client has died.
    pub async fn stop(mut self) -> Result<Served> {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client has died")?;
        }
        Ok(self.so_far())
    }
}

async fn ask_on(service: Service, served: watch::Sender<Served>, stop: CancellationToken) {
    let host = format!("{}:{}", service.host(), service.vip.port());
    while !stop.is_cancelled() {
        let asked = ask(&service, &host).await;
        served.send_modify(|served| match asked {
            Ok(answer) => {
                served.ok += 1;
                served.serials.insert(answer.serial);
            }
            Err(error) => {
                served.failed += 1;
                if served.why.len() < TOLD {
                    served.why.push(format!("{error:#}"));
                }
            }
        });
        // Cancel safe: both only wait.
        tokio::select! {
            () = tokio::time::sleep(BREATH) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn ask(service: &Service, host: &str) -> Result<Answer> {
    let reply = call(service.vip, &Method::GET, "/traffic", &[("host", host)]).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
    reply.json()
}
