//! Rows that were measured in rounds, and what is told of them.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// One line of a table.
pub trait Row: Clone + Serialize {
    /// Whether two lines are of the same thing.
    fn is_like(&self, other: &Self) -> bool;

    /// What was measured, always in the same order.
    fn figures(&mut self) -> Vec<&mut f64>;
}

/// One line for each thing, in the order in which they came first; each figure is the median of all
/// rounds, to two decimals.
#[must_use]
pub fn medians<R: Row>(measured: &[R]) -> Vec<R> {
    let mut rows: Vec<R> = Vec::new();
    for one in measured {
        if rows.iter().any(|row| row.is_like(one)) {
            continue;
        }
        let mut rounds: Vec<R> = measured.iter().filter(|row| row.is_like(one)).cloned().collect();
        let mut row = one.clone();
        for (index, figure) in row.figures().into_iter().enumerate() {
            let of_round = |round: &mut R| round.figures().get(index).map(|figure| **figure);
            let mut values: Vec<f64> = rounds.iter_mut().filter_map(of_round).collect();
            values.sort_by(f64::total_cmp);
            let median = values.get(values.len() / 2).copied().unwrap_or_default();
            *figure = (median * 100.0).round() / 100.0;
        }
        rows.push(row);
    }
    rows
}

/// Writes them as JSON.
///
/// # Errors
/// When the file cannot be written.
#[expect(clippy::disallowed_methods, reason = "nobody reads what a bench writes before it ends")]
pub fn write<R: Row>(rows: &[R], to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        let made = std::fs::create_dir_all(parent);
        made.with_context(|| format!("create {}", parent.display()))?;
    }
    let json = serde_json::to_string_pretty(rows)? + "\n";
    std::fs::write(to, json).with_context(|| format!("write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize)]
    struct Line(&'static str, f64);

    impl Row for Line {
        fn is_like(&self, other: &Self) -> bool {
            self.0 == other.0
        }

        fn figures(&mut self) -> Vec<&mut f64> {
            vec![&mut self.1]
        }
    }

    #[test]
    fn one_line_is_told_for_each_thing_with_the_median_of_its_rounds() {
        let measured = [("a", 9.0), ("b", 1.004), ("a", 1.0), ("a", 2.0)];
        let rows = medians(&measured.map(|(name, figure)| Line(name, figure)));
        assert_eq!(rows, [Line("a", 2.0), Line("b", 1.0)]);
        assert!(medians::<Line>(&[]).is_empty());
    }
}
