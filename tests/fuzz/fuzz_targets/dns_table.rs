//! A name table with any content.

#![no_main]

use hawser_dns::{Scope, Table};
use hawser_proto::istio::nds::NameTable;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(names) = NameTable::decode(bytes) {
        let scope = Scope {
            namespace: "n".into(),
            domain: "n.svc.cluster.local".into(),
            search: vec!["n.svc.cluster.local".into()],
        };
        let _built = Table::build(&names, &scope);
    }
});
