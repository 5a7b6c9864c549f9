//! Answers and leases as values.

use proptest::prelude::*;

use crate::{
    answer::{Granted, Said, Signature, fuzz},
    lease::Lease,
};

use super::*;

fn granted(ttl: u64, renewable: bool) -> Granted {
    let body = format!(
        r#"{{"auth":{{"client_token":"s.x","lease_duration":{ttl},"renewable":{renewable}}}}}"#
    );
    Granted::read(body.as_bytes()).unwrap()
}

#[test]
fn a_lease_is_renewed_in_the_middle_unless_it_cannot_or_need_not_be() {
    let now = SystemTime::UNIX_EPOCH + HOUR;
    let table = [
        (3600, true, Some(1800)),
        (5, true, Some(2)),
        (2, true, None),
        (3600, false, None),
        (0, true, None),
    ];
    for (ttl, renewable, expected) in table {
        let lease = Lease::of(granted(ttl, renewable), now);
        let renewal = lease.renewal().map(|at| at.duration_since(now).unwrap().as_secs());
        assert_eq!(renewal, expected, "{ttl} {renewable}");
    }
}

#[test]
fn a_lease_is_shown_until_shortly_before_its_end() {
    let now = SystemTime::UNIX_EPOCH + HOUR;
    let lease = Lease::of(granted(60, true), now);
    let good = |seconds| lease.is_good_at(now + Duration::from_secs(seconds));
    assert!(good(0) && good(57) && !good(58) && !good(1000));
    assert!(lease.is_good_at(now - HOUR), "a clock that was set back says nothing");
    assert!(Lease::of(granted(0, false), now).is_good_at(now + 10_000 * HOUR));
    assert!(Lease::of(granted(u64::MAX, true), now).ends().is_some());
}

#[test]
fn a_signature_without_a_chain_has_its_issuer() {
    let read = |body: &str| Signature::read(body.as_bytes()).map(|signature| signature.chain);
    let (leaf, with) = (r#""certificate":"leaf","issuing_ca":"ca""#, r#","ca_chain":["a","b"]"#);
    assert_eq!(read(&format!(r#"{{"data":{{{leaf}{with}}}}}"#)).unwrap(), ["leaf", "a", "b"]);
    for chain in ["", r#","ca_chain":null"#, r#","ca_chain":[]"#] {
        assert_eq!(read(&format!(r#"{{"data":{{{leaf}{chain}}}}}"#)).unwrap(), ["leaf", "ca"]);
    }
    let many = format!(r#"{{"data":{{{leaf},"ca_chain":[{}"x"]}}}}"#, r#""x","#.repeat(15));
    assert!(read(&many).is_err());
}

#[test]
fn what_vault_says_is_one_line_and_short() {
    let said = |body: &str| Said::read(body.as_bytes()).to_string();
    assert_eq!(
        said(r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#),
        ": 1 error occurred: * permission denied"
    );
    assert_eq!(said(r#"{"errors":["a","b\u001b[31m"]}"#), ": a; b[31m");
    assert_eq!(said(r#"{"errors":[]}"#), "");
    assert_eq!(said("<html>"), "");
    let long = format!(r#"{{"errors":["{}"]}}"#, "x".repeat(5000));
    assert_eq!(said(&long).len(), 514);
}

proptest! {
    #[test]
    fn no_answer_upsets(body in "\\PC{0,200}", bytes in any::<Vec<u8>>()) {
        fuzz(body.as_bytes());
        fuzz(&bytes);
        fuzz(format!("{{\"data\":{body}}}").as_bytes());
    }
}
