//! The relay and the agent's own stream on real sockets, between a client that speaks as Envoy does and
//! an istiod that does what it is told.

pub(crate) mod ends;
mod modules;
mod own;
mod raw;
mod relay;
mod script;
mod slots;
mod trouble;
pub(crate) mod words;

use bytes::Bytes;
use hawser_proto::envoy::{
    envoy::service::discovery::v3::DiscoveryResponse, google::protobuf::Any,
};
use prost::Message;

fn sends(type_url: &str, version: &str, value: Vec<u8>) -> Bytes {
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources: vec![Any { type_url: type_url.to_owned(), value }],
        type_url: type_url.to_owned(),
        nonce: format!("n-{version}"),
        ..DiscoveryResponse::default()
    }
    .encode_to_vec()
    .into()
}

/// A response with nothing in it.
fn empty(type_url: &str, version: &str) -> Bytes {
    DiscoveryResponse {
        version_info: version.to_owned(),
        type_url: type_url.to_owned(),
        nonce: format!("n-{version}"),
        ..DiscoveryResponse::default()
    }
    .encode_to_vec()
    .into()
}
