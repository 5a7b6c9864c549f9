//! A discovery message with any content: what prost can read has the head that prost reads.

#![no_main]

use hawser_proto::envoy::envoy::service::discovery::v3::DiscoveryResponse;
use hawser_xds::{Flavour, head_of_request, head_of_response};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        head_of_request(flavour, bytes);
        head_of_response(flavour, bytes);
    }
    if let Ok(message) = DiscoveryResponse::decode(bytes) {
        let bytes = message.encode_to_vec();
        if let Some(head) = head_of_response(Flavour::Sotw, &bytes) {
            assert_eq!(head.type_url, message.type_url);
            assert_eq!(head.nonce, message.nonce);
            assert_eq!(head.resources, message.resources.len());
        }
    }
});
