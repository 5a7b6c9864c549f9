//! The text files of a bundle, of any content.

#![no_main]

use hawser::config::{envfile, hosts, parse, proxy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    environment(text);
    let _hosts = hosts::parse(text);
    layer(text);
    values(text);
});

/// What was read is read again from a file that says the same in quotes.
fn environment(text: &str) {
    let (assignments, _errors) = envfile::parse(text);
    for envfile::Assignment { name, value, .. } in assignments {
        let quoted = format!("{name}='{}'", value.replace('\'', r#"'"'"'"#));
        let (again, errors) = envfile::parse(&quoted);
        assert_eq!(errors, [], "{quoted}");
        assert_eq!(again, [envfile::Assignment { name, value, line: 1 }]);
    }
}

fn layer(text: &str) {
    for layer in [proxy::of_mesh_file(text), proxy::of_variable(text)].into_iter().flatten() {
        for field in layer.keys() {
            let _text = proxy::field(&layer, field);
        }
        let _entries: Vec<_> = proxy::metadata(&layer).collect();
        let mut config = proxy::ProxyConfig::default();
        config.lay(layer);
        assert!(config.to_json().is_object());
    }
}

fn values(text: &str) {
    let _time = parse::duration(text);
    let _sockets = parse::sockets(text);
    let _networks = parse::networks(text);
    let _domains = parse::domains(text);
    if let Some(name) = parse::name(text) {
        assert!(!name.contains(['~', ' ', '\n']), "{name}");
    }
}
