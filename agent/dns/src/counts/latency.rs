//! How long answers took, by steps that are fixed.

use std::time::Duration;

use super::Count;

/// Steps in nanoseconds for what is answered on the spot: 5 µs to 25 ms.
pub(super) const NEAR: [u64; 10] =
    [5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 25_000_000];
/// Steps for what others are asked; those that dashboards of Istio's agent know.
pub(super) const FAR: [u64; 6] =
    [1_000_000, 5_000_000, 10_000_000, 100_000_000, 1_000_000_000, 5_000_000_000];

/// How long answers took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    /// The end of each step in seconds, and how many took no longer.
    pub steps: Vec<(f64, u64)>,
    /// All of them.
    pub count: u64,
    /// All of their time together, in seconds.
    pub sum: f64,
}

/// Numbers of one writer.
#[derive(Debug)]
pub(super) struct Spread<const N: usize> {
    within: [Count; N],
    beyond: Count,
    nanoseconds: Count,
}

impl<const N: usize> Default for Spread<N> {
    fn default() -> Self {
        let within = std::array::from_fn(|_| Count::default());
        Self { within, beyond: Count::default(), nanoseconds: Count::default() }
    }
}

impl<const N: usize> Spread<N> {
    pub(super) fn add(&self, ends: &[u64; N], each: Duration, n: u64) {
        let each = u64::try_from(each.as_nanos()).unwrap_or(u64::MAX);
        let step = ends.iter().position(|&end| each <= end);
        let count = step.and_then(|step| self.within.get(step)).unwrap_or(&self.beyond);
        count.more(n);
        self.nanoseconds.more(each.saturating_mul(n));
    }

    pub(super) fn now(&self, ends: &[u64; N]) -> Latency {
        let mut count = 0;
        let mut steps = Vec::with_capacity(N);
        for (&end, within) in ends.iter().zip(&self.within) {
            count += within.now();
            steps.push((Duration::from_nanos(end).as_secs_f64(), count));
        }
        let sum = Duration::from_nanos(self.nanoseconds.now()).as_secs_f64();
        Latency { steps, count: count + self.beyond.now(), sum }
    }
}

impl Latency {
    /// This and that together; of the same steps, or none.
    pub fn with(mut self, other: Self) -> Self {
        if self.steps.is_empty() {
            return other;
        }
        for ((_, mine), (_, more)) in self.steps.iter_mut().zip(other.steps) {
            *mine += more;
        }
        self.count += other.count;
        self.sum += other.sum;
        self
    }
}
