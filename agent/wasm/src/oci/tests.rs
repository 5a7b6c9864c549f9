//! Where a registry may send us.

use super::*;

#[test]
fn a_token_is_not_asked_for_where_only_this_machine_can_go() {
    let registry = Url::parse("https://r.example/v2/").unwrap();
    let admitted = [
        "https://auth.example/token",
        "http://auth.example/token?x=y",
        "https://8.8.8.8/token",
        // Asked already, whatever its address.
        "https://r.example/token",
    ];
    for realm in admitted {
        assert!(admissible(realm, &registry).is_ok(), "{realm}");
    }
    let refused = [
        "",
        "/token",
        "file:///etc/passwd",
        "gopher://auth.example/",
        "https://localhost/token",
        "https://LOCALHOST./token",
        "https://a.localhost/token",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://169.254.169.254/latest",
        "http://127.0.0.1/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fd00::1]/",
        "http://[fe80::1]/",
        // Another port is another server.
        "https://127.0.0.1:8443/token",
    ];
    for realm in refused {
        assert!(admissible(realm, &registry).is_err(), "{realm}");
    }
}

#[test]
fn what_goes_into_a_query_stays_in_it() {
    assert_eq!(escaped("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
}
