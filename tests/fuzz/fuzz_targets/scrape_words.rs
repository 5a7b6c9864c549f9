//! What whoever scrapes says, and what annotations say of targets and probes: nothing of it gets
//! into a request that is none of ours.

#![no_main]

use hawser::config::port;
use hawser_scrape::{Kind, accept::accept, form::Form, targets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for kind in [Kind::Envoy, Kind::Application] {
        let asked = accept(Some(text), kind);
        assert!(!asked.is_empty() && asked.len() <= text.len() + 256);
        assert!(kind == Kind::Application || !asked.contains("openmetrics"));
        // A header has no line breaks, and what has none gets none.
        assert!(text.contains(['\r', '\n']) || !asked.contains(['\r', '\n']));
    }
    if let Some(form) = Form::of(Some(text)) {
        assert_eq!(Form::of(Some(form.content_type())), Some(form));
    }
    for target in targets::parse(text).into_iter().flatten() {
        assert_ne!(target.port, 0);
        assert!(target.path.starts_with('/'));
        assert!(target.path.bytes().all(|octet| octet.is_ascii_graphic()));
    }
    for (path, probe) in port::probes(text).into_iter().flatten() {
        assert!(path.starts_with("/app-"));
        assert_eq!(probe.methods.len(), 1);
    }
});
