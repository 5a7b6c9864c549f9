//! Each trouble is found by what shows it and by nothing else, and has its remedy.

use std::collections::BTreeSet;

use super::*;
use crate::status::{
    examples::{self, NOW, judged},
    identity::ExportStatus,
};

fn codes(of: &Snapshot) -> Vec<&str> {
    of.troubles.iter().map(|trouble| trouble.code.as_str()).collect()
}

#[test]
fn a_healthy_machine_has_none_and_each_example_its_state() {
    let table = [
        (examples::healthy(), State::Ready),
        (examples::certificates_only(), State::Ready),
        (examples::starting(), State::Starting),
        (examples::stale(), State::Degraded),
        (examples::degraded(), State::Degraded),
        (examples::draining(), State::Draining),
        (examples::maintained(), State::Maintenance),
    ];
    for (of, state) in table {
        assert_eq!(of.state, state, "{:?}", of.troubles);
        assert_eq!(of.troubles.is_empty(), state == State::Ready, "{:?}", of.troubles);
    }
}

/// What changes a healthy machine, what is found then, and what is to be done.
type Case = (&'static str, fn(&mut Snapshot), &'static str);

const CASES: &[Case] = &[
    (
        "maintenance",
        |of| of.maintenance = examples::maintained().maintenance,
        "hawser maintenance off",
    ),
    ("draining", |of| of.draining = Some("its Envoy drains".into()), "hawser drain --undo"),
    ("settings-wrong", |of| of.settings.wrong = 2, "hawser check"),
    (
        "settings-pending",
        |of| of.settings.pending = vec!["dns.timeout".into()],
        "systemctl restart hawser",
    ),
    (
        "identity-none",
        |of| {
            of.identity.spiffe_id = None;
            of.identity.expires_in = None;
            of.identity.trouble = Some("refused".into());
        },
        "hawser doctor",
    ),
    ("identity-expired", |of| of.identity.expires_in = Some(-3), "hawser doctor"),
    ("identity-not-renewed", |of| of.identity.trouble = Some("refused".into()), "hawser doctor"),
    (
        "identity-not-renewed",
        |of| {
            of.identity.trouble = Some("expired".into());
            of.identity.source = "files".into();
        },
        "hawser identity show # whoever writes",
    ),
    (
        "identity-not-renewed",
        |of| {
            of.identity.trouble = Some("refused".into());
            of.identity.would_show[0].usable = false;
        },
        "hawser join BUNDLE",
    ),
    (
        "identity-nothing-to-show",
        |of| of.identity.would_show[0].usable = false,
        "hawser join BUNDLE",
    ),
    ("services-wrong", |of| of.services = examples::beside().services, "hawser check"),
    (
        "identity-not-believed",
        |of| of.identity.remark = Some("it has no SPIFFE id".into()),
        "hawser identity show",
    ),
    ("identity-not-kept", |of| of.identity.not_kept = Some("disk full".into()), "df -h"),
    ("istiod-away", |of| of.istiod.as_mut().unwrap().away = Some(NOW - BRIEFLY), "hawser doctor"),
    (
        "stream-away",
        |of| {
            let relay = of.relay.as_mut().unwrap();
            (relay.attempts, relay.trouble) = (2, Some("refused".into()));
        },
        "hawser doctor",
    ),
    ("stale", |of| of.relay = examples::stale().relay, "hawser doctor"),
    (
        "envoy-gone",
        |of| {
            of.units.envoy.as_mut().unwrap().pid = None;
            of.envoy.as_mut().unwrap().says = Some(silent());
        },
        "systemctl start hawser-envoy",
    ),
    (
        "envoy-gone",
        |of| {
            let unit = of.units.envoy.as_mut().unwrap();
            (unit.pid, unit.ended) = (None, Some(envoy::EndedStatus::default()));
            of.envoy.as_mut().unwrap().says = Some(silent());
        },
        "journalctl -u hawser-envoy",
    ),
    (
        "envoy-gone",
        |of| {
            of.units.envoy = None;
            of.envoy.as_mut().unwrap().says = Some(silent());
        },
        "systemctl start hawser-envoy",
    ),
    (
        "envoy-gone",
        |of| {
            let envoy = of.envoy.as_mut().unwrap();
            (envoy.state, envoy.says) = ("restarting".into(), Some(silent()));
        },
        "journalctl -u hawser -n",
    ),
    (
        "envoy-starting",
        |of| {
            of.envoy = examples::starting().envoy;
            of.units.envoy = examples::starting().units.envoy;
        },
        "hawser status --wait-ready",
    ),
    ("envoy-starting", |of| of.envoy = examples::starting().envoy, "hawser doctor"),
    ("envoy-not-ready", |of| of.envoy.as_mut().unwrap().says = Some(silent()), "hawser doctor"),
    (
        "envoy-old-bootstrap",
        |of| of.units.envoy.as_mut().unwrap().refused = Some("bad".into()),
        "journalctl -u hawser-envoy",
    ),
    (
        "envoy-refuses",
        |of| of.relay.as_mut().unwrap().types.values_mut().for_each(|seen| seen.refuses = true),
        "hawser xds show",
    ),
    (
        "envoy-refuses",
        |of| {
            of.relay.as_mut().unwrap().types.values_mut().for_each(|seen| {
                let why = "hawser/127.240.0.1:80: cannot bind '127.240.0.1:80': Permission denied";
                (seen.refuses, seen.rejected) = (true, Some(why.into()));
            });
        },
        "cat /usr/share/hawser/low-ports.conf",
    ),
    (
        "envoy-lacks",
        |of| {
            let lacks = examples::degraded().relay.unwrap().lacks;
            of.relay.as_mut().unwrap().lacks = lacks;
        },
        "hawser doctor",
    ),
    (
        "module-missing",
        |of| of.relay.as_mut().unwrap().replaced = examples::degraded().relay.unwrap().replaced,
        "journalctl",
    ),
    (
        "program-refuses",
        |of| of.relay.as_mut().unwrap().refusing = examples::degraded().relay.unwrap().refusing,
        "hawser doctor",
    ),
    (
        "configuration-not-kept",
        |of| of.relay.as_mut().unwrap().kept.trouble = Some("disk full".into()),
        "df -h",
    ),
    ("no-resolver", |of| of.dns.as_mut().unwrap().resolvers.clear(), "hawser config"),
    (
        "resolver-loops",
        |of| of.dns.as_mut().unwrap().resolvers[0].looping = true,
        "hawser dns explain",
    ),
    (
        "resolvers-silent",
        |of| of.dns.as_mut().unwrap().resolvers[0].state = "silent".into(),
        "hawser dns explain",
    ),
    ("rules-missing", |of| of.units.intercept = None, "systemctl start hawser-intercept"),
    (
        "rules-missing",
        |of| of.units.intercept.as_mut().unwrap().trouble = Some("no nft".into()),
        "journalctl -u hawser-intercept",
    ),
    (
        "rules-missing",
        |of| {
            let phase = Phase::Holding;
            of.units.intercept.as_mut().unwrap().phase = phase;
        },
        "journalctl -u hawser-envoy",
    ),
    (
        "rules-drifted",
        |of| of.units.intercept = examples::degraded().units.intercept,
        "hawser intercept show",
    ),
    ("workload-unwell", |of| of.health.as_mut().unwrap().well = false, "hawser doctor"),
    (
        "files-not-written",
        |of| of.identity.export = Some(ExportStatus { at: None, trouble: Some("no".into()) }),
        "hawser identity show",
    ),
];

