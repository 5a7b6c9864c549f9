//! What is taken out of a text, and what is left.

use proptest::prelude::*;

use super::*;

const JWT: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl-_x";
const KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nAwEHBG0wawIB\n-----END PRIVATE KEY-----";

#[test]
fn what_is_secret_is_taken_out_and_what_is_around_it_stays() {
    let m = MASK;
    let table = [
        (format!("a {JWT} b"), format!("a {m} b")),
        (format!("a\n{KEY}\nb"), format!("a\n{m}\nb")),
        (format!("x={:?} b", KEY), format!("x=\"{m}\" b")),
        ("authorization: Bearer abc def".into(), format!("authorization: {m}")),
        (
            r#"{"Authorization":"Basic dTpw","n":1}"#.into(),
            format!(r#"{{"Authorization":"{m}","n":1}}"#),
        ),
        (
            r#"error="bad \"x-foo-token\": \"abc\" here""#.into(),
            format!(r#"error="bad \"x-foo-token\": \"{m}\" here""#),
        ),
        ("cookie: a=b; c=d".into(), format!("cookie: {m}")),
        ("said Bearer abcdefgh12 to us".into(), format!("said Bearer {m} to us")),
        ("DB_PASSWORD=my pass word".into(), format!("DB_PASSWORD={m}")),
        ("export API_KEY='a b' # x".into(), format!("export API_KEY='{m}' # x")),
        ("XDS_HEADER_X_TEAM=core and more".into(), format!("XDS_HEADER_X_TEAM={m}")),
        ("password=hunter2 user=me".into(), format!("password={m} user=me")),
        ("prog --token abc --name x".into(), format!("prog --token {m} --name x")),
        ("prog --token=abc --name x".into(), format!("prog --token={m} --name x")),
        ("GET /x?access_token=abc HTTP/1.1".into(), format!("GET /x?access_token={m} HTTP/1.1")),
        (
            "https://me:pw@host/x and http://host/a@b".into(),
            format!("https://{m}@host/x and http://host/a@b"),
        ),
        ("password: hunter".into(), format!("password: {m}")),
        ("token: s3cr3tvalue".into(), format!("token: {m}")),
        ("push ghp_0123456789abcdefABCD now".into(), format!("push {m} now")),
        (
            "line MIGHAgEAMBMGByqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2OF/2NxApJCzG".into(),
            format!("line {m}"),
        ),
    ];
    for (given, expected) in table {
        assert_eq!(text(&given), expected, "{given}");
    }
}

#[test]
fn what_is_no_secret_stays() {
    let table = [
        "certificate obtained id=spiffe://cluster.local/ns/demo/sa/vm expires_in=24h credential=token",
        "token: expired, run `hawser join`",
        "hawser_istiod::token::source said so",
        "outbound|9080||reviews.default.svc.cluster.local::10.0.0.1:80::cx_active::0",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/var/lib/hawser/configuration and /etc/hawser/mesh/istio-token",
        "/nix/store/abcdefghijklmnopqrstuvwxyz/lib/systemd/system-generators",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "version f59ef4b6e0a7d4b8/1.40.0/Clean/RELEASE/BoringSSL",
        "nameserver 10.0.0.1",
        "2026-11-21T17:21:10+0000 host hawser[1]: ready",
        "the bearer of this",
        "istiod.token                 /var/run/secrets/tokens/istio-token",
        "",
    ];
    for given in table {
        assert_eq!(text(given), given);
    }
}

#[test]
fn a_key_that_does_not_end_takes_no_more_than_a_key_would() {
    let given = format!("-----BEGIN RSA PRIVATE KEY-----\n{}", "line of a log\n".repeat(4000));
    let left = text(&given);
    assert!(left.starts_with(MASK) && left.ends_with("line of a log\n"));
    assert!(given.len() - left.len() <= MAX_BLOCK + 64);
}

fn context() -> impl Strategy<Value = (String, String)> {
    let around = [
        ("authorization: Bearer ", ""),
        ("\"authorization\": \"", "\""),
        ("x-team-token: ", ""),
        ("API_TOKEN=", ""),
        ("MY_SECRET='", "'"),
        ("password=", " more"),
        ("--password ", " more"),
        ("https://me:", "@host/"),
        ("-----BEGIN EC PRIVATE KEY-----\n", "\n-----END EC PRIVATE KEY-----"),
        ("CA_HEADER_X=", ""),
        ("{\\\"client_secret\\\":\\\"", "\\\"}"),
    ];
    prop::sample::select(around.to_vec()).prop_map(|(a, b)| (a.to_owned(), b.to_owned())).boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_secret_is_nowhere_left_whatever_is_around_it(
        before in "\\PC{0,60}( |\n)",
        (open, close) in context(),
        secret in "[A-Za-z0-9]{12,60}",
        after in "( |\n)\\PC{0,60}",
    ) {
        prop_assume!(!before.contains(&secret) && !after.contains(&secret));
        let left = text(&format!("{before}{open}{secret}{close}{after}"));
        prop_assert!(!left.contains(&secret), "{left}");
    }

    #[test]
    fn any_text_can_be_redacted_and_once_is_enough(given in "(\\PC|[\n\"'=: -]|token|KEY|eyJ|://|@){0,120}") {
        let once = text(&given);
        prop_assert_eq!(text(&once), once);
    }
}
