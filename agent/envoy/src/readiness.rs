//! Whether Envoy is ready, from its statistics.
//!
//! Ready is: clusters and listeners came over xDS and were taken, the server is live, its workers
//! have started. Judged anew each time, so that an Envoy that was restarted has to earn it again.

use std::fmt;

use crate::admin::ServerState;

/// Which statistics [`judge`] wants, as the value of `filter` at Envoy's `/stats`.
pub const FILTER: &str = concat!(
    r"^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$",
    r"|^(server\.state|listener_manager\.workers_started)$"
);

/// Whether Envoy is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It serves what istiod has told it.
    Ready,
    /// Not yet, or not any more.
    NotReady(Reason),
}

/// Why Envoy is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing has come over xDS.
    NoConfig(Updates),
    /// Something has come, and Envoy would not take it.
    Rejected(Updates),
    /// Only clusters or only listeners have come.
    Incomplete(Updates),
    /// Envoy does not say what state it is in.
    Silent,
    /// The server is starting or draining.
    NotLive(ServerState),
    /// Nothing serves connections yet.
    NoWorkers,
}

/// How many updates came over xDS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Updates {
    /// Of clusters, those taken.
    pub cds_success: u64,
    /// Of clusters, those refused.
    pub cds_rejected: u64,
    /// Of listeners, those taken.
    pub lds_success: u64,
    /// Of listeners, those refused.
    pub lds_rejected: u64,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConfig(updates) => {
                write!(f, "config not received from XDS server (is Istiod running?): {updates}")
            }
            Self::Rejected(updates) => {
                write!(f, "config received from XDS server, but was rejected: {updates}")
            }
            Self::Incomplete(updates) => {
                write!(f, "config not fully received from XDS server: {updates}")
            }
            Self::Silent => f.write_str("server state not found in the statistics of Envoy"),
            Self::NotLive(state) => write!(f, "server is not live, current state is: {state}"),
            Self::NoWorkers => f.write_str("workers have not yet started"),
        }
    }
}

impl fmt::Display for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cds_success, cds_rejected, lds_success, lds_rejected } = self;
        write!(
            f,
            "cds updates: {cds_success} successful, {cds_rejected} rejected; \
             lds updates: {lds_success} successful, {lds_rejected} rejected"
        )
    }
}

/// Judges by the lines of `/stats`, each `name: value`.
pub fn judge(stats: &str) -> Verdict {
    let mut updates = Updates::default();
    let mut state = None;
    let mut workers = None;
    for (name, value) in stats.lines().filter_map(|line| line.split_once(':')) {
        let Ok(value) = value.trim().parse::<u64>() else { continue };
        match name {
            "cluster_manager.cds.update_success" => updates.cds_success = value,
            "cluster_manager.cds.update_rejected" => updates.cds_rejected = value,
            "listener_manager.lds.update_success" => updates.lds_success = value,
            "listener_manager.lds.update_rejected" => updates.lds_rejected = value,
            "server.state" => state = ServerState::from_number(value),
            "listener_manager.workers_started" => workers = Some(value),
            _ => {}
        }
    }
    let config = if updates.cds_success > 0 && updates.lds_success > 0 {
        None
    } else if updates.cds_rejected > 0 || updates.lds_rejected > 0 {
        Some(Reason::Rejected(updates))
    } else if updates.cds_success == 0 && updates.lds_success == 0 {
        Some(Reason::NoConfig(updates))
    } else {
        Some(Reason::Incomplete(updates))
    };
    match (config, state, workers) {
        (Some(reason), ..) => Verdict::NotReady(reason),
        (None, None, _) | (None, _, None) => Verdict::NotReady(Reason::Silent),
        (None, Some(ServerState::Live), Some(1)) => Verdict::Ready,
        (None, Some(ServerState::Live), Some(_)) => Verdict::NotReady(Reason::NoWorkers),
        (None, Some(state), Some(_)) => Verdict::NotReady(Reason::NotLive(state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_missing_is_the_reason() {
        let cases = [
            (
                "",
                "config not received from XDS server (is Istiod running?): \
                 cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected",
            ),
            (
                "server.state: 2\nlistener_manager.workers_started: 0\n",
                "config not received from XDS server (is Istiod running?): \
                 cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected",
            ),
            (
                "cluster_manager.cds.update_success: 3\n",
                "config not fully received from XDS server: \
                 cds updates: 3 successful, 0 rejected; lds updates: 0 successful, 0 rejected",
            ),
            (
                "cluster_manager.cds.update_success: 3\nlistener_manager.lds.update_rejected: 2\n",
                "config received from XDS server, but was rejected: \
                 cds updates: 3 successful, 0 rejected; lds updates: 0 successful, 2 rejected",
            ),
            (
                "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\n",
                "server state not found in the statistics of Envoy",
            ),
            (
                "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\n\
                 server.state: 2\nlistener_manager.workers_started: 0\n",
                "server is not live, current state is: PRE_INITIALIZING",
            ),
            (
                "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\n\
                 server.state: 0\nlistener_manager.workers_started: 0\n",
                "workers have not yet started",
            ),
        ];

        for (stats, expected) in cases {
            let Verdict::NotReady(reason) = judge(stats) else { panic!("ready: {stats}") };
            assert_eq!(reason.to_string(), expected);
        }
    }

    #[test]
    fn a_live_server_with_config_and_workers_is_ready_whatever_else_it_says() {
        let stats = "cluster_manager.cds.update_success: 2\r\ncluster_manager.cds.update_rejected: 1\n\
                     listener_manager.lds.update_success: 1\nlistener_manager.workers_started: 1\n\
                     server.state: 0\nno line\nserver.version: x\n";

        assert_eq!(judge(stats), Verdict::Ready);
    }
}
