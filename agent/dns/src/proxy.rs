//! What all workers read, and how it comes about.
//!
//! A table is arranged beside the threads that answer, and put to use by one pointer: nobody waits
//! for it, and an answer is from one table or from the other.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use hawser_proto::Names;
use hawser_rt::{Gate, Throttle};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::answer::Errand;
use crate::counts::{Counts, Totals};
use crate::explain::{self, Explanation, Inquiry};
use crate::kept::{self, Keeper, Place};
use crate::loops::Loop;
use crate::relay::Relay;
use crate::relay::resolvers::{ResolverStatus, Resolvers, Upstream};
use crate::resolv::keep::{Keep, keep};
use crate::resolv::watch::Resolv;
use crate::table::{Scope, Search, Table};
use crate::worker::Worker;

static BAD_NAMES: Throttle = Throttle::new(Duration::from_secs(600));

/// The DNS proxy, whoever serves it: what it knows and what it has done.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    resolvers: Arc<Resolvers>,
    /// Of each worker.
    counts: Arc<[Arc<Counts>]>,
    /// Of each worker.
    relays: Arc<[Arc<Relay>]>,
    /// Taken by the first that follows.
    keep: Arc<Mutex<Option<Keep>>>,
    keeper: Arc<Mutex<Option<Keeper>>>,
}

/// The names that are answered, as they came.
#[derive(Clone, Debug)]
pub struct Known {
    /// What was said.
    pub names: Names,
    /// When istiod said it.
    pub since: SystemTime,
    /// Whether it was kept from an earlier run, and istiod has not spoken in this one.
    pub stale: bool,
}

/// What workers share; on the way of a query it is read and no more.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) scope: Scope,
    pub(crate) search: ArcSwap<Search>,
    /// Written by [`Proxy::follow`] alone.
    table: ArcSwapOption<Table>,
    /// What it was made from.
    known: ArcSwapOption<Known>,
    /// What is counted of tables.
    counts: Counts,
    /// Workers that answer.
    serving: watch::Sender<usize>,
}

impl Shared {
    pub(crate) fn new(scope: Scope, search: Search) -> Self {
        Self {
            scope,
            search: ArcSwap::from_pointee(search),
            table: ArcSwapOption::empty(),
            known: ArcSwapOption::empty(),
            counts: Counts::default(),
            serving: watch::Sender::new(0),
        }
    }

    /// The names now. To be let go of soon: it keeps a table in memory.
    pub(crate) fn table(&self) -> arc_swap::Guard<Option<Arc<Table>>> {
        self.table.load()
    }

    /// A worker answers from now on.
    pub(crate) fn serves(&self) {
        self.serving.send_modify(|workers| *workers += 1);
    }

    /// Begins with the names of the last run, until istiod has spoken.
    pub(crate) fn begin(&self, place: Place) -> Keeper {
        let (keeper, kept) = Keeper::open(place);
        if let Some(kept) = kept {
            self.take(Known { names: kept.names, since: kept.since, stale: true });
        }
        keeper
    }

    /// Arranges the names and puts them to use.
    fn take(&self, known: Known) {
        if self.known.load().as_deref().is_some_and(|old| old.names == known.names) {
            debug!(stale = known.stale, "names of the mesh are as they were");
            self.known.store(Some(Arc::new(known)));
            self.counts.tables.add();
            return;
        }
        let started = Instant::now();
        let (table, skipped) = Table::build(&known.names, &self.scope);
        let took = started.elapsed();
        let stale = known.stale;
        let names = table.names();
        let left_out = skipped.names + skipped.addresses;
        let first = self.table.swap(Some(Arc::new(table))).is_none();
        self.known.store(Some(Arc::new(known)));
        self.counts.tables.add();
        self.counts.names.set(names);
        self.counts.names_skipped.set(left_out);
        if first {
            info!(names, ?took, stale, "names of the mesh are known");
        } else {
            debug!(names, ?took, "names of the mesh replaced");
        }
        if left_out > 0
            && let Some(suppressed) = BAD_NAMES.allow()
        {
            warn!(left_out, name = ?skipped.first, suppressed, "names from istiod are unusable");
        }
    }
}

impl Proxy {
    pub(crate) fn new(
        shared: Arc<Shared>,
        resolvers: Arc<Resolvers>,
        workers: &[Worker],
        (keep, keeper): (Keep, Option<Keeper>),
    ) -> Self {
        let (keep, keeper) = (Arc::new(Mutex::new(Some(keep))), Arc::new(Mutex::new(keeper)));
        let places = workers.iter().map(|worker| &worker.place);
        let counts = places.clone().map(|place| Arc::clone(&place.counts)).collect();
        let relays = places.map(|place| Arc::clone(&place.relay)).collect();
        Self { shared, resolvers, counts, relays, keep, keeper }
    }

