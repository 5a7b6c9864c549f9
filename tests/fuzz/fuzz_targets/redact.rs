//! Whatever a report is made of: a secret in it does not come out, and doing it twice changes nothing.

#![no_main]

use hawser_redact::{Json, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let said = String::from_utf8_lossy(bytes);
    let once = text(&said);
    assert_eq!(text(&once), once);
    let key = "-----BEGIN PRIVATE KEY-----\ns3cr3tkey\n-----END PRIVATE KEY-----";
    for planted in ["\nMY_TOKEN=s3cr3tkey", "\nauthorization: Bearer s3cr3tkey", key] {
        let left = text(&format!("{once}\n{planted}\n"));
        assert!(once.contains("s3cr3tkey") || !left.contains("s3cr3tkey"), "{left}");
    }

    let redacted = |bytes: &[u8], piece: usize| {
        let mut json = Json::new(Vec::new());
        bytes.chunks(piece).for_each(|piece| drop(json.feed(piece)));
        json.end().unwrap_or_default()
    };
    let whole = redacted(bytes, bytes.len().max(1));
    assert_eq!(whole, redacted(bytes, 1));
    // What was JSON is JSON, of the same shape.
    if serde_json::from_slice::<serde_json::Value>(bytes).is_ok() {
        serde_json::from_slice::<serde_json::Value>(&whole).expect("JSON");
        let planted = [b"{\"a\": ", bytes, b", \"private_key\": [\"s3cr3tkey\"]}"].concat();
        let left = String::from_utf8_lossy(&redacted(&planted, 7)).into_owned();
        assert!(said.contains("s3cr3tkey") || !left.contains("s3cr3tkey"), "{left}");
    }
});
