//! The agent's life, as systemd sees it: when it is ready, what it is up to, whether it is well, and
//! that it reads its configuration again.
//!
//! Ready is told to systemd when names are answered, sockets are served, and there is an identity; or
//! when there is none after half a minute, which is then said: a machine has to boot, and what makes
//! it a part of the mesh may run after that. Whoever has to know whether the mesh is there asks the
//! gates (`/healthz/ready`, `hawser status --wait-ready`), which stay closed.

pub(crate) mod reload;
mod sentence;
mod watchdog;

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use hawser_identity::Progress;
use hawser_rt::{Clock, Notifier, Pulse, Settled, Tasks, Unless};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use self::{
    reload::{Reload, Reloads},
    sentence::View,
    watchdog::Watchdog,
};
use crate::status::Facts;

pub(crate) use self::sentence::said as utc;

/// What is told of, and to whom.
#[derive(Debug)]
pub(crate) struct Life {
    notifier: Arc<Notifier>,
    facts: Facts,
    clock: Clock,
    /// What has not answered when it was asked last.
    silent: watch::Receiver<BTreeSet<String>>,
    reloads: watch::Receiver<Reloads>,
    /// Whether systemd was told that all is ready.
    told: watch::Sender<bool>,
}

impl Life {
    /// Looks after the threads from now on: those that the tasks have, and this runtime's.
    pub(crate) fn begin(
        notifier: Arc<Notifier>,
        (facts, clock): (Facts, Clock),
        reload: Reload,
        tasks: &mut Tasks,
    ) -> std::io::Result<Self> {
        let pulse = with_main(tasks.pulse(), tasks);
        let (tell, silent) = watch::channel(BTreeSet::new());
        if let Some(limit) = notifier.watchdog_limit() {
            let dns = facts.mesh.as_ref().and_then(|mesh| mesh.dns.clone());
            let watchdog = Watchdog::new(Arc::clone(&notifier), pulse, dns, limit);
            // Nothing that hangs elsewhere keeps it from saying so.
            tasks.spawn_apart("watchdog", move |stop| async move {
                stop.run_until_cancelled(watchdog.keep(tell)).await;
                Ok::<_, Infallible>(())
            })?;
        }
        let (told, ready) = watch::channel(false);
        let (tell, reloads) = (Arc::clone(&facts.settings), facts.settings.subscribe());
        let manager = Arc::clone(&notifier);
        let envoy = facts.mesh.as_ref().map(|mesh| mesh.admin);
        tasks.spawn("reload", |stop| async move {
            stop.run_until_cancelled(reload.follow(manager, envoy, ready, tell)).await;
            Ok::<_, Infallible>(())
        });
        Ok(Self { notifier, facts, clock, silent, reloads, told })
    }

    /// Tells of it for as long as the agent lives. Never ends.
    pub(crate) async fn tell(&self) {
        tokio::join!(self.ready(), self.speak());
    }

    /// Says when it is ready.
    async fn ready(&self) {
        let gates = &self.facts.gates;
        let mut progress = self.facts.identity.progress.clone();
        let expired = async {
            if progress.wait_for(|progress| progress.expired.is_some()).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let unless = Unless { gate: IDENTITY, excuse: expired, patience: PATIENCE };
        match gates.settled(self.names_are_answered(), unless).await {
            Settled::Open => info!("ready"),
            Settled::Excused => warn!("ready, but the certificate from before has expired"),
            Settled::Late => warn!("ready, but there is no certificate yet"),
        }
        self.told.send_replace(true);
        self.notifier.ready();
        gates.all_open().await;
    }

    async fn names_are_answered(&self) {
        let dns = self.facts.mesh.as_ref().and_then(|mesh| mesh.dns.as_ref());
        for address in dns.iter().flat_map(|dns| &dns.listen) {
            let answered = async {
                while let Err(error) = hawser_dns::sign::of_life(*address).await {
                    warn!(%address, %error, "DNS cannot be asked");
                    sleep(AGAIN).await;
                }
            };
            // One that cannot be asked, behind a filter, is no reason never to be ready.
            if hawser_rt::awake(ANSWER, answered).await.is_none() {
                warn!(%address, "DNS does not answer here; does a filter drop what is asked?");
            }
        }
    }

    /// Says what it is up to, whenever that changes.
    async fn speak(&self) {
        let mut said = String::new();
        let mut changes = Changes::of(self);
        let mut away = None;
        loop {
            let view = View::of(&self.facts, self.clock.now(), &mut away);
            let silent = self.silent.borrow().clone();
            let reloads = self.reloads.borrow().clone();
            let text = view.sentence(&silent, *self.told.borrow(), reloads.note().as_deref());
            if text != said {
                self.notifier.status(&text);
                said = text;
            }
            // One that expires is news too.
            let expiry = async {
                match view.expires() {
                    Some(expiry) => drop(self.clock.wait(expiry).await),
                    None => std::future::pending().await,
                }
            };
            // Cancel safe: both only wait.
            tokio::select! {
                () = changes.next() => {}
                () = expiry => {}
            }
            // Much may change at a time, and none of it is urgent.
            sleep_until(Instant::now() + BREATH).await;
        }
    }
}

/// Everything that may change what there is to say.
struct Changes {
    gates: hawser_rt::Changes,
    identity: watch::Receiver<Option<Arc<hawser_pki::Identity>>>,
    progress: watch::Receiver<Progress>,
    seen: Option<watch::Receiver<hawser_xds::Standing>>,
    silent: watch::Receiver<BTreeSet<String>>,
    reloads: watch::Receiver<Reloads>,
    told: watch::Receiver<bool>,
}

impl Changes {
    fn of(life: &Life) -> Self {
        let Facts { gates, identity, mesh, .. } = &life.facts;
        Self {
            gates: gates.changes(),
            identity: identity.identity.clone(),
            progress: identity.progress.clone(),
            seen: mesh.as_ref().map(|mesh| mesh.seen.watch()),
            silent: life.silent.clone(),
            reloads: life.reloads.clone(),
            told: life.told.subscribe(),
        }
    }

    /// Cancel safe: all of them only wait.
    async fn next(&mut self) {
        let seen = async {
            match &mut self.seen {
                Some(seen) => changed(seen).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.gates.next() => {}
            () = changed(&mut self.identity) => {}
            () = changed(&mut self.progress) => {}
            () = seen => {}
            () = changed(&mut self.silent) => {}
            () = changed(&mut self.reloads) => {}
            () = changed(&mut self.told) => {}
        }
    }
}

/// Whoever has gone says nothing any more.
async fn changed<T>(of: &mut watch::Receiver<T>) {
    if of.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The runtime that everything else runs on answers too.
fn with_main(mut pulse: Pulse, tasks: &mut Tasks) -> Pulse {
    let member = pulse.member("main");
    tasks.spawn("pulse", |stop| async move {
        stop.run_until_cancelled(member.answer()).await;
        // The pulse is dropped when all stop, and where nobody takes it.
        stop.cancelled().await;
        Ok::<_, Infallible>(())
    });
    pulse
}

const IDENTITY: &str = "identity";
/// How long systemd waits for an identity.
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
const BREATH: Duration = Duration::from_millis(200);
