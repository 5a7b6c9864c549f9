//! Probing, for as long as the agent lives.

#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc, time::Duration};

use hawser_node::Node;
use hawser_rt::Throttle;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Probe, check, tally::Tally};

/// Whether the workload is well, or why not; none as long as nobody knows.
pub type Verdict = Option<Result<(), String>>;

/// What is probed.
#[derive(Debug, Clone)]
pub struct Options {
    /// How: what the mesh wants, and what the operator does. All of them have to find it well.
    pub probes: Vec<Probe>,
    /// Whose first address is asked, unless the probe names somebody.
    pub node: watch::Receiver<Arc<Node>>,
}

/// Probes until `stop`, and tells each verdict that differs from the last.
///
/// `envoy` says whether Envoy is ready, or why not, within a time of its own. It is asked before
/// the workload each time. The first time of all it may take a minute to become ready, and nothing
/// is told meanwhile.
pub async fn run<E, F>(
    options: Options,
    envoy: E,
    tell: watch::Sender<Verdict>,
    stop: CancellationToken,
) -> Result<(), Infallible>
where
    E: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let Options { probes, node } = options;
    let (find, found) = watch::channel(vec![None; probes.len()]);
    let mut probing = JoinSet::new();
    for (at, probe) in probes.into_iter().enumerate() {
        let (envoy, node, find) = (envoy.clone(), node.clone(), find.clone());
        probing.spawn(async move {
            let workload = || {
                let first = node.borrow().ips.first().copied();
                check::all(&probe, first)
            };
            let tell = |verdict| {
                find.send_modify(|found| {
                    if let Some(found) = found.get_mut(at) {
                        *found = Some(verdict);
                    }
                });
            };
            follow(&probe, &envoy, &workload, &tell).await
        });
    }
    // What is dropped half-way is one question, whose answer nobody waits for.
    stop.run_until_cancelled(join(found, &tell)).await;
    Ok(())
}

/// Tells what all of them have found, whenever that changes.
async fn join(mut found: watch::Receiver<Vec<Verdict>>, tell: &watch::Sender<Verdict>) {
    let mut last = None;
    while found.changed().await.is_ok() {
        let verdict = together(found.borrow_and_update().clone());
        if verdict != last {
            last.clone_from(&verdict);
            verdict.into_iter().for_each(|verdict| publish(verdict, tell));
        }
    }
}

/// What each has found, as one: well if all are, not well if one is not, and otherwise nobody knows
/// yet (pure).
fn together(found: Vec<Verdict>) -> Verdict {
    let known = found.iter().all(Option::is_some);
    let mut reasons: Vec<String> = found.into_iter().flatten().filter_map(Result::err).collect();
    // Envoy is asked for each of them.
    reasons.dedup();
    match reasons.is_empty() {
        true => known.then_some(Ok(())),
        false => Some(Err(reasons.join("; "))),
    }
}

async fn follow<E, F, W, G>(
    probe: &Probe,
    envoy: &E,
    workload: &W,
    tell: &impl Fn(Result<(), String>),
) -> Infallible
where
    E: Fn() -> F,
    F: Future<Output = Result<(), String>>,
    W: Fn() -> G,
    G: Future<Output = Result<(), String>>,
{
    let latest = Instant::now() + GRACE;
    sleep(probe.initial_delay).await;
    if timeout_at(latest, ready(envoy)).await.is_err() {
        info!(waited = ?GRACE, "envoy is not ready yet, health is told all the same");
    }
    let mut tally = Tally::new(probe.thresholds);
    loop {
        let next = Instant::now() + jittered(probe.period, fastrand::f64());
        let found = match still_ready(envoy).await {
            Ok(()) => workload().await,
            Err(reason) => Err(format!("envoy is not ready: {reason}")),
        };
        if let Err(reason) = &found {
            debug!(reason, "probe failed");
        }
        if let Some(verdict) = tally.count(found) {
            tell(verdict);
        }
        sleep_until(next).await;
    }
}

/// Returns when Envoy is ready.
async fn ready<E, F>(envoy: &E)
where
    E: Fn() -> F,
    F: Future<Output = Result<(), String>>,
{
    while let Err(reason) = envoy().await {
        debug!(reason, "envoy is not ready yet");
        sleep(AGAIN).await;
    }
}

/// Whether Envoy is ready. One answer that is late or missing takes no machine out of the mesh: it
/// may be busy with what it is told.
async fn still_ready<E, F>(envoy: &E) -> Result<(), String>
where
    E: Fn() -> F,
    F: Future<Output = Result<(), String>>,
{
    if envoy().await.is_ok() {
        return Ok(());
    }
    sleep(AGAIN).await;
    envoy().await
}

fn publish(verdict: Result<(), String>, tell: &watch::Sender<Verdict>) {
    static WELL: Throttle = Throttle::new(PERIOD);
    static NOT_WELL: Throttle = Throttle::new(PERIOD);
    let verdict = verdict.map_err(|reason| reason.chars().take(LONGEST_REASON).collect::<String>());
    // Each for itself: the reason must not go unsaid because the workload was well just before.
    let told = if verdict.is_ok() { &WELL } else { &NOT_WELL };
    match (&verdict, told.allow()) {
        (Ok(()), Some(suppressed)) => info!(suppressed, "workload is well"),
        (Err(reason), Some(suppressed)) => warn!(reason, suppressed, "workload is not well"),
        (verdict, None) => debug!(?verdict, "workload has changed"),
    }
    tell.send_replace(Some(verdict));
}

/// Up to a tenth more or less, so that machines that started together do not stay together.
fn jittered(period: Duration, dice: f64) -> Duration {
    period.mul_f64(0.9 + 0.2 * dice)
}

/// How long Envoy may take to become ready until a verdict is told without it.
const GRACE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(10);
/// istiod keeps it in a resource of the cluster.
const LONGEST_REASON: usize = 512;
