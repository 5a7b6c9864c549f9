//! The result: rows of medians, printed and written.

use std::path::Path;

use anyhow::{Context, Result};
use hawser_harness::demo::print;
use serde::Serialize;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) server: String,
    /// What it was made to do.
    pub(crate) load: String,
    pub(crate) qps: f64,
    /// Time on a processor for each answer.
    pub(crate) cpu_us: f64,
    /// The same, as a multiple of what echo needs in the same round.
    pub(crate) x_echo: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) rss_mb: f64,
    /// Queries without an answer, of all rounds.
    pub(crate) lost: u64,
}

/// Compares each row with echo's of the same round and load.
pub(crate) fn compare(round: &mut [Row]) {
    let echoes: Vec<Row> = round.iter().filter(|row| row.server == "echo").cloned().collect();
    for row in round {
        let echo = echoes.iter().find(|echo| echo.load == row.load);
        row.x_echo = echo.map_or(0.0, |echo| row.cpu_us / echo.cpu_us);
    }
}

/// One line for each server and load, in the order in which they came first.
pub(crate) fn medians(measured: &[Row]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for one in measured {
        let same = |row: &&Row| row.server == one.server && row.load == one.load;
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
            server: one.server.clone(),
            load: one.load.clone(),
            qps: of(|row| row.qps).round(),
            cpu_us: of(|row| row.cpu_us),
            x_echo: of(|row| row.x_echo),
            p50_us: of(|row| row.p50_us),
            p99_us: of(|row| row.p99_us),
            rss_mb: of(|row| row.rss_mb),
            lost: of_it.iter().map(|row| row.lost).sum(),
        });
    }
    rows
}

pub(crate) fn show(rows: &[Row]) {
    let mut loads: Vec<&str> = Vec::new();
    for row in rows {
        if !loads.contains(&row.load.as_str()) {
            loads.push(&row.load);
        }
    }
    for load in loads {
        print("");
        print(format_args!(
            "  {load:<20} {:>9} {:>8} {:>7} {:>8} {:>8} {:>8} {:>6}",
            "q/s", "CPU us", "x echo", "p50 us", "p99 us", "MB", "lost"
        ));
        for row in rows.iter().filter(|row| row.load == load) {
            print(format_args!(
                "  {:<20} {:>9} {:>8.2} {:>7.2} {:>8.1} {:>8.1} {:>8.1} {:>6}",
                row.server,
                row.qps,
                row.cpu_us,
                row.x_echo,
                row.p50_us,
                row.p99_us,
                row.rss_mb,
                row.lost,
            ));
        }
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
