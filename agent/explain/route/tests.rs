//! Virtual hosts and routes, case by case.

use serde_json::{Value, json};

use super::*;

fn hosts(domains: &[&str]) -> Vec<VirtualHost> {
    let one = |domain: &&str| serde_json::from_value(json!({ "domains": [domain] })).unwrap();
    domains.iter().map(one).collect()
}

fn asked<'a>(method: &'a str, path: &'a str) -> Asked<'a> {
    Asked { authority: "hello.demo", method, path, scheme: "http" }
}

fn matching(value: Value) -> RouteMatch {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_host_is_found_whole_by_its_end_by_its_beginning_and_at_last_by_a_star() {
    let hosts = hosts(&["*", "a.*", "a.b.*", "*.example.com", "*-x.example.com", "a.example.com"]);
    let cases = [
        ("a.example.com", "a.example.com"),
        ("A.EXAMPLE.com", "a.example.com"),
        ("b.example.com", "*.example.com"),
        ("a.b.example.com", "*.example.com"),
        ("b-x.example.com", "*-x.example.com"),
        ("-x.example.com", "*.example.com"),
        (".example.com", "*"),
        ("a.b.c", "a.b.*"),
        ("a.c", "a.*"),
        ("a.", "*"),
        ("other", "*"),
    ];
    for (authority, expected) in cases {
        assert_eq!(
            host(&hosts, authority).map(|(_, domain)| domain),
            Some(expected),
            "{authority}"
        );
    }
    assert!(host(&hosts[3..], "other").is_none());
}

#[test]
fn paths_are_compared_as_envoy_compares_them() {
    let cases = [
        (json!({ "prefix": "/a" }), "/ab", Fits::Yes),
        (json!({ "prefix": "/A" }), "/ab", Fits::No),
        (json!({ "prefix": "/A", "case_sensitive": false }), "/ab", Fits::Yes),
        (json!({ "path": "/a" }), "/a", Fits::Yes),
        (json!({ "path": "/a" }), "/ab", Fits::No),
        (json!({ "path_separated_prefix": "/a" }), "/ab", Fits::No),
        (json!({ "path_separated_prefix": "/a" }), "/a/b", Fits::Yes),
        (json!({ "path_separated_prefix": "/a" }), "/a", Fits::Yes),
        (json!({ "safe_regex": { "regex": ".*" } }), "/a", Fits::Yes),
        (json!({ "connect_matcher": {} }), "/a", Fits::No),
        (json!({}), "/a", Fits::Yes),
    ];
    for (wanted, path, expected) in cases {
        assert_eq!(
            fits(&matching(wanted.clone()), &asked("GET", path)),
            expected,
            "{wanted} {path}"
        );
    }
    let regex =
        fits(&matching(json!({ "safe_regex": { "regex": "/v[12]" } })), &asked("GET", "/v1"));
    assert!(matches!(regex, Fits::Perhaps(on) if on.contains("not evaluated")));
}

#[test]
fn headers_matter_where_they_are_known() {
    let header = |value: Value| matching(json!({ "prefix": "/", "headers": [value] }));
    let cases = [
        (json!({ "name": ":method", "string_match": { "exact": "GET" } }), Fits::Yes),
        (json!({ "name": ":method", "string_match": { "exact": "POST" } }), Fits::No),
        (json!({ "name": ":method", "exact_match": "POST", "invert_match": true }), Fits::Yes),
        (json!({ "name": ":authority", "string_match": { "prefix": "hello" } }), Fits::Yes),
        (
            json!({ "name": ":path", "string_match": { "suffix": "/A", "ignore_case": true } }),
            Fits::Yes,
        ),
        (json!({ "name": "x-user", "string_match": { "exact": "jason" } }), Fits::No),
        (
            json!({ "name": "x-user", "string_match": { "exact": "jason" }, "invert_match": true }),
            Fits::Yes,
        ),
        (json!({ "name": "x-user", "present_match": true }), Fits::No),
        (json!({ "name": "x-user", "present_match": false }), Fits::Yes),
        (json!({ "name": "x-user", "present_match": true, "invert_match": true }), Fits::Yes),
        (
            json!({ "name": "x-user", "string_match": { "exact": "" }, "treat_missing_header_as_empty": true }),
            Fits::Yes,
        ),
    ];
    for (wanted, expected) in cases {
        assert_eq!(fits(&header(wanted.clone()), &asked("GET", "/a")), expected, "{wanted}");
    }
}

#[test]
fn the_first_route_that_fits_is_taken_and_what_cannot_be_told_before_it_is_named() {
    let routes: Vec<Route> = serde_json::from_value(json!([
        { "name": "no", "match": { "path": "/other" } },
        { "name": "perhaps", "match": { "prefix": "/", "query_parameters": [{ "name": "v" }] } },
        { "name": "yes", "match": { "prefix": "/" }, "route": { "cluster": "a" } },
        { "name": "late", "match": { "prefix": "/" } },
    ]))
    .unwrap();
    let (found, perhaps) = route(&routes, &asked("GET", "/a"));
    assert_eq!(found.map(|it| it.name.as_str()), Some("yes"));
    let perhaps: Vec<_> = perhaps.iter().map(|(it, on)| (it.name.as_str(), on.as_str())).collect();
    assert_eq!(perhaps, [("perhaps", "the parameter v")]);
    assert!(route(&routes[..1], &asked("GET", "/a")).0.is_none());
}

#[test]
fn a_route_sends_answers_or_redirects() {
    let doing = |value: Value| does(&serde_json::from_value(value).unwrap());
    let one = |name: &str, weight| Weighted { name: name.to_owned(), weight };
    assert_eq!(doing(json!({ "route": { "cluster": "a" } })), Does::Sends(vec![one("a", None)]));
    let shared =
        json!({ "clusters": [{ "name": "a", "weight": 90 }, { "name": "b", "weight": 10 }] });
    let sent = doing(json!({ "route": { "weighted_clusters": shared } }));
    assert_eq!(sent, Does::Sends(vec![one("a", Some(90)), one("b", Some(10))]));
    assert_eq!(doing(json!({ "route": { "cluster_header": "x" } })), Does::Header("x".to_owned()));
    assert_eq!(doing(json!({ "redirect": { "https_redirect": true } })), Does::Redirects);
    assert_eq!(doing(json!({ "direct_response": { "status": 502 } })), Does::Answers(502));
    assert_eq!(doing(json!({ "non_forwarding_action": {} })), Does::Other);
}
