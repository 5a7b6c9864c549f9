//! Envoy: where it is, where it listens, how it ends, and where what it says goes.

use std::{path::PathBuf, time::Duration};

use hawser_envoy::{arguments::LogLevels, launch::LogTo};

use super::{Reader, accounts, parse};

/// Envoy, and its bootstrap.
#[derive(Debug, Clone)]
pub struct Envoy {
    /// The Envoy to start, if one was named.
    pub binary: Option<PathBuf>,
    /// Foreground mode: whether the agent starts it, and keeps it running.
    pub foreground: bool,
    /// The user that Envoy runs as, if it is not the agent's.
    pub user: Option<u32>,
    /// Its admin interface.
    pub admin_port: u16,
    /// Where it answers /healthz/ready.
    pub status_port: u16,
    /// Where it answers /stats/prometheus.
    pub prometheus_port: u16,
    /// Whether it serves both address families.
    pub dual_stack: bool,
    /// Its worker threads; 0 is one per core.
    pub concurrency: u32,
    /// How much it logs.
    pub log: LogLevels,
    /// Where what it says goes.
    pub log_to: LogTo,
    /// How long the mesh has to hear that the machine goes.
    pub drain_wait: Duration,
    /// How long connections may finish when it stops.
    pub drain: Duration,
}

impl Reader<'_> {
    pub(super) fn envoy(&mut self) -> Option<Envoy> {
        let binary = self.optional("envoy.binary", parse::file);
        let foreground = self.required("envoy.foreground", parse::boolean);
        let user = self.optional("envoy.user", accounts::user);
        let admin_port = self.required("envoy.admin_port", parse::port);
        let status_port = self.required("envoy.status_port", parse::port);
        let prometheus_port = self.required("envoy.prometheus_port", parse::port);
        let dual_stack = self.required("envoy.dual_stack", parse::boolean);
        let concurrency = self.required("envoy.concurrency", |text| text.parse().ok());
        let log = self.required("envoy.log_level", |text| text.parse::<LogLevels>().ok());
        let log_to = self.envoy_log();
        let drain_wait = self.required("envoy.drain_wait", parse::duration);
        let drain = self.required("envoy.drain", parse::duration);
        Some(Envoy {
            binary: binary?,
            foreground: foreground?,
            user: user?,
            admin_port: admin_port?,
            status_port: status_port?,
            prometheus_port: prometheus_port?,
            dual_stack: dual_stack?,
            concurrency: concurrency?,
            log: log?,
            log_to: log_to?,
            drain_wait: drain_wait?,
            drain: drain?,
        })
    }

    fn envoy_log(&mut self) -> Option<LogTo> {
        let path = self.required("envoy.log", |text| match text {
            "journal" => Some(None),
            text => parse::file(text).map(Some),
        });
        let size = self.required("envoy.log_size", parse::bytes);
        let keep = self
            .required("envoy.log_keep", |text| text.parse().ok().filter(|keep| *keep <= MOST_KEPT));
        let (size, keep) = (size?, keep?);
        Some(path?.map_or(LogTo::Journal, |path| LogTo::File { path, size, keep }))
    }
}

const MOST_KEPT: u32 = 100;
