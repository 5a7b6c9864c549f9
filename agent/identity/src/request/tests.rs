//! Answers, good and bad, without anybody who gives them.

use hawser_harness::ca::{Shape, TestCa, spiffe_id};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn id() -> SpiffeId {
    SpiffeId::new("cluster.local", "ns", "vm").unwrap()
}

/// What `wanted` makes of an answer that is `changed` from what a good one would be.
fn judged(
    now: SystemTime,
    identity: &str,
    change: impl FnOnce(&TestCa, &mut Vec<String>),
) -> Result<(), Error> {
    let ca = TestCa::new(Shape::Intermediate).unwrap();
    let (key, csr) = key_and_request(KeyKind::EcdsaP256, &id()).unwrap();
    let mut answer = ca.sign(&csr, &[identity.to_owned()], DAY.as_secs().cast_signed()).unwrap();
    change(&ca, &mut answer);
    let id = id();
    let wanted = Wanted { ca: "istiod:15012".to_owned(), id: &id, ttl: DAY };
    let identity = wanted.fitting(key, &answer)?;
    wanted.check(&identity, now)
}

fn text(error: &Error) -> String {
    hawser_rt::Chain(error).to_string()
}

#[test]
fn a_good_answer_is_good() {
    judged(SystemTime::now(), &spiffe_id("ns", "vm"), |_, _| {}).unwrap();
}

#[test]
fn answers_that_are_not_good_enough_are_told_apart() {
    type Change = fn(&TestCa, &mut Vec<String>);
    let table: [(&str, Change, &str); 8] = [
        ("empty", |_, answer| answer.clear(), "without a certificate chain and its root"),
        ("too short", |_, answer| answer.truncate(1), "without a certificate chain and its root"),
        ("garbage", |_, answer| answer[0] = "garbage".to_owned(), "cannot be used"),
        ("no roots", |_, answer| *answer.last_mut().unwrap() = String::new(), "no certificate"),
        ("no PEM", |_, answer| answer[0] = answer[0].replace('M', "*"), "cannot be used"),
        ("without its issuer", |_, answer| drop(answer.remove(1)), "does not chain to any"),
        (
            "under another root",
            |_, answer| {
                let other = TestCa::new(Shape::SelfSigned).unwrap();
                *answer.last_mut().unwrap() = other.root_pem();
            },
            "does not chain to any",
        ),
        (
            "for another key",
            |ca, answer| answer[0] = ca.workload(&spiffe_id("ns", "vm"), DAY).unwrap().chain,
            "key does not fit",
        ),
    ];
    for (what, change, expected) in table {
        let error = judged(SystemTime::now(), &spiffe_id("ns", "vm"), change).unwrap_err();
        let said = text(&error);
        assert!(said.starts_with("istiod:15012 answers"), "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
        assert!(error.is_bad_answer(), "{what}");
    }
}

#[test]
fn an_identity_of_somebody_else_is_named_with_what_to_do() {
    let said = judged(SystemTime::now(), &spiffe_id("ns", "other"), |_, _| {}).unwrap_err();
    let said = text(&said);
    assert!(said.contains("has issued spiffe://cluster.local/ns/ns/sa/other"), "{said}");
    assert!(said.contains("`hawser join`"), "{said}");
}

#[test]
fn a_certificate_of_another_time_says_how_far_the_clock_is_off() {
    let at = |now| text(&judged(now, &spiffe_id("ns", "vm"), |_, _| {}).unwrap_err());
    let now = SystemTime::now();
    let early = at(now - 10 * DAY);
    assert!(early.contains("valid in 9 d 23 h only: this machine's clock is behind"), "{early}");
    let late = at(now + 10 * DAY);
    assert!(late.contains("has expired"), "{late}");
    assert!(late.contains("clock is 10 d 0 h ahead"), "{late}");
}
