//! Machines as they may be, for tests of what is said of them.

use super::{
    Snapshot, State, advice,
    identity::{ExportStatus, ProspectStatus},
    mesh::{
        HealthStatus, LacksStatus, RefusingStatus, ReplacedStatus, SaysStatus, StaleStatus,
        TypeStatus, VersionStatus,
    },
    past::{EndingStatus, PastStatus},
    services::{GatewayStatus, ServicesStatus},
};

/// What all of them call now.
pub(crate) const NOW: u64 = 1_800_000_000;

/// Nothing is wrong.
pub(crate) fn healthy() -> Snapshot {
    judged(serde_json::from_str(include_str!("examples/healthy.json")).unwrap())
}

/// It has just begun.
pub(crate) fn starting() -> Snapshot {
    let mut of = healthy();
    (of.since, of.past) = (NOW - 4, PastStatus::default());
    of.waits_for = vec!["identity".to_owned()];
    of.identity.spiffe_id = None;
    (of.identity.expires_in, of.identity.renews_at, of.identity.not_after) = (None, None, None);
    of.identity.trouble = Some("ask istiod for a certificate: connection refused".to_owned());
    of.identity.trouble_since = Some(NOW - 3);
    of.identity.would_show = vec![nothing("token file /etc/hawser/mesh/istio-token", true)];
    of.names = None;
    if let Some(dns) = &mut of.dns {
        dns.table = None;
        (dns.queries, dns.answered, dns.cached, dns.upstream, dns.relay_failed) = (0, 0, 0, 0, 0);
        dns.resolvers[0].state = "new".to_owned();
    }
    if let Some(istiod) = &mut of.istiod {
        (istiod.connected, istiod.since, istiod.heard, istiod.peer) = (false, None, None, None);
        (istiod.away, istiod.trouble) = (Some(NOW - 3), Some("connection refused".to_owned()));
    }
    if let Some(relay) = &mut of.relay {
        (relay.streams, relay.joined) = (0, 0);
        relay.types.clear();
    }
    if let Some(mesh) = &mut of.registration {
        mesh.since = None;
    }
    of.health = None;
    of.secrets.accepted = 0;
    if let Some(unit) = &mut of.units.envoy {
        unit.since = Some(NOW - 2);
    }
    if let Some(says) = of.envoy.as_mut().and_then(|envoy| envoy.says.as_mut()) {
        (says.ready, says.server) = (false, Some("PRE_INITIALIZING".to_owned()));
        says.reason = Some("server is not live, current state is: PRE_INITIALIZING".to_owned());
    }
    if let Some(report) = &mut of.units.intercept {
        report.phase = hawser_intercept::guard::Phase::Waiting;
        report.hits.clear();
    }
    judged(of)
}

/// It works, and much is wrong.
pub(crate) fn degraded() -> Snapshot {
    let mut of = healthy();
    of.past.restarts = 3;
    let how = "xds failed: read the state: no space left on device".to_owned();
    of.past.ended = Some(EndingStatus { at: Some(NOW - 700), how, asked: false });
    of.since = NOW - 699;
    of.identity.expires_in = Some(2_400);
    of.identity.not_after = Some(NOW + 2_400);
    of.identity.trouble = Some(
        "istiod.istio-system.svc:15012 refuses: Unauthenticated: token audience is wrong"
            .to_owned(),
    );
    of.identity.trouble_since = Some(NOW - 4_000);
    of.identity.would_show = vec![nothing("token file /etc/hawser/mesh/istio-token", false)];
    of.identity.not_kept = Some("no space left on device".to_owned());
    of.identity.export =
        Some(ExportStatus { at: None, trouble: Some("create /etc/certs: read-only".to_owned()) });
    let relay = of.relay.as_mut().unwrap();
    relay.kept.trouble = Some("no space left on device".to_owned());
    relay.refused_peers = 3;
    let listener = relay.types.keys().find(|type_url| type_url.ends_with("Listener")).cloned();
    let listener = relay.types.get_mut(&listener.unwrap()).unwrap();
    (listener.refuses, listener.rejections) = (true, 2);
    listener.rejected = Some(
        "Error adding/updating listener(s) virtualInbound: Didn't find a registered \
         implementation for 'istio.\x1b[31mstats' with type URL: 'stats.PluginConfig'"
            .to_owned(),
    );
    relay.lacks = vec![lacks("http filter", true), lacks("access log", false)];
    relay.replaced = vec![ReplacedStatus {
        name: "vms.auth".to_owned(),
        stops: true,
        reason: "fetch oci://registry.example/auth:1: 404".to_owned(),
    }];
    relay.refusing = vec![RefusingStatus {
        program: "grpc".to_owned(),
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
        reason: "bad".to_owned(),
    }];
    let dns = of.dns.as_mut().unwrap();
    dns.resolvers[0].state = "silent".to_owned();
    dns.resolvers[0].last_error = Some("no answer within 2 s".to_owned());
    let rules = of.units.intercept.as_mut().unwrap();
    rules.repairs = 5;
    rules.drift =
        Some(hawser_intercept::report::Drift { at: NOW - 30, what: "table gone".to_owned() });
    of.units.envoy.as_mut().unwrap().refused = Some("no such field: admin_".to_owned());
    of.health = Some(HealthStatus { well: false, reason: Some("http 503 at :8080/".to_owned()) });
    judged(of)
}

