//! Envoy's command line.
//!
//! The same flags in the same order as Istio gives them, so that what people know of one holds
//! for the other.

use std::{ffi::OsString, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::Error;

/// What Envoy is told on its command line.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// The bootstrap file.
    pub bootstrap: PathBuf,
    /// `drainDuration`: how long Envoy takes its time to close a connection it drains.
    pub drain: Duration,
    /// Whether the machine has IPv6 addresses only.
    pub ipv6_only: bool,
    /// `fileFlushInterval`: how long a line of an access log may wait.
    pub file_flush_interval: Duration,
    /// `fileFlushMinSizeKb`: how much of an access log may wait; zero for Envoy's own choice.
    pub file_flush_min_size_kb: u32,
    /// What Envoy logs.
    pub log: LogLevels,
    /// `ENVOY_SKIP_DEPRECATED_LOGS`.
    pub skip_deprecated_logs: bool,
    /// Worker threads; zero for one to each processor.
    pub concurrency: u32,
}

impl Arguments {
    /// Istio's defaults for a machine with the addresses `ips`.
    pub fn new(bootstrap: PathBuf, ips: &[IpAddr]) -> Self {
        Self {
            bootstrap,
            drain: Duration::from_secs(45),
            ipv6_only: !ips.is_empty() && ips.iter().all(IpAddr::is_ipv6),
            file_flush_interval: Duration::from_secs(1),
            file_flush_min_size_kb: 0,
            log: LogLevels::default(),
            skip_deprecated_logs: true,
            concurrency: 0,
        }
    }

    /// The arguments, without the name of the binary.
    pub fn list(&self) -> Vec<OsString> {
        let mut list: Vec<OsString> = vec!["-c".into(), self.bootstrap.clone().into()];
        let mut add = |arguments: &[&str]| list.extend(arguments.iter().map(OsString::from));
        add(&["--drain-time-s", &self.drain.as_secs().to_string()]);
        add(&["--drain-strategy", "immediate"]);
        add(&["--local-address-ip-version", if self.ipv6_only { "v6" } else { "v4" }]);
        add(&["--file-flush-interval-msec", &self.file_flush_interval.as_millis().to_string()]);
        add(&["--disable-hot-restart", "--allow-unknown-static-fields"]);
        if self.file_flush_min_size_kb > 0 {
            add(&["--file-flush-min-size-kb", &self.file_flush_min_size_kb.to_string()]);
        }
        if let Some(level) = &self.log.level {
            add(&["-l", level]);
        }
        if !self.log.components.is_empty() {
            add(&["--component-log-level", &self.log.components.join(",")]);
        }
        if self.skip_deprecated_logs {
            add(&["--skip-deprecated-logs"]);
        }
        if self.concurrency > 0 {
            add(&["--concurrency", &self.concurrency.to_string()]);
        }
        list
    }
}

/// What Envoy logs: `LEVEL` and `COMPONENT:LEVEL`, joined by commas; of several bare levels the
/// last counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevels {
    level: Option<String>,
    components: Vec<String>,
}

impl Default for LogLevels {
    fn default() -> Self {
        Self { level: Some("warning".into()), components: Vec::new() }
    }
}

impl FromStr for LogLevels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut levels = Self { level: None, components: Vec::new() };
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (component, level) =
                item.split_once(':').map_or((None, item), |(c, l)| (Some(c), l));
            if !LEVELS.contains(&level) || component.is_some_and(str::is_empty) {
                return Err(Error::LogLevel { item: item.to_owned() });
            }
            match component {
                Some(_) => levels.components.push(item.to_owned()),
                None => levels.level = Some(level.to_owned()),
            }
        }
        Ok(levels)
    }
}

const LEVELS: [&str; 8] = ["trace", "debug", "info", "warning", "warn", "error", "critical", "off"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_istios() {
        let arguments = |ips: &[&str]| {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            Arguments::new("/e.json".into(), &ips)
        };
        let log = |text: &str| text.parse().unwrap();
        let v4 = arguments(&["10.0.0.1"]);
        let start =
            "-c /e.json --drain-time-s 45 --drain-strategy immediate --local-address-ip-version";
        let flags =
            "--file-flush-interval-msec 1000 --disable-hot-restart --allow-unknown-static-fields";
        let cases = [
            (v4.clone(), format!("{start} v4 {flags} -l warning --skip-deprecated-logs")),
            (
                arguments(&["fd00::1", "10.0.0.1"]),
                format!("{start} v4 {flags} -l warning --skip-deprecated-logs"),
            ),
            (
                arguments(&["fd00::1", "fd00::2"]),
                format!("{start} v6 {flags} -l warning --skip-deprecated-logs"),
            ),
            (
                Arguments { log: log("info,http:debug,router:trace"), ..v4.clone() },
                format!(
                    "{start} v4 {flags} -l info --component-log-level http:debug,router:trace --skip-deprecated-logs"
                ),
            ),
            (
                Arguments {
                    log: log("http:debug"),
                    skip_deprecated_logs: false,
                    concurrency: 2,
                    file_flush_min_size_kb: 64,
                    ..v4
                },
                format!(
                    "{start} v4 {flags} --file-flush-min-size-kb 64 --component-log-level http:debug --concurrency 2"
                ),
            ),
        ];

        for (arguments, expected) in cases {
            assert_eq!(arguments.list().join(" ".as_ref()), OsString::from(expected));
        }
    }

    #[test]
    fn a_log_level_that_envoy_would_refuse_is_refused_here() {
        for text in ["loud", "http:loud", ":debug", "http:debug:x", "info,http:"] {
            let error = text.parse::<LogLevels>().unwrap_err().to_string();
            assert!(error.starts_with("log level \""), "{error}");
        }
        assert_eq!(
            "info, error,".parse::<LogLevels>().unwrap(),
            LogLevels { level: Some("error".into()), components: vec![] }
        );
    }
}