#[test]
fn each_trouble_is_found_alone_and_has_its_remedy() {
    for (code, change, next) in CASES {
        let mut of = examples::healthy();
        change(&mut of);
        let of = judged(of);
        assert_eq!(codes(&of), [*code], "{:?}", of.troubles);
        assert!(of.troubles[0].next.starts_with(next), "{code}: {:?}", of.troubles[0].next);
        assert!(!of.troubles[0].what.is_empty(), "{code}");
    }
}

#[test]
fn no_trouble_is_without_a_case_and_no_two_have_one_name() {
    let known: BTreeSet<&str> = AILMENTS.iter().map(|ailment| ailment.code).collect();
    let tried: BTreeSet<&str> = CASES.iter().map(|(code, ..)| *code).collect();
    assert_eq!(known, tried);
    assert_eq!(known.len(), AILMENTS.len());
}

#[test]
fn an_istiod_that_was_away_for_a_moment_is_no_trouble() {
    let mut of = examples::healthy();
    of.istiod.as_mut().unwrap().away = Some(NOW - BRIEFLY + 1);
    assert_eq!(judged(of).state, State::Ready);
}

#[test]
fn rules_that_were_put_back_long_ago_are_none_either() {
    let mut of = examples::degraded();
    of.units.intercept.as_mut().unwrap().drift.as_mut().unwrap().at = NOW - LATELY;
    assert!(!codes(&judged(of)).contains(&"rules-drifted"));
}

fn silent() -> crate::status::mesh::SaysStatus {
    let reason = Some("connect to 127.0.0.1:15000: connection refused".to_owned());
    crate::status::mesh::SaysStatus { ready: false, server: None, version: None, reason }
}
