//! What `hawser status` says, as numbers: the state, what is wrong, istiod, what Envoy has taken.

use std::{sync::Arc, time::SystemTime};

use hawser_rt::metrics::{Kind, Registry, Sample};
use hawser_xds::{Exchange, Seen, Standing};
use parking_lot::Mutex;

use super::{Facts, Snapshot, State, mesh::short, seconds};

/// What was found when somebody asked last.
#[derive(Debug, Clone, Default)]
pub struct Found(Arc<Mutex<Option<Judged>>>);

/// What a snapshot came to.
#[derive(Debug, Clone)]
struct Judged {
    state: State,
    /// By code and part.
    troubles: Vec<(String, String)>,
    envoy: Option<bool>,
}

impl Facts {
    /// All that is counted, as it is now.
    pub async fn metrics(&self) -> String {
        let snapshot = self.snapshot(SystemTime::now()).await;
        self.found.note(&snapshot);
        self.metrics.render()
    }
}

impl Found {
    /// Registers what is found.
    pub fn registered(metrics: &Registry) -> Self {
        let found = Self::default();
        let of = found.clone();
        let help = "Which state the agent is in: 1 is the one.";
        metrics.read("hawser_state", help, Kind::Gauge, move || of.states());
        let of = found.clone();
        let help = "What is wrong, by the codes of `hawser status --json`.";
        metrics.read("hawser_trouble", help, Kind::Gauge, move || of.troubles());
        let of = found.clone();
        let help =
            "Whether Envoy serves what istiod has told it; absent where there is to be none.";
        metrics.computed("hawser_envoy_ready", help, &[], move || {
            let ready = of.0.lock().as_ref()?.envoy?;
            Some(f64::from(u8::from(ready)))
        });
        found
    }

    fn note(&self, of: &Snapshot) {
        let troubles = of.troubles.iter();
        let judged = Judged {
            state: of.state,
            troubles: troubles.map(|it| (it.code.clone(), it.part.clone())).collect(),
            envoy: of.envoy.as_ref().and_then(|envoy| envoy.says.as_ref()).map(|says| says.ready),
        };
        *self.0.lock() = Some(judged);
    }

    fn states(&self) -> Vec<Sample> {
        let Some(now) = self.0.lock().as_ref().map(|judged| judged.state) else {
            return Vec::new();
        };
        let sample = |(state, name): &(State, &str)| Sample {
            labels: vec![("state", (*name).to_owned())],
            value: f64::from(u8::from(now == *state)),
        };
        STATES.iter().map(sample).collect()
    }

    fn troubles(&self) -> Vec<Sample> {
        let troubles = self.0.lock().as_ref().map(|judged| judged.troubles.clone());
        let sample = |(code, part): (String, String)| Sample {
            labels: vec![("code", code), ("part", part)],
            value: 1.0,
        };
        troubles.into_iter().flatten().map(sample).collect()
    }
}

/// Since when the agent runs, and how many were before it.
pub(crate) fn of_process(metrics: &Registry, since: u64, restarts: u64) {
    let help = "When the agent was started, in seconds since 1970.";
    metrics.gauge("hawser_start_timestamp_seconds", help, &[]).set(float(since));
    let help = "Agents before this one, since the service was started.";
    metrics.gauge("hawser_restarts", help, &[]).set(float(restarts));
}

/// istiod, and what Envoy has taken of it.
pub(crate) fn of_istiod(metrics: &Registry, seen: &Seen) {
    let one = |name: &str, help: &str, value: fn(&Standing) -> Option<f64>| {
        let seen = seen.clone();
        metrics.computed(name, help, &[], move || value(&seen.watch().borrow()));
    };
    one("hawser_istiod_connected", "Whether istiod answers the agent's own stream.", |it| {
        let answers = it.names.joined.is_some() && it.names.away.is_none();
        Some(f64::from(u8::from(answers)))
    });
    one(
        "hawser_istiod_last_message_timestamp_seconds",
        "When istiod has last sent anything, of whatever type, in seconds since 1970.",
        |it| it.heard().map(|at| float(seconds(at))),
    );
    let of = seen.clone();
    let help = "How often another address of istiod than the one before has answered.";
    metrics.read("hawser_istiod_failovers_total", help, Kind::Counter, move || {
        let value = float(of.watch().borrow().names.failovers);
        vec![Sample { labels: Vec::new(), value }]
    });
    let each = |name: &str, help: &str, value: fn(&Exchange) -> Option<f64>| {
        let seen = seen.clone();
        let samples = move || {
            let types = seen.standing().exchanges();
            let sample = |(type_url, exchange): (&String, &Exchange)| {
                let labels = vec![("type", short(type_url).to_owned())];
                value(exchange).map(|value| Sample { labels, value })
            };
            types.iter().filter_map(sample).collect()
        };
        metrics.read(name, help, Kind::Gauge, samples);
    };
    each(
        "hawser_xds_accepted_timestamp_seconds",
        "When Envoy has last taken configuration of a type, in seconds since 1970.",
        |it| it.accepted.as_ref().map(|taken| float(seconds(taken.at))),
    );
    each(
        "hawser_xds_refused",
        "Whether Envoy has refused the newest configuration of a type.",
        |it| Some(f64::from(u8::from(it.refuses))),
    );
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Each with its name in `--json`; nobody who is down says so.
const STATES: [(State, &str); 5] = [
    (State::Ready, "ready"),
    (State::Degraded, "degraded"),
    (State::Starting, "starting"),
    (State::Draining, "draining"),
    (State::Maintenance, "maintenance"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::examples;

    #[test]
    fn the_state_and_what_is_wrong_are_numbers_too() {
        let metrics = Registry::default();
        let found = Found::registered(&metrics);
        assert!(!metrics.render().contains("hawser_state{"), "nobody has looked yet");

        found.note(&examples::stale());

        let text = metrics.render();
        for line in [
            "hawser_state{state=\"degraded\"} 1\n",
            "hawser_state{state=\"ready\"} 0\n",
            "hawser_trouble{code=\"istiod-away\",part=\"istiod\"} 1\n",
            "hawser_trouble{code=\"stale\",part=\"config\"} 1\n",
            "hawser_envoy_ready 1\n",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn each_state_has_its_name_in_json() {
        for (state, name) in STATES {
            assert_eq!(serde_json::to_value(state).unwrap(), name);
        }
    }

    #[test]
    fn what_istiod_has_not_sent_has_no_time() {
        let metrics = Registry::default();
        of_istiod(&metrics, &Seen::default());
        of_process(&metrics, 7, 2);
        let text = metrics.render();
        assert!(text.contains("hawser_istiod_connected 0\n"), "{text}");
        assert!(text.contains("hawser_restarts 2\n"), "{text}");
        assert!(!text.contains("hawser_istiod_last_message_timestamp_seconds "), "{text}");
    }
}
