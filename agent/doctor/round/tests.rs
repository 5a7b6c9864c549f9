//! Rounds over checks that were made up: order, needs, limits, what is told of them.

use std::future::pending;

use super::*;
use crate::doctor::Looking;

const FINE: Check = Check {
    name: "fine",
    asks: "is it fine?",
    needs: &[],
    network: false,
    joined: false,
    look: |_| Box::pin(async { Finding::ok("it is") }),
};
const BROKEN: Check = Check {
    name: "broken",
    look: |_| Box::pin(async { Finding::failed("it is", "mend it").because("it fell") }),
    ..FINE
};
const NEEDS_BROKEN: Check = Check { name: "needs-broken", needs: &["fine", "broken"], ..FINE };
const NEEDS_THAT: Check = Check { name: "needs-that", needs: &["needs-broken"], ..FINE };
const FAR: Check = Check { name: "far", network: true, ..FINE };
const ONLY_JOINED: Check = Check { name: "only-joined", joined: true, ..FINE };
const WATCH: Check = Check {
    name: "watch",
    look: |_| Box::pin(async { Finding::warning("nearly", "look after it") }),
    ..FINE
};
const SILENT: Check = Check { name: "silent", look: |_| never(), ..FINE };
const NEEDS_SILENT: Check = Check { name: "needs-silent", needs: &["silent"], ..FINE };

fn never<'a>() -> Looking<'a> {
    Box::pin(pending())
}

async fn seen(patient: &Patient, selection: &Selection, checks: &'static [Check]) -> Report {
    of(&[Group { name: "all", checks }], patient, selection, PATIENCE, &mut ()).await
}

fn told(report: &Report) -> Vec<(&str, &str)> {
    report.checks.iter().map(|seen| (seen.name, seen.finding.evidence.as_str())).collect()
}

#[tokio::test]
async fn what_needs_something_that_failed_is_not_looked_at_and_says_what_failed_first() {
    let dir = tempfile::tempdir().unwrap();

    let all = &[FINE, BROKEN, NEEDS_BROKEN, NEEDS_THAT];
    let report = seen(&Patient::bare(dir.path()), &Selection::default(), all).await;

    assert_eq!(
        told(&report),
        [
            ("fine", "it is"),
            ("broken", "it is"),
            ("needs-broken", "not looked at: broken failed"),
            ("needs-that", "not looked at: broken failed"),
        ]
    );
    assert_eq!(report.summary, Summary { ok: 1, warning: 0, failed: 1, unknown: 2 });
}

#[tokio::test]
async fn the_first_thing_to_do_is_of_what_failed_first_and_only_then_of_what_is_to_watch() {
    let dir = tempfile::tempdir().unwrap();
    let patient = Patient::bare(dir.path());
    let first = async |checks| seen(&patient, &Selection::default(), checks).await.first;

    assert_eq!(first(&[WATCH, FINE, BROKEN]).await.as_deref(), Some("mend it"));
    assert_eq!(first(&[FINE, WATCH]).await.as_deref(), Some("look after it"));
    assert_eq!(first(&[FINE]).await, None);
}

#[tokio::test]
async fn offline_nobody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let offline = Selection { offline: true, ..Selection::default() };

    let report = seen(&Patient::bare(dir.path()), &offline, &[FINE, FAR]).await;

    assert_eq!(told(&report), [("fine", "it is"), ("far", "not looked at: --offline")]);
}

#[tokio::test]
async fn what_only_a_joined_machine_has_is_left_out_before_and_not_looked_at_without() {
    let dir = tempfile::tempdir().unwrap();
    let mut patient = Patient::bare(dir.path());
    let report = seen(&patient, &Selection::default(), &[FINE, ONLY_JOINED]).await;
    let why = "not looked at: this machine has not joined";
    assert_eq!(told(&report), [("fine", "it is"), ("only-joined", why)]);

    patient.preflight = true;
    let report = seen(&patient, &Selection::default(), &[FINE, ONLY_JOINED]).await;
    assert_eq!(told(&report), [("fine", "it is")]);
}

#[tokio::test]
async fn a_check_that_does_not_answer_is_given_up_and_named_while_it_is_waited_for() {
    struct Slow(Vec<&'static str>);
    impl Watcher for Slow {
        fn slow(&mut self, check: &Check) {
            self.0.push(check.name);
        }
        fn group(&mut self, _name: &str, _seen: &[Seen]) {}
    }
    let dir = tempfile::tempdir().unwrap();
    let groups = [Group { name: "all", checks: &[FINE, SILENT, NEEDS_SILENT] }];
    let mut slow = Slow(Vec::new());
    let patience = Patience { limit: Duration::from_millis(20), slow: Duration::from_millis(1) };
    let patient = Patient::bare(dir.path());

    let report = of(&groups, &patient, &Selection::default(), patience, &mut slow).await;

    let told: Vec<_> = told(&report).into_iter().skip(1).collect();
    let why = "not looked at: silent is not known";
    assert_eq!(told, [("silent", "did not answer in 20ms"), ("needs-silent", why)]);
    assert_eq!(slow.0, ["silent"]);
}

#[tokio::test]
async fn what_was_asked_for_brings_along_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let only = Selection { only: vec!["needs-that".to_owned()], ..Selection::default() };

    let all = &[FAR, FINE, BROKEN, WATCH, NEEDS_BROKEN, NEEDS_THAT];
    let report = seen(&Patient::bare(dir.path()), &only, all).await;

    let names: Vec<_> = report.checks.iter().map(|seen| seen.name).collect();
    assert_eq!(names, ["fine", "broken", "needs-broken", "needs-that"]);
}

#[tokio::test]
async fn the_files_of_a_tar_are_called_by_its_name() {
    const AT: Check = Check {
        name: "at",
        look: |_| Box::pin(async { Finding::ok("/tmp/hawser.x/istio-token is there") }),
        ..FINE
    };
    let dir = tempfile::tempdir().unwrap();
    let mut patient = Patient::bare(dir.path());
    patient.called = Some(("/tmp/hawser.x".into(), "vm.tar".into()));

    let report = seen(&patient, &Selection::default(), &[AT]).await;

    assert_eq!(told(&report), [("at", "vm.tar/istio-token is there")]);
}
