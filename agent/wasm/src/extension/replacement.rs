//! What stands in for a filter whose module cannot be had: one that lets everything pass, or
//! nothing.

use hawser_proto::envoy::{
    envoy::{
        config::{core::v3::TypedExtensionConfig, rbac::v3::Rbac as Rules},
        extensions::filters::{http::rbac::v3::Rbac as Http, network::rbac::v3::Rbac as Network},
    },
    google::protobuf::Any,
};
use prost::{Message, Name};

use super::{Failing, Kind};

/// An extension (`TypedExtensionConfig`) of that name.
pub(crate) fn replacement(name: &str, kind: Kind, failing: Failing) -> Vec<u8> {
    // No rules do nothing; rules without a policy allow nobody.
    let (rules, prefix) = match failing {
        Failing::Open => (None, "wasm-default-allow"),
        Failing::Closed => (Some(Rules::default()), "wasm-default-deny"),
    };
    let prefix = prefix.to_owned();
    let filter = match kind {
        Kind::Http => any(&Http { rules, rules_stat_prefix: prefix, ..Http::default() }),
        Kind::Network => any(&Network { rules, stat_prefix: prefix, ..Network::default() }),
    };
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(filter) }.encode_to_vec()
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}
