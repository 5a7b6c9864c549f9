//! What a running Envoy says of itself.

use std::collections::BTreeMap;

use hawser_envoy::{
    admin::ServerState,
    readiness::{Reason, Verdict},
};
use hawser_rt::Chain;

use super::{
    super::{Finding, Patient, agent::some},
    asked, interface, pid, settings,
};

/// Whether it answers.
pub(super) async fn admin(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let at = interface(patient, config);
    match asked(patient, config).server_info().await {
        Ok(info) => Finding::ok(format!("Envoy {} answers at {at}, {}", info.version, info.state)),
        Err(error) => {
            let said = Chain(&error).to_string();
            match pid(patient) {
                Some(pid) => Finding::failed(
                    format!("Envoy runs (pid {pid}) and does not answer: {said}"),
                    "`systemctl restart hawser-envoy`",
                )
                .because("it hangs, or has its admin interface elsewhere than the settings say"),
                None => Finding::failed(
                    format!("Envoy does not answer: {said}"),
                    "`systemctl start hawser-envoy`, then `journalctl -u hawser-envoy -n 30`",
                )
                .because("it does not run"),
            }
        }
    }
}

/// Whether it has what it takes to serve.
pub(super) async fn ready(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let reason = match asked(patient, config).readiness().await {
        Ok(Verdict::Ready) => return Finding::ok("it serves what istiod has told it"),
        Ok(Verdict::NotReady(reason)) => reason,
        Err(error) => return Finding::unknown(Chain(&error).to_string()),
    };
    let (cause, remedy) = match reason {
        Reason::NoConfig(_) | Reason::Incomplete(_) => (
            "the agent has nothing for it: istiod does not answer, and nothing is kept",
            "`hawser doctor --only istiod`, `hawser status`",
        ),
        Reason::Rejected(_) => (
            "there is something in the configuration that this Envoy does not take",
            "`hawser doctor --only xds-accepted` says what",
        ),
        Reason::Silent => {
            ("it has other statistics than expected", "`hawser doctor --only envoy-version`")
        }
        Reason::NotLive(ServerState::Draining) => {
            ("it closes what it serves", "`systemctl restart hawser-envoy`")
        }
        Reason::NotLive(_) | Reason::NoWorkers => (
            "it waits for clusters, certificates or listeners",
            "`hawser doctor --only sds-served,xds-accepted`; `journalctl -u hawser-envoy -n 30`",
        ),
    };
    Finding::failed(reason.to_string(), remedy).because(cause)
}

/// Whether it is being taken out.
pub(super) async fn drained(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let snapshot = patient.snapshot.as_ref();
    if let Some(spell) = snapshot.and_then(|snapshot| snapshot.maintenance.as_ref()) {
        let remedy = "`hawser maintenance off` brings it back";
        return Finding::warning(spell.to_string(), remedy);
    }
    let why = snapshot.and_then(|snapshot| snapshot.draining.clone());
    if let Some(why) = why {
        return Finding::warning(
            format!("the machine is taken out of the mesh: {why}"),
            "`hawser drain --undo` brings it back",
        );
    }
    match asked(patient, config).server_info().await {
        Ok(info) if info.state == ServerState::Draining => Finding::warning(
            "Envoy drains: it closes connections, and takes no new ones",
            "`systemctl restart hawser-envoy`, unless it is about to be stopped",
        )
        .because("somebody has told it so over its admin interface"),
        Ok(_) => Finding::ok("it is in the mesh"),
        Err(error) => Finding::unknown(Chain(&error).to_string()),
    }
}

/// Services all of whose endpoints are ill.
pub(super) async fn endpoints(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let stats = match asked(patient, config).stats(MEMBERS).await {
        Ok(stats) => stats,
        Err(error) => return Finding::unknown(Chain(&error).to_string()),
    };
    let (clusters, ill) = ill(&stats);
    let Some(first) = ill.first() else {
        return Finding::ok(format!(
            "{clusters} clusters, none of which has only endpoints that are ill"
        ));
    };
    let name = first.rsplit('|').next().unwrap_or(first);
    Finding::warning(
        format!("no endpoint is well of {}", some(&ill)),
        format!("`hawser explain {name}` shows the way to it; `hawser doctor --only gateways`"),
    )
    .because("they do not answer Envoy, or have failed too often lately")
}

/// How many clusters have endpoints, and those with none that is well.
fn ill(stats: &str) -> (usize, Vec<String>) {
    let mut members: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (name, value) in stats.lines().filter_map(|line| line.rsplit_once(": ")) {
        let Some(rest) = name.strip_prefix("cluster.") else { continue };
        let Ok(value) = value.trim().parse() else { continue };
        if let Some(cluster) = rest.strip_suffix(".membership_total") {
            members.entry(cluster).or_default().0 = value;
        } else if let Some(cluster) = rest.strip_suffix(".membership_healthy") {
            members.entry(cluster).or_default().1 = value;
        }
    }
    let all = members.values().filter(|(total, _)| *total > 0).count();
    let ill = members.iter().filter(|(_, (total, healthy))| *total > 0 && *healthy == 0);
    (all, ill.map(|(cluster, _)| (*cluster).to_owned()).collect())
}

const MEMBERS: &str = r"^cluster\..*\.membership_(total|healthy)$";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_with_endpoints_of_which_none_is_well_is_named() {
        let stats = "cluster.outbound|80||a.example.membership_total: 2\n\
                     cluster.outbound|80||a.example.membership_healthy: 0\n\
                     cluster.b.membership_total: 1\ncluster.b.membership_healthy: 1\n\
                     cluster.none.membership_total: 0\ncluster.none.membership_healthy: 0\n\
                     other.membership_total: 3\n";
        assert_eq!(ill(stats), (2, vec!["outbound|80||a.example".to_owned()]));
    }
}
