//! The JSON Schema that editors are given says what the parser takes.

use hawser_harness::schema::Schema;
use serde_json::Value;

use super::*;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// A file with a key that nobody knows in each thing that has keys, and what that is in the schema.
const ASKED: [(&str, &str); 10] = [
    ("", "nobody: 1\nservices: []\n"),
    ("/$defs/gateway", "services: []\ngateways: [{nobody: 1, address: a}]\n"),
    ("/$defs/service", "services: [{nobody: 1}]\n"),
    ("/$defs/port", "services: [{ports: [{nobody: 1}]}]\n"),
    ("/$defs/outliers", "services: [{outliers: {nobody: 1}}]\n"),
    ("/$defs/transcode", "services: [{transcode: {nobody: 1}}]\n"),
    ("/$defs/filter", "services: [{filters: [{nobody: 1}]}]\n"),
    ("/$defs/inbound", "inbound: [{nobody: 1}]\n"),
    ("/$defs/forwarder", "forwarder: {nobody: 1}\n"),
    ("/$defs/certificate", "forwarder: {tls: {nobody: 1}}\n"),
];

/// What the parser says of it.
fn problems(text: &str) -> Vec<Problem> {
    services(text).unwrap_err().0
}

#[test]
fn it_describes_the_keys_that_are_taken_and_no_others() {
    let schema = schema();
    for (place, text) in ASKED {
        let object = schema.pointer(place).unwrap();
        let mut described: Vec<&str> =
            object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let problems = problems(text);
        let told = problems.iter().find(|of| of.what.ends_with("nobody")).unwrap();
        let mut taken: Vec<&str> =
            told.expected.strip_prefix("one of ").unwrap().split(", ").collect();
        described.sort_unstable();
        taken.sort_unstable();
        assert_eq!(described, taken, "{place}");
        assert_eq!(object["additionalProperties"], Value::Bool(false), "{place}");
    }
}

#[test]
fn what_it_requires_is_required() {
    let schema = schema();
    for (place, text) in ASKED.iter().filter(|(_, text)| !text.contains("address: a")) {
        let object = schema.pointer(place).unwrap();
        let problems = problems(text);
        let missing = |key: &str| {
            problems.iter().any(|of| of.found.is_empty() && of.what.ends_with(&format!(".{key}")))
        };
        for (key, _) in object["properties"].as_object().unwrap() {
            let required =
                object["required"].as_array().into_iter().flatten().any(|own| own == key);
            // A service has `port` or `ports`, which the schema says in words.
            let either = *place == "/$defs/service" && key == "port";
            assert_eq!(missing(key), required || either, "{place} {key}");
        }
    }
}

#[test]
fn a_file_that_is_taken_is_held_by_it_and_a_wrong_one_is_not() {
    let schema = Schema::read(SCHEMA).unwrap();
    let json = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();

    schema.holds(&json(good::WHOLE)).unwrap();

    for wrong in [
        "services: [{host: a, port: 80}]",
        "services: [{host: a, port: 0, identity: ns/a/sa/a}]",
        "services: [{host: a, port: 65536, identity: ns/a/sa/a}]",
        "services: [{host: a, port: 80, identity: ns/a/sa/a, protocol: h2}]",
        "services: [{host: a, port: 80, identity: ns/a/sa/a, outliers: on}]",
        "services: [{host: a, port: 80, identity: ns/a/sa/a, retries: -1}]",
        "gateways: [{name: a}]",
        "forwarder: {address: 10.0.0.5}",
        "gateway: gw",
    ] {
        assert!(schema.holds(&json(wrong)).is_err(), "{wrong}");
        assert!(services(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn its_defaults_are_those_that_hold() {
    let schema = schema();
    let default = |place: &str| schema.pointer(place).unwrap()["default"].clone();
    let said = format!(
        "addresses: {}\ngateways: [{{address: gw, priority: {}}}]\nservices:\n\
         - host: a\n  port: 80\n  identity: ns/a/sa/a\n  protocol: {}\n  timeout: {}\n  \
         connect_timeout: {}\n  retries: {}\n  outliers: {{errors: {}, ejection: {}}}\n\
         inbound: [{{port: 1, to: 2, address: {}, callers: {}}}]\n",
        default("/properties/addresses").as_str().unwrap(),
        default("/$defs/gateway/properties/priority"),
        default("/$defs/protocol").as_str().unwrap(),
        default("/$defs/service/properties/timeout"),
        default("/$defs/service/properties/connect_timeout").as_str().unwrap(),
        default("/$defs/service/properties/retries"),
        default("/$defs/outliers/properties/errors"),
        default("/$defs/outliers/properties/ejection").as_str().unwrap(),
        default("/$defs/inbound/properties/address").as_str().unwrap(),
        default("/$defs/inbound/properties/callers").as_str().unwrap(),
    );
    let bare = "gateways: gw\n\nservices:\n- host: a\n  port: 80\n  identity: ns/a/sa/a\n";
    let bare = format!("{bare}\n\n\n\n\ninbound: [{{port: 1, to: 2}}]\n");

    let mut said = services(&said).unwrap();
    let bare = services(&bare).unwrap();
    for (said, bare) in said.services.iter_mut().zip(&bare.services) {
        said.place = bare.place.clone();
    }
    for (said, bare) in said.inbound.iter_mut().zip(&bare.inbound) {
        said.place = bare.place.clone();
    }

    assert_eq!(said, bare);
}

const SCHEMA: &str = include_str!("../../../../../packaging/docs/services.schema.json");
