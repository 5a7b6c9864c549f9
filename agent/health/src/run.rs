//! Probing, for as long as the agent lives.

#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc, time::Duration};

use hawser_node::Node;
use hawser_rt::Throttle;
use tokio::{
    sync::watch,
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
    /// How.
    pub probe: Probe,
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
    E: Fn() -> F + Send + Sync,
    F: Future<Output = Result<(), String>> + Send,
{
    let Options { probe, node } = &options;
    let workload = || check::check(probe, node);
    let probing = follow(probe, &envoy, &workload, &tell);
    // What is dropped half-way is one question, whose answer nobody waits for.
    match stop.run_until_cancelled(probing).await {
        Some(never) => match never {},
        None => Ok(()),
    }
}

async fn follow<E, F, W, G>(
    probe: &Probe,
    envoy: &E,
    workload: &W,
    tell: &watch::Sender<Verdict>,
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
            publish(verdict, tell);
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
