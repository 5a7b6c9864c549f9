//! What is left of a configuration.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn left(text: &str) -> String {
    let mut json = Json::new(Vec::new());
    json.feed(text.as_bytes()).unwrap();
    String::from_utf8(json.end().unwrap()).unwrap()
}

#[test]
fn what_is_secret_in_envoys_configuration_is_left_out_where_it_stands() {
    let m = MASK;
    let table = [
        (json!({"private_key": {"inline_string": "k"}, "a": 1}), json!({"private_key": m, "a": 1})),
        (
            json!({"certificate_chain": {"inline_bytes": "QQ=="}}),
            json!({"certificate_chain": {"inline_bytes": m}}),
        ),
        (
            json!({"request_headers_to_add": [{"header": {"key": "x-a", "value": "v"}, "append_action": "ADD"}]}),
            json!({"request_headers_to_add": [{"header": {"key": "x-a", "value": m}, "append_action": "ADD"}]}),
        ),
        (
            json!({"initial_metadata": [{"key": "x", "value": "v"}]}),
            json!({"initial_metadata": [{"key": "x", "value": m}]}),
        ),
        (
            json!({"headers": [{"name": "x-team", "string_match": {"exact": "v"}}, {"name": ":path", "string_match": {"exact": "/x"}}]}),
            json!({"headers": [{"name": "x-team", "string_match": {"exact": m}}, {"name": ":path", "string_match": {"exact": "/x"}}]}),
        ),
        (
            json!({"dynamic_active_secrets": [{"name": "default", "version_info": "1", "secret": {"x": ["y"]}}]}),
            json!({"dynamic_active_secrets": [{"name": "default", "version_info": "1", "secret": m}]}),
        ),
        (
            json!({"tls_certificate_sds_secret_configs": [{"name": "default"}]}),
            json!({"tls_certificate_sds_secret_configs": [{"name": "default"}]}),
        ),
        (
            json!({"env": [{"name": "API_TOKEN", "value": "v"}, {"name": "PORT", "value": "1"}]}),
            json!({"env": [{"name": "API_TOKEN", "value": m}, {"name": "PORT", "value": "1"}]}),
        ),
        (
            json!({"metadata": {"PROXY_CONFIG": {"proxyMetadata": {"XDS_HEADER_A": "v", "ISTIO_META_X": "y"}}}}),
            json!({"metadata": {"PROXY_CONFIG": {"proxyMetadata": {"XDS_HEADER_A": m, "ISTIO_META_X": "y"}}}}),
        ),
        (json!({"token_bucket": {"max_tokens": 5}}), json!({"token_bucket": {"max_tokens": 5}})),
        (json!({"password": 1234, "x": true}), json!({"password": m, "x": true})),
        (json!({"url": "http://a:b@c/"}), json!({"url": format!("http://{m}@c/")})),
        (
            json!({"checks": [{"name": "token-expiry", "result": "ok", "evidence": "valid"}]}),
            json!({"checks": [{"name": "token-expiry", "result": "ok", "evidence": "valid"}]}),
        ),
        (json!({"secrets": {"streams": 1}}), json!({"secrets": {"streams": 1}})),
    ];
    for (given, expected) in table {
        let left = left(&serde_json::to_string_pretty(&given).unwrap());
        assert_eq!(serde_json::from_str::<Value>(&left).unwrap(), expected, "{given}");
    }
}

#[test]
fn what_is_harmless_comes_out_as_it_went_in_byte_for_byte() {
    let text = "{\n \"a\": [1, -2.5e3, true, null, \"x\\u00e9\\n\\\"\"],\t\"b\":{}, \"c\": []}\r\n";
    assert_eq!(left(text), text);
}

#[test]
fn what_is_too_deep_too_long_or_no_json_is_left_out() {
    let deep = format!("{}\"s3cr3t\"{}", "[".repeat(300), "]".repeat(300));
    assert!(!left(&deep).contains("s3cr3t"));
    assert!(!left(&format!("[\"s3cr3t{}\"]", "x".repeat(LONGEST))).contains("s3cr3t"));
    assert_eq!(left("{\"a\": s3cr3t}"), format!("{{\"a\": \"{MASK}\"}}"));
    assert_eq!(left("[\"s3cr3t"), format!("[\"{MASK}\""));
}

/// A document with a secret in a place where one may be.
fn planted() -> impl Strategy<Value = Value> {
    let secret = "s3cr3t[a-z\"\\\\\n]{0,20}";
    let place = prop_oneof![
        Just("private_key"),
        Just("password"),
        Just("inlineString"),
        Just("MY_API_KEY"),
        Just("secret"),
        Just("authorization"),
    ];
    (secret, place, 0..4_usize, any::<bool>()).prop_map(|(secret, place, depth, wrapped)| {
        let inner = if wrapped { json!({"x": [secret, 1]}) } else { json!(secret) };
        let mut value = json!({"before": "]}\"", place: inner, "z": 1});
        for _ in 0..depth {
            value = json!([{"in": value}]);
        }
        value
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_secret_is_left_out_and_json_stays_json(value in planted(), pieces in 1..9_usize) {
        let text = serde_json::to_vec(&value).unwrap();
        let mut json = Json::new(Vec::new());
        for piece in text.chunks(pieces) {
            json.feed(piece).unwrap();
        }
        let left = String::from_utf8(json.end().unwrap()).unwrap();
        prop_assert!(!left.contains("s3cr3t"), "{left}");
        prop_assert!(serde_json::from_str::<Value>(&left).is_ok(), "{left}");
    }

    #[test]
    fn any_bytes_can_be_redacted(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut json = Json::new(Vec::new());
        json.feed(&bytes).unwrap();
        json.end().unwrap();
    }
}
