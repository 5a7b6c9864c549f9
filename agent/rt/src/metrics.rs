//! Counters, gauges and histograms in the text form of Prometheus.
//!
//! A registry is a value that is handed around, not a global. Names are taken as they are: those
//! that dashboards know are not ours to change, so nothing is appended to them.

mod process;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tracing::error;

/// What [`Registry::render`] gives is of this `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a process. Clones are the same registry.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    families: Arc<Mutex<BTreeMap<String, Family>>>,
}

/// A number that only grows. Clones are the same counter.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

/// A number that goes up and down, and is not shown until it is known. Clones are the same gauge.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<Mutex<Option<f64>>>);

impl Registry {
    /// The counter of that name and those labels; of two calls with the same, the same.
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
        let fresh = Counter::default();
        match self.enter(name, help, labels, Series::Counter(fresh.clone())) {
            Some(Series::Counter(counter)) => counter,
            _ => fresh,
        }
    }

    /// The gauge of that name and those labels; of two calls with the same, the same.
    pub fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Gauge {
        let fresh = Gauge::default();
        match self.enter(name, help, labels, Series::Gauge(fresh.clone())) {
            Some(Series::Gauge(gauge)) => gauge,
            _ => fresh,
        }
    }

    /// A gauge whose `value` is asked for when the metrics are read; absent while it is `None`.
    /// Takes the place of a gauge of the same name and labels.
    pub fn computed(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        self.enter(name, help, labels, Series::Computed(Asked(Arc::new(value))));
    }

    /// Numbers of one name that are counted elsewhere, where counting has to cost nothing: they
    /// are asked for when the metrics are read, with whatever labels there are by then. `kind` is
    /// what a scraper takes them for.
    pub fn read(
        &self,
        name: &str,
        help: &str,
        kind: Kind,
        samples: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.enter_as(name, help, &[], kind, Series::Read(Asked(Arc::new(samples))));
    }

    /// How something is spread, counted elsewhere and asked for when the metrics are read.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        spread: impl Fn() -> Histogram + Send + Sync + 'static,
    ) {
        self.enter(name, help, labels, Series::Histogram(Asked(Arc::new(spread))));
    }

    /// All of it, sorted by name and labels. A name of which nothing is known is left out.
    pub fn render(&self) -> String {
        // What is computed is asked for without the lock: it may well look in here.
        let families = self.families.lock().clone();
        let mut text = String::new();
        for (name, family) in families {
            let mut lines = String::new();
            for (labels, series) in &family.series {
                series.lines(&name, labels, &mut lines);
            }
            if !lines.is_empty() {
                let Family { kind, help, .. } = family;
                text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}"));
            }
        }
        text
    }

    /// Notes `fresh`, or returns what is there under the same name and labels. A name has one
    /// kind: what comes with another one works, and is not shown.
    fn enter(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        fresh: Series,
    ) -> Option<Series> {
        let kind = fresh.kind();
        self.enter_as(name, help, labels, kind, fresh)
    }

    fn enter_as(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        kind: Kind,
        fresh: Series,
    ) -> Option<Series> {
        let mut families = self.families.lock();
        let family = families.entry(plain(name)).or_insert_with(|| Family {
            help: escaped(help, Where::Help),
            kind,
            series: BTreeMap::new(),
        });
        if family.kind != kind {
            error!(name, "metric asked for as another kind than before is not shown");
            return None;
        }
        match family.series.entry(braced(labels)) {
            Entry::Vacant(place) => {
                place.insert(fresh);
                None
            }
            Entry::Occupied(mut place) => {
                if matches!(
                    (place.get(), &fresh),
                    (Series::Counter(_), _) | (Series::Gauge(_), Series::Gauge(_))
                ) {
                    return Some(place.get().clone());
                }
                place.insert(fresh);
                None
            }
        }
    }
}

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// This many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many by now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// It is this much.
    pub fn set(&self, value: f64) {
        *self.0.lock() = Some(value);
    }

    /// It is not known any more.
    pub fn unset(&self) {
        *self.0.lock() = None;
    }

    /// How much it is, if that is known.
    pub fn value(&self) -> Option<f64> {
        *self.0.lock()
    }
}

