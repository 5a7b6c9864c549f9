//! What is counted, under the names that Istio's agent gave them, and under ours where it had none.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_istiod::Prospect;
use hawser_pki::{Bundle, Identity};
use hawser_rt::{
    Clock,
    metrics::{Counter, Registry},
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The numbers of this flow.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Counter,
    failures: Counter,
    retries: Counter,
    latency: Counter,
    pub(crate) file_failures: Counter,
    expiries: Arc<Mutex<Expiries>>,
}

/// When what could be shown to istiod expires.
#[derive(Debug, Clone, Copy, Default)]
struct Expiries {
    token: Option<SystemTime>,
    provisioned: Option<SystemTime>,
}

impl Metrics {
    pub(crate) fn new(
        registry: &Registry,
        clock: &Clock,
        identity: watch::Receiver<Option<Arc<Identity>>>,
        trusted: watch::Receiver<Option<Arc<Bundle>>>,
    ) -> Self {
        let csr = [("request_type", "csr")];
        let counter = |name, help, labels| registry.counter(name, help, labels);
        let expiries = Arc::new(Mutex::new(Expiries::default()));
        let metrics = Self {
            requests: counter("istio_agent_num_outgoing_requests", "Certificates asked for.", &csr),
            failures: counter(
                "istio_agent_num_failed_outgoing_requests",
                "Certificates asked for and not obtained.",
                &csr,
            ),
            retries: counter(
                "istio_agent_num_outgoing_retries",
                "Requests that were repeated at once with another credential.",
                &csr,
            ),
            latency: counter(
                "istio_agent_outgoing_latency",
                "Milliseconds spent on asking for certificates.",
                &csr,
            ),
            file_failures: counter(
                "istio_agent_num_file_secret_failures_total",
                "Certificate files that could not be used.",
                &[],
            ),
            expiries: Arc::clone(&expiries),
        };
        // Watching does not fail: what does not tell of changes is looked at now and then. Whoever
        // has an alarm on this number is to find it all the same.
        counter(
            "istio_agent_num_file_watcher_failures_total",
            "Certificate files that could not be watched.",
            &[],
        );
        let now = clock.clone();
        registry.computed(
            "istio_agent_cert_expiry_seconds",
            "Seconds until the certificate expires; below zero when it has.",
            &[("resource_name", "default")],
            move || Some(seconds(identity.borrow().as_ref()?.not_after(), &now)),
        );
        let now = clock.clone();
        registry.computed(
            "hawser_roots_expiry_seconds",
            "Seconds until the first of the trusted roots expires.",
            &[],
            move || Some(seconds(trusted.borrow().as_ref()?.first_expiry()?, &now)),
        );
        let (of, now) = (Arc::clone(&expiries), clock.clone());
        registry.computed(
            "hawser_token_expiry_seconds",
            "Seconds until the last of the tokens expires.",
            &[],
            move || Some(seconds(of.lock().token?, &now)),
        );
        let (of, now) = (expiries, clock.clone());
        registry.computed(
            "hawser_provisioned_expiry_seconds",
            "Seconds until the provisioned certificate expires.",
            &[],
            move || Some(seconds(of.lock().provisioned?, &now)),
        );
        metrics
    }

    /// A certificate was asked for.
    pub(crate) fn asked(&self, obtained: bool, took: Duration) {
        self.requests.add(1);
        self.failures.add(u64::from(!obtained));
        self.latency.add(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    pub(crate) fn retried(&self) {
        self.retries.add(1);
    }

    /// What there is to show besides `own`, for the gauges about it.
    pub(crate) fn outlook(&self, outlook: &[Prospect], own: Option<&Identity>) {
        let others = || outlook.iter().filter(|prospect| !is_own(prospect, own));
        let last = |token| {
            others()
                .filter(|other| is_token(other) == token)
                .filter_map(|other| other.expires)
                .max()
        };
        *self.expiries.lock() = Expiries { token: last(true), provisioned: last(false) };
    }
}

/// Whether this is the certificate that is served, and nothing besides it.
pub(crate) fn is_own(prospect: &Prospect, own: Option<&Identity>) -> bool {
    !is_token(prospect) && own.is_some_and(|own| prospect.expires == Some(own.not_after()))
}

/// A certificate is for everybody and stands for a SPIFFE id.
fn is_token(prospect: &Prospect) -> bool {
    let id = prospect.subject.as_ref().is_some_and(|subject| subject.starts_with("spiffe://"));
    !id || !prospect.audiences.is_empty()
}

fn seconds(expiry: SystemTime, clock: &Clock) -> f64 {
    match expiry.duration_since(clock.now()) {
        Ok(left) => left.as_secs_f64(),
        Err(over) => -over.duration().as_secs_f64(),
    }
}
