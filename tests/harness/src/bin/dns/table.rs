//! The result: rows, and how they are printed.

use hawser_harness::bench::rows;
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
    /// Queries without an answer.
    pub(crate) lost: f64,
}

impl rows::Row for Row {
    fn is_like(&self, other: &Self) -> bool {
        self.server == other.server && self.load == other.load
    }

    fn figures(&mut self) -> Vec<&mut f64> {
        let Self { qps, cpu_us, x_echo, p50_us, p99_us, rss_mb, lost, .. } = self;
        vec![qps, cpu_us, x_echo, p50_us, p99_us, rss_mb, lost]
    }
}

/// Compares each row with echo's of the same round and load.
pub(crate) fn compare(round: &mut [Row]) {
    let echoes: Vec<Row> = round.iter().filter(|row| row.server == "echo").cloned().collect();
    for row in round {
        let echo = echoes.iter().find(|echo| echo.load == row.load);
        row.x_echo = echo.map_or(0.0, |echo| row.cpu_us / echo.cpu_us);
    }
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
                "  {:<20} {:>9.0} {:>8.2} {:>7.2} {:>8.1} {:>8.1} {:>8.1} {:>6}",
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