/// There is nothing to do but certificates.
pub(crate) fn certificates_only() -> Snapshot {
    let mut of = healthy();
    (of.istiod, of.names, of.relay, of.registration) = (None, None, None, None);
    (of.health, of.dns, of.envoy) = (None, None, None);
    (of.units, of.wanted) = (Default::default(), Default::default());
    judged(of)
}

/// There is no istiod: a file says what is called.
pub(crate) fn standalone() -> Snapshot {
    let mut of = healthy();
    (of.istiod, of.registration, of.health) = (None, None, None);
    of.services = Some(services(false));
    of.identity.source = "files".to_owned();
    of.identity.would_show.clear();
    of.names = Some(12);
    of.relay.as_mut().unwrap().source = Some("/etc/hawser/services.yaml".to_owned());
    of.wanted.rules = false;
    of.units.intercept = None;
    judged(of)
}

/// There are both, and somebody has damaged the file.
pub(crate) fn beside() -> Snapshot {
    let mut of = healthy();
    let problem = "/etc/hawser/services.yaml:12: services[3].port: found 70000: expected a port, \
                   1 to 65535";
    let mut services = services(true);
    (services.problems, services.problem_count) = (vec![problem.to_owned()], 3);
    services.wrong_since = Some(NOW - 90);
    services.conflicts = vec!["reviews.prod.svc.cluster.local".to_owned()];
    services.conflict_count = 2;
    services.forwarder = Some([10, 0, 0, 5].into());
    services.inbound = 1;
    of.services = Some(services);
    judged(of)
}

fn services(beside: bool) -> ServicesStatus {
    let gateway = |name: &str, priority| GatewayStatus {
        name: name.to_owned(),
        address: format!("{name}.example.com:15443"),
        locality: "eu-west-1/a".to_owned(),
        priority,
    };
    ServicesStatus {
        file: "/etc/hawser/services.yaml".to_owned(),
        beside,
        wins: "file".to_owned(),
        since: NOW - 3_600,
        services: 14,
        hosts: 12,
        range: "127.240.0.0/16".to_owned(),
        gateways: vec![gateway("gw1", 0), gateway("gw2", 1)],
        gateway_count: 2,
        ..ServicesStatus::default()
    }
}

/// istiod is away, and what it said before is used.
pub(crate) fn stale() -> Snapshot {
    let mut of = healthy();
    let istiod = of.istiod.as_mut().unwrap();
    (istiod.connected, istiod.since, istiod.away) = (false, None, Some(NOW - 750));
    istiod.failovers = 2;
    istiod.heard = Some(NOW - 760);
    istiod.trouble = Some(
        "istiod is not reachable: cannot connect to istiod.istio-system.svc:15012: \
         10.96.0.10:15012: no answer within 5 s; 10.96.0.11:15012: connection refused"
            .to_owned(),
    );
    let relay = of.relay.as_mut().unwrap();
    relay.stale = Some(StaleStatus { of: NOW - 7_900, since: NOW - 749 });
    (relay.joined, relay.attempts) = (0, 31);
    of.registration.as_mut().unwrap().since = None;
    let table = of.dns.as_mut().unwrap().table.as_mut().unwrap();
    (table.stale, table.at) = (true, NOW - 7_900);
    judged(of)
}