#[derive(Debug, Clone)]
struct Family {
    help: String,
    kind: Kind,
    /// By labels, as they are shown.
    series: BTreeMap<String, Series>,
}

/// What a scraper takes a number for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How something is spread.
    Histogram,
}

/// One number of several under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What tells it from the others.
    pub labels: Vec<(&'static str, String)>,
    /// How much it is.
    pub value: f64,
}

/// How something is spread.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// The end of each step, and how many are not beyond it.
    pub steps: Vec<(f64, u64)>,
    /// All of them.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

#[derive(Debug, Clone)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Computed(Asked<Option<f64>>),
    Read(Asked<Vec<Sample>>),
    Histogram(Asked<Histogram>),
}

impl Series {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) | Self::Computed(_) | Self::Read(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    /// What is to be read of it, a line each.
    fn lines(&self, name: &str, labels: &str, text: &mut String) {
        let mut line = |suffix: &str, labels: &str, value: String| {
            text.push_str(&format!("{name}{suffix}{labels} {value}\n"));
        };
        match self {
            Self::Counter(counter) => line("", labels, counter.value().to_string()),
            Self::Gauge(gauge) => {
                if let Some(value) = gauge.value() {
                    line("", labels, number(value));
                }
            }
            Self::Computed(Asked(value)) => {
                if let Some(value) = value() {
                    line("", labels, number(value));
                }
            }
            Self::Read(Asked(samples)) => {
                for Sample { labels, value } in samples() {
                    let labels: Vec<_> =
                        labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    line("", &braced(&labels), number(value));
                }
            }
            Self::Histogram(Asked(spread)) => {
                let Histogram { steps, count, sum } = spread();
                let ends = steps.into_iter().map(|(end, within)| (number(end), within));
                for (end, within) in ends.chain([("+Inf".to_owned(), count)]) {
                    line("_bucket", &with_end(labels, &end), within.to_string());
                }
                line("_sum", labels, number(sum));
                line("_count", labels, count.to_string());
            }
        }
    }
}

/// What is asked for when the metrics are read.
struct Asked<T>(Arc<dyn Fn() -> T + Send + Sync>);

impl<T> Clone for Asked<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Asked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

/// The labels of a step, from those of its histogram.
fn with_end(labels: &str, end: &str) -> String {
    match labels.strip_suffix('}') {
        Some(others) => format!("{others},le=\"{end}\"}}"),
        None => format!("{{le=\"{end}\"}}"),
    }
}

/// A number as Go's ParseFloat, which reads it, spells the special ones.
fn number(value: f64) -> String {
    if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.into()
    } else {
        value.to_string()
    }
}

/// `{name="value",…}`, sorted, so that the order in which labels are given does not matter.
fn braced(labels: &[(&str, &str)]) -> String {
    let sorted: BTreeMap<_, _> = labels.iter().copied().collect();
    let mut text = String::new();
    for (name, value) in sorted {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&format!("{}=\"{}\"", plain(name), escaped(value, Where::Label)));
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

/// A name that cannot break the text it stands in.
fn plain(name: &str) -> String {
    let fits = |symbol: char| symbol.is_ascii_alphanumeric() || matches!(symbol, '_' | ':');
    name.chars().map(|symbol| if fits(symbol) { symbol } else { '_' }).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Help,
    Label,
}

fn escaped(text: &str, place: Where) -> String {
    let mut safe = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '\\' => safe.push_str("\\\\"),
            '\n' => safe.push_str("\\n"),
            '"' if place == Where::Label => safe.push_str("\\\""),
            _ => safe.push(symbol),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
