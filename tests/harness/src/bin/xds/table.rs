//! The result: rows, and how they are printed.

use hawser_harness::bench::rows;
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

impl rows::Row for Row {
    fn is_like(&self, other: &Self) -> bool {
        self.proxy == other.proxy && self.mb == other.mb
    }

    fn figures(&mut self) -> Vec<&mut f64> {
        let Self { cpu_ms, idle_mb, peak_mb, after_mb, .. } = self;
        vec![cpu_ms, idle_mb, peak_mb, after_mb]
    }
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