/// Its Envoy is to stop.
pub(crate) fn draining() -> Snapshot {
    let mut of = healthy();
    let why = "this machine is being taken out of the mesh: its Envoy drains";
    of.draining = Some(why.to_owned());
    of.health = Some(HealthStatus { well: false, reason: Some(why.to_owned()) });
    of.envoy.as_mut().unwrap().says = Some(SaysStatus {
        ready: false,
        server: Some("DRAINING".to_owned()),
        version: Some("1.34.1".to_owned()),
        reason: Some("server is not live, current state is: DRAINING".to_owned()),
    });
    judged(of)
}

/// Somebody works on it.
pub(crate) fn maintained() -> Snapshot {
    let mut of = healthy();
    of.health = Some(HealthStatus {
        well: false,
        reason: Some("this machine is in maintenance".to_owned()),
    });
    of.maintenance = Some(crate::maintenance::Spell {
        since: NOW - 600,
        until: Some(NOW + 3_000),
        reason: Some("a new disk".to_owned()),
    });
    judged(of)
}

/// Everything that others say is as long and as strange as they like.
pub(crate) fn hostile(said: &str) -> Snapshot {
    let mut of = degraded();
    let said = || said.to_owned();
    of.version = said();
    of.waits_for = vec![said()];
    of.identity.spiffe_id = Some(said());
    of.identity.would_show[0].what = said();
    of.identity.trouble = Some(said());
    let istiod = of.istiod.as_mut().unwrap();
    (istiod.address, istiod.peer, istiod.trouble) = (said(), Some(said()), Some(said()));
    let mesh = of.registration.as_mut().unwrap();
    (mesh.group, mesh.namespace, mesh.address) = (Some(said()), Some(said()), Some(said()));
    mesh.network = Some(said());
    let version = VersionStatus { version: said(), resources: usize::MAX, at: 0 };
    let seen = TypeStatus {
        sent: Some(version.clone()),
        accepted: Some(version),
        responses: 1,
        rejections: 1,
        rejected: Some(said()),
        refuses: true,
        kept: None,
    };
    of.relay.as_mut().unwrap().types.insert(said(), seen);
    of.health = Some(HealthStatus { well: false, reason: Some(said()) });
    let dns = of.dns.as_mut().unwrap();
    dns.resolvers[0].last_error = Some(said());
    dns.resolvers[0].program = Some(said());
    of.units.envoy.as_mut().unwrap().version = Some(said());
    let rules = of.units.intercept.as_mut().unwrap();
    (rules.trouble, rules.warnings) = (Some(said()), vec![said()]);
    of.past.ended = Some(EndingStatus { at: None, how: said(), asked: false });
    let mut file = services(true);
    (file.file, file.wins, file.range) = (said(), said(), said());
    (file.problems, file.conflicts) = (vec![said()], vec![said()]);
    file.gateways[0].address = said();
    of.services = Some(file);
    judged(of)
}

/// As the agent would say it.
pub(crate) fn judged(mut of: Snapshot) -> Snapshot {
    of.state = State::Starting;
    of.troubles = advice::troubles(&of);
    of.state = advice::state(&of);
    of
}

fn nothing(what: &str, usable: bool) -> ProspectStatus {
    ProspectStatus {
        what: what.to_owned(),
        usable,
        may_come: false,
        note: (!usable).then(|| "expired 3 h ago".to_owned()),
        expires: None,
        subject: None,
        audiences: Vec::new(),
    }
}

fn lacks(place: &str, passes: bool) -> LacksStatus {
    LacksStatus {
        place: place.to_owned(),
        name: "istio.stats".to_owned(),
        type_url: "type.googleapis.com/stats.PluginConfig".to_owned(),
        passes,
    }
}

#[cfg(test)]
mod tests {
    use hawser_harness::schema::Schema;

    use super::*;

    #[test]
    fn all_that_is_ever_said_is_described_by_the_schema() {
        let schema = include_str!("../../packaging/docs/status.schema.json");
        let schema = Schema::read(schema).unwrap();
        for of in [
            healthy(),
            starting(),
            degraded(),
            certificates_only(),
            standalone(),
            beside(),
            stale(),
            draining(),
            maintained(),
        ] {
            schema.holds(&serde_json::to_value(of).unwrap()).unwrap();
        }
    }
}
