//! A discovery message with any content: what a full decoder reads is scanned to the same.

#![no_main]

use hawser_proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use hawser_wire::{Flavour, Request, Response};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        let _request = Request::scan(flavour, bytes);
        let _response = Response::scan(flavour, bytes);
    }
    sotw_request(bytes);
    delta_request(bytes);
    sotw_response(bytes);
    delta_response(bytes);
});

fn sotw_request(bytes: &[u8]) {
    let Ok(message) = DiscoveryRequest::decode(bytes) else { return };
    let expected = Request {
        type_url: &message.type_url,
        nonce: &message.response_nonce,
        version: &message.version_info,
        rejection: message.error_detail.as_ref().map(|status| status.message.as_str()),
        has_node: message.node.is_some(),
    };
    request(Flavour::Sotw, bytes, &message.encode_to_vec(), expected);
}

fn delta_request(bytes: &[u8]) {
    let Ok(message) = DeltaDiscoveryRequest::decode(bytes) else { return };
    let expected = Request {
        type_url: &message.type_url,
        nonce: &message.response_nonce,
        version: "",
        rejection: message.error_detail.as_ref().map(|status| status.message.as_str()),
        has_node: message.node.is_some(),
    };
    let plain = message.encode_to_vec();
    // Of the entries of a map, which only this message has, prost does not check that they are
    // length-delimited: from there on it may read something else.
    let strict = message.initial_resource_versions.is_empty();
    request(Flavour::Delta, if strict { bytes } else { &plain }, &plain, expected);
}

fn sotw_response(bytes: &[u8]) {
    let Ok(message) = DiscoveryResponse::decode(bytes) else { return };
    let first = message.resources.first();
    let expected = Response {
        type_url: &message.type_url,
        nonce: &message.nonce,
        version: &message.version_info,
        resources: message.resources.len(),
    };
    let inner = first.map_or("", |any| &any.type_url);
    response(Flavour::Sotw, bytes, &message.encode_to_vec(), expected, inner);
}

fn delta_response(bytes: &[u8]) {
    let Ok(message) = DeltaDiscoveryResponse::decode(bytes) else { return };
    let first = message.resources.first().and_then(|resource| resource.resource.as_ref());
    let expected = Response {
        type_url: &message.type_url,
        nonce: &message.nonce,
        version: &message.system_version_info,
        resources: message.resources.len(),
    };
    let inner = first.map_or("", |any| &any.type_url);
    response(Flavour::Delta, bytes, &message.encode_to_vec(), expected, inner);
}

/// `plain` is the message as everybody writes it. In `bytes` a field may be in pieces, which a
/// full decoder puts together and a scan does not.
fn request(flavour: Flavour, bytes: &[u8], plain: &[u8], expected: Request<'_>) {
    assert_eq!(Request::scan(flavour, plain), Ok(expected));
    let seen = Request::scan(flavour, bytes).expect("a message");
    assert_eq!(Request { rejection: expected.rejection, ..seen }, expected);
    assert_eq!(seen.rejection.is_some(), expected.rejection.is_some());
}

/// `inner` is the type that the first resource says it has.
fn response(flavour: Flavour, bytes: &[u8], plain: &[u8], expected: Response<'_>, inner: &str) {
    let type_url = if expected.type_url.is_empty() { inner } else { expected.type_url };
    assert_eq!(Response::scan(flavour, plain), Ok(Response { type_url, ..expected }));
    let seen = Response::scan(flavour, bytes).expect("a message");
    assert_eq!(Response { type_url: expected.type_url, ..seen }, expected);
}
