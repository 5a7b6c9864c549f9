//! The result: rows of medians, printed and written.

use std::path::Path;

use anyhow::{Context, Result};
use hawser_harness::demo::print;
use serde::Serialize;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) proxy: String,
    pub(crate) mb: usize,
    pub(crate) cpu_ms: f64,
    pub(crate) idle_mb: f64,
    pub(crate) peak_mb: f64,
    pub(crate) after_mb: f64,
}

/// One line for each proxy and size of what was measured in all rounds, in the order in which they
/// came first.
pub(crate) fn medians(measured: &[Row]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for one in measured {
        let same = |row: &&Row| row.proxy == one.proxy && row.mb == one.mb;
        if rows.iter().any(|row| same(&row)) {
            continue;
        }
        let of_it: Vec<_> = measured.iter().filter(same).collect();
        let of = |field: fn(&Row) -> f64| {
            let mut values: Vec<_> = of_it.iter().map(|row| field(row)).collect();
            values.sort_by(f64::total_cmp);
            let median = values.get(values.len() / 2).copied().unwrap_or_default();
            (median * 100.0).round() / 100.0
        };
        rows.push(Row {
            proxy: one.proxy.clone(),
            mb: one.mb,
            cpu_ms: of(|row| row.cpu_ms),
            idle_mb: of(|row| row.idle_mb),
            peak_mb: of(|row| row.peak_mb),
            after_mb: of(|row| row.after_mb),
        });
    }
    rows.sort_by_key(|row| row.mb);
    rows
}

pub(crate) fn show(rows: &[Row]) {
    print("");
    print("  proxy          MB   CPU ms  ms/MB   idle MB   peak MB  above idle  2 s later MB");
    for row in rows {
        let size = f64::from(u32::try_from(row.mb).unwrap_or(u32::MAX));
        print(format_args!(
            "  {:<12} {:>4} {:>8.1} {:>6.2} {:>9.1} {:>9.1} {:>11.1} {:>13.1}",
            row.proxy,
            row.mb,
            row.cpu_ms,
            row.cpu_ms / size,
            row.idle_mb,
            row.peak_mb,
            row.peak_mb - row.idle_mb,
            row.after_mb,
        ));
    }
    print("");
}

pub(crate) fn write(rows: &[Row], to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        let made = std::fs::create_dir_all(parent);
        made.with_context(|| format!("create {}", parent.display()))?;
    }
    let json = serde_json::to_string_pretty(rows)? + "\n";
    std::fs::write(to, json).with_context(|| format!("write {}", to.display()))
}
