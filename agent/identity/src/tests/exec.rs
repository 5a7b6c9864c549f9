//! A program that prints the pair.

use hawser_harness::ca::{Shape, TestCa};

use super::rig::*;
use crate::{AtRest, Printed, Source};

/// A program that prints a file, and notes each run.
fn plan(rig: &Rig) -> Plan {
    let (pair, runs) = (rig.path("pair"), rig.path("runs"));
    rig.write(
        "issue.sh",
        &format!(
            "echo \"$HAWSER_SPIFFE_ID $HAWSER_TRUST_DOMAIN $HAWSER_TTL\" >>{}\n\
         test -e {pair} || {{ echo 'not logged in' >&2; exit 3; }}\ncat {pair}\n",
            runs.display(),
            pair = pair.display(),
        ),
    );
    let command = format!("/bin/sh {}", rig.path("issue.sh").display()).parse().unwrap();
    let source = Source::Command(Printed { command, roots: None });
    Plan { source, ttl: HOUR, ..Plan::default() }
}

fn issue(rig: &Rig, ca: &TestCa) {
    let pair = ca.workload(VM, HOUR).unwrap();
    rig.write("pair", &format!("{}{}{}", pair.key, pair.chain, ca.root_pem()));
}

fn runs(rig: &Rig) -> Vec<String> {
    let text = std::fs::read_to_string(rig.path("runs")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_it_prints_is_served_and_it_is_run_again_before_that_expires() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::Intermediate);
    issue(&rig, &ca);

    let mut running = rig.start_as(plan(&rig));

    let first = running.identity().await;
    assert_eq!(first.roots.pem(), ca.root_pem());
    running.gates.all_open().await;
    let progress = running.told(|progress| progress.next.is_some()).await;
    assert_eq!((progress.source.as_str(), progress.at_rest), ("command", AtRest::NotOurs));
    assert!(progress.obtained.unwrap().credential.starts_with("the program /bin/sh"));
    assert_eq!(runs(&rig), [format!("{VM} cluster.local 3600")]);
    issue(&rig, &ca);
    rig.settled().await;
    rig.pass(HOUR * 6 / 10);
    running.renewed(&first).await;
    assert_eq!(runs(&rig).len(), 2);
    assert!(rig.istiod.seen().csrs.is_empty());
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_its_words_and_run_again() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);

    let mut running = rig.start_as(plan(&rig));

    let trouble = running.trouble().await;
    assert!(trouble.starts_with("run identity.command: program /bin/sh failed with"), "{trouble}");
    assert!(trouble.ends_with("not logged in"), "{trouble}");
    assert_eq!(running.gates.closed(), ["identity"]);
    issue(&rig, &ca);
    rig.settled().await;
    rig.pass(MINUTE);
    running.identity().await;
    running.well().await;
    let progress = running.progress.borrow().clone();
    assert_eq!((progress.asked, progress.failed), (2, 1));
}

#[tokio::test]
async fn who_wants_another_gets_one_at_once() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    issue(&rig, &ca);
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;
    running.told(|progress| progress.next.is_some()).await;
    issue(&rig, &ca);

    running.renew.notify_one();

    running.renewed(&first).await;
}

#[tokio::test]
async fn one_that_has_nothing_new_is_told_before_it_is_too_late_and_what_there_is_stays() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    issue(&rig, &ca);
    let mut running = rig.start_as(plan(&rig));
    let first = running.identity().await;

    rig.live_until(rig.hand.now() + HOUR * 9 / 10, || {}).await;

    let trouble = running.trouble().await;
    assert!(trouble.contains("goes on printing a certificate that expires in"), "{trouble}");
    assert_eq!(running.served().chain.pem(), first.chain.pem());
    issue(&rig, &ca);
    rig.pass(MINUTE);
    running.renewed(&first).await;
    running.well().await;
}

#[tokio::test]
async fn an_expired_or_foreign_pair_is_not_taken_for_a_good_one() {
    let rig = Rig::new().await;
    let ca = rig.other_ca(Shape::SelfSigned);
    let ended = ca.ended(VM, HOUR).unwrap();
    rig.write("pair", &format!("{}{}{}", ended.key, ended.chain, ca.root_pem()));
    let mut running = rig.start_as(plan(&rig));
    let trouble = running.trouble().await;
    assert!(trouble.contains("is not valid at this time"), "{trouble}");
    assert!(running.identity.borrow().is_none());

    let other = ca.workload("spiffe://cluster.local/ns/ns/sa/other", HOUR).unwrap();
    rig.write("pair", &format!("{}{}{}", other.key, other.chain, ca.root_pem()));
    running.renew.notify_one();
    let named = |trouble: String| trouble.contains("is for spiffe://cluster.local/ns/ns/sa/other");
    running.told(|progress| progress.trouble().is_some_and(named)).await;
    assert_eq!(running.served().spiffe_id().unwrap().service_account(), "other");
}