    /// What all workers together have done.
    pub fn totals(&self) -> Totals {
        let workers = self.counts.iter().map(|counts| counts.totals());
        workers.sum::<Totals>() + self.shared.counts.totals()
    }

    /// What each worker has done.
    pub fn counts(&self) -> &[Arc<Counts>] {
        &self.counts
    }

    /// The names that are answered now, as they came.
    pub fn names(&self) -> Option<Known> {
        self.shared.known.load().as_deref().cloned()
    }

    /// Who asks.
    pub fn scope(&self) -> &Scope {
        &self.shared.scope
    }

    /// Whom others are asked of, and how they do.
    pub fn resolvers(&self) -> Vec<ResolverStatus> {
        self.resolvers.report()
    }

    /// The same as they are written in a configuration, in the same order.
    pub fn upstreams(&self) -> Vec<Upstream> {
        self.resolvers.servers().iter().map(|server| server.upstream.clone()).collect()
    }

    /// The names that are answered now.
    pub fn table(&self) -> Option<Arc<Table>> {
        self.shared.table.load_full()
    }

    /// Why a name resolves as it does; none, if that is no name.
    pub fn explain(&self, name: &str, kind: u16) -> Option<Explanation> {
        let (table, search, style) = (self.table(), self.search(), self.shared.scope.style);
        let inquiry = Inquiry { name, kind, table: table.as_deref(), style, search: &search };
        let mut explanation = explain::explain(&inquiry)?;
        let look = |packet: &[u8], errand: &Errand| {
            self.relays.iter().filter_map(|relay| relay.kept(packet, errand)).max()
        };
        explanation.kept = explain::kept(&inquiry, look).map(|left| left.as_secs());
        Some(explanation)
    }

    /// The domains that are appended to names on this machine, now.
    pub fn search(&self) -> Arc<Search> {
        self.shared.search.load_full()
    }

    /// Puts every table that comes to use, and what changes in resolv.conf, until `stop`.
    ///
    /// Opens `ready` once every worker answers; whether names of the mesh are known by then is not
    /// asked, since those outside must not wait for them.
    pub async fn follow(
        self,
        names: watch::Receiver<Option<Names>>,
        ready: Gate,
        stop: CancellationToken,
    ) {
        let outside = self.clone().follow_outside(stop.clone());
        let keeper = self.keeper.lock().take();
        let written = async {
            if let Some(keeper) = keeper {
                kept::keep(keeper, names.clone(), stop.clone()).await;
            }
        };
        tokio::join!(self.follow_names(names.clone(), ready, stop.clone()), outside, written);
    }

    /// Keeps resolvers and search domains as the machine has them.
    async fn follow_outside(self, stop: CancellationToken) {
        let Some(kept) = self.keep.lock().take() else { return };
        let (fixed, loops) = (kept.fixed.is_some(), Arc::clone(&kept.loops));
        let put = |read: &Resolv| {
            self.shared.search.store(Arc::new(Search::new(&read.search)));
            if !fixed {
                self.resolvers.replace(read.servers.iter().copied().map(Upstream::from).collect());
                // One that was away is a new one here, and no news to those who look for loops.
                for known in loops.looping().iter() {
                    self.resolvers.set_looping(known.resolver, true);
                }
            }
        };
        let mark = |looping: &[Loop]| {
            for resolver in self.resolvers.report() {
                let loops = looping.iter().any(|known| known.resolver == resolver.address);
                self.resolvers.set_looping(resolver.address, loops);
            }
        };
        keep(kept, put, mark, stop).await;
    }

    async fn follow_names(
        &self,
        mut names: watch::Receiver<Option<Names>>,
        ready: Gate,
        stop: CancellationToken,
    ) {
        let mut serving = self.shared.serving.subscribe();
        let mut ready = Some(ready);
        // Those that were kept are in use already.
        let mut news = self.names().is_none() || names.has_changed().unwrap_or(false);
        loop {
            // Unless there is news nothing is marked as seen: what comes meanwhile would be lost.
            let latest = if news { names.borrow_and_update().clone() } else { None };
            if let Some(names) = latest {
                // Arranging a large one takes a while, and so does giving up the old one.
                let shared = Arc::clone(&self.shared);
                let known = Known { names, since: SystemTime::now(), stale: false };
                spawn_blocking(move || shared.take(known)).await.unwrap_or_else(hand_on);
            }
            news = false;
            let workers = self.counts.len();
            // Cancel safe, all of them. Whoever publishes the names may be gone: the last ones
            // stay in use.
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = names.changed() => news = true,
                Ok(_) = serving.wait_for(|&serving| serving == workers), if ready.is_some() => {
                    if let Some(ready) = ready.take() {
                        ready.open();
                    }
                }
            }
        }
    }
}

/// A part ends when it is told to, or panics; that is not to go unnoticed.
pub(crate) fn hand_on(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        resume_unwind(panic);
    }
}
