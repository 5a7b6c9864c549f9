//! What the unit hawser-intercept has left.

use hawser_intercept::apply::Places;
use hawser_rt::metrics::{Kind, Registry, Sample};

use crate::config::paths::Paths;

/// How it is with the unit.
pub use hawser_intercept::report::Report as Status;

/// What it has left; none if it has not run here.
pub fn read(paths: &Paths) -> Option<Status> {
    Status::read(&Places::new(paths.intercept_run())).ok().flatten()
}

/// What of it is counted.
pub fn register(paths: &Paths, metrics: &Registry) {
    let one = |name, help, value: fn(&Status) -> u64| {
        let paths = paths.clone();
        #[expect(clippy::cast_precision_loss, reason = "they are small numbers")]
        let value = move || read(&paths).map(|report| value(&report) as f64);
        metrics.computed(name, help, &[], value);
    };
    one(
        "hawser_intercept_repairs",
        "How often rules were found removed or changed by somebody else, and put back.",
        |report| report.repairs,
    );
    one(
        "hawser_intercept_trouble",
        "Whether something of the rules could not be done.",
        |report| u64::from(report.trouble.is_some()),
    );
    let from = paths.clone();
    metrics.read(
        "hawser_intercept_gate_open",
        "Whether what goes out, what comes in, and questions are redirected.",
        Kind::Gauge,
        move || {
            let gates = read(&from).map(|report| report.gates);
            let gates = gates.map(|gates| {
                [("outbound", gates.outbound), ("inbound", gates.inbound), ("dns", gates.dns)]
            });
            let sample = |(gate, open): (&str, bool)| Sample {
                labels: vec![("gate", gate.to_owned())],
                value: f64::from(u8::from(open)),
            };
            gates.into_iter().flatten().map(sample).collect()
        },
    );
    let from = paths.clone();
    #[expect(clippy::cast_precision_loss, reason = "a counter is a float to those who read it")]
    metrics.read(
        "hawser_intercept_hits_total",
        "What rules have matched: new connections, or packets.",
        Kind::Counter,
        move || {
            let hits = read(&from).map(|report| report.hits).unwrap_or_default();
            let sample = |hit: hawser_intercept::report::Hit| Sample {
                labels: vec![("chain", hit.chain), ("rule", hit.rule)],
                value: hit.packets as f64,
            };
            hits.into_iter().map(sample).collect()
        },
    );
}
