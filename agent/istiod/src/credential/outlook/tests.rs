//! What a credential says of itself, in words.

use std::path::PathBuf;

use super::*;
use crate::{tests::mesh::Mesh, token::tests::jwt};

const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_token_is_opened_and_its_faults_come_with_a_remedy() {
    let file = TokenSource::File(PathBuf::from("/run/token"));
    let program = TokenSource::Command("/usr/bin/token --for vm".parse().unwrap());
    let gce =
        TokenSource::Gce { metadata: "m:80".to_owned(), audience: "cluster.local".to_owned() };
    let good = jwt(r#"{"aud":"istio-ca","exp":2000,"sub":"system:serviceaccount:vms:vm"}"#);
    let other = jwt(r#"{"aud":"vault","exp":2000}"#);
    let machine = jwt(r#"{"aud":"cluster.local","exp":2000}"#);
    let table = [
        (&file, good.as_str(), 1999, None),
        (
            &file,
            good.as_str(),
            2000 + 10_800,
            Some("expired 3 h ago; write a fresh one with `istioctl"),
        ),
        (
            &program,
            good.as_str(),
            2060,
            Some("expired 60 s ago; see what istiod.token_command prints"),
        ),
        (&file, other.as_str(), 1, Some("made for audience vault, not for istio-ca; write")),
        (&gce, machine.as_str(), 1, None),
        (&gce, good.as_str(), 1, Some("made for audience istio-ca, not for cluster.local; see")),
        (&file, "opaque", 1, Some("not a JWT (it has not three parts)")),
    ];
    for (source, token, now, note) in table {
        let prospect = Prospect::token(source, token, at(now));
        assert_eq!(prospect.usable, note.is_none(), "{prospect:?}");
        assert_eq!(prospect.what, source.to_string());
        let said = prospect.note.unwrap_or_default();
        assert!(said.starts_with(note.unwrap_or_default()), "{said}");
    }
    let prospect = Prospect::token(&file, &good, at(1));
    assert_eq!(prospect.what, "token file /run/token");
    assert_eq!(prospect.expires, Some(at(2000)));
    assert_eq!(prospect.subject.as_deref(), Some("system:serviceaccount:vms:vm"));
    assert_eq!(prospect.audiences, ["istio-ca"]);
    assert_eq!(program.to_string(), "token of the program /usr/bin/token");
}

#[test]
fn a_token_is_stale_when_no_clock_could_be_that_wrong() {
    let token = jwt(r#"{"aud":"istio-ca","exp":2000}"#);
    for (now, expected) in
        [(0, Age::Fresh), (2000, Age::Fresh), (2300, Age::Fresh), (2301, Age::Stale)]
    {
        assert_eq!(age(&token, at(now)), expected, "at {now}");
    }
    assert_eq!(age(&jwt("{}"), at(9000)), Age::Fresh, "it does not say");
    assert_eq!(age("opaque", at(9000)), Age::Fresh, "it cannot be asked");
}

#[test]
fn a_certificate_is_good_within_its_window() {
    let identity = Mesh::new().identity(HOUR);
    let (begin, end) = (identity.not_before(), identity.not_after());
    let looked_at = |now| Prospect::certificate("own certificate".to_owned(), &identity.chain, now);

    let now = looked_at(begin + HOUR);
    assert!(now.usable && now.note.is_none());
    assert_eq!(now.expires, Some(end));
    assert_eq!(now.subject.as_deref(), Some("spiffe://cluster.local/ns/vms/sa/vm"));
    let early = looked_at(begin - 2 * HOUR);
    assert!(!early.usable);
    assert_eq!(early.note.as_deref(), Some("valid only in 2 h; check this machine's clock"));
    let late = looked_at(end + 3 * HOUR);
    assert!(!late.usable);
    assert_eq!(late.note.as_deref(), Some("expired 3 h ago"));
}

#[test]
fn a_certificate_that_is_nobody_of_the_mesh_has_no_subject() {
    let (chain, _) = Mesh::new().server_pem("vm.example");
    let chain = Chain::from_pem(&chain).unwrap();
    assert_eq!(Prospect::certificate(String::new(), &chain, at(1 << 31)).subject, None);
}
