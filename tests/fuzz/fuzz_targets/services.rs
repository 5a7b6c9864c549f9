//! A file of services of any content, and what other programs might have printed: whatever is taken is
//! whole, whatever is refused is told with its line, and what is imported can be read again.

#![no_main]

use std::path::{Path, PathBuf};

use hawser_services::{
    Addresses, Services,
    file::{self, Text},
    import::{self, Wanted},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(services) = read(text) {
        is_whole(&services);
        drop(file::lifted(&services, 10_000));
        drop(Addresses::default().assign(&services));
    }
    let wanted = Wanted {
        gateways: vec!["gw.example".to_owned()],
        cluster_domain: "cluster.local".to_owned(),
        ..Wanted::default()
    };
    if let Ok(imported) = import::import(text, Path::new("-"), &wanted) {
        assert!(imported.services > 0);
        // More than a file may have, or names that are too long together, are told when it is read.
        if imported.services < 1000 && text.len() < 10_000 {
            read(&imported.text);
        }
    }
});

fn read(text: &str) -> Option<Services> {
    // YAML counts a lone carriage return too.
    let lines = text.split(['\n', '\r']).count() + 1;
    let texts = [Text { path: PathBuf::from("services.yaml"), text: text.to_owned() }];
    match file::parse(&texts, "cluster.local") {
        Ok(services) => Some(services),
        Err(problems) => {
            assert!(!problems.0.is_empty(), "something is wrong, and nothing is told");
            for problem in &problems.0 {
                assert!(!problem.what.is_empty() && !problem.expected.is_empty(), "{problem:?}");
                assert!(problem.place.line as usize <= lines, "{problem}");
                assert!(!problem.to_string().contains('\n'), "{problem:?}");
            }
            None
        }
    }
}

fn is_whole(services: &Services) {
    assert!(services.services.is_empty() || !services.gateways.is_empty());
    for service in &services.services {
        assert!(!service.identities.is_empty() && !service.host.is_empty());
        assert!(service.host.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(service.identities.iter().all(|id| id.starts_with("spiffe://")));
        let known = |name: &String| services.gateways.iter().any(|gateway| gateway.name == *name);
        assert!(service.gateways.iter().all(known));
    }
}
