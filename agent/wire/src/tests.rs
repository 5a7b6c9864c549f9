//! The shallow look against a full decoder.

use hawser_proto::envoy::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource,
        },
    },
    google::{protobuf::Any, rpc::Status},
};
use proptest::prelude::*;
use prost::Message;

use super::*;

fn packed(type_url: &str) -> Any {
    Any { type_url: type_url.to_owned(), value: vec![0xff; 300] }
}

fn node() -> Option<Node> {
    Some(Node { id: "sidecar~1.2.3.4~a.b~c".to_owned(), ..Node::default() })
}

fn refusal() -> Option<Status> {
    Some(Status { code: 13, message: "no such\nfilter".to_owned(), details: vec![packed("x")] })
}

#[test]
fn a_state_of_the_world_request_is_read() {
    let message = DiscoveryRequest {
        version_info: "v7".to_owned(),
        node: node(),
        resource_names: vec!["a".to_owned(), "b".to_owned()],
        type_url: "type/cluster".to_owned(),
        response_nonce: "n9".to_owned(),
        error_detail: refusal(),
        ..DiscoveryRequest::default()
    }
    .encode_to_vec();
    let expected = Request {
        type_url: "type/cluster",
        nonce: "n9",
        version: "v7",
        rejection: Some("no such\nfilter"),
        has_node: true,
    };
    assert_eq!(Request::scan(Flavour::Sotw, &message), Ok(expected));
}

#[test]
fn a_delta_request_is_read() {
    let message = DeltaDiscoveryRequest {
        node: node(),
        type_url: "type/cluster".to_owned(),
        resource_names_subscribe: vec!["a".to_owned()],
        initial_resource_versions: [("a".to_owned(), "1".to_owned())].into(),
        response_nonce: "n9".to_owned(),
        error_detail: refusal(),
        ..DeltaDiscoveryRequest::default()
    }
    .encode_to_vec();
    let expected = Request {
        type_url: "type/cluster",
        nonce: "n9",
        version: "",
        rejection: Some("no such\nfilter"),
        has_node: true,
    };
    assert_eq!(Request::scan(Flavour::Delta, &message), Ok(expected));
}

#[test]
fn responses_are_read_and_the_type_is_found_in_a_resource_if_it_is_missing() {
    for type_url in ["type/route", ""] {
        let sotw = DiscoveryResponse {
            version_info: "v1".to_owned(),
            resources: vec![packed("type/route"), packed("type/route")],
            type_url: type_url.to_owned(),
            nonce: "n1".to_owned(),
            ..DiscoveryResponse::default()
        };
        let resource = Resource { resource: Some(packed("type/route")), ..Resource::default() };
        let delta = DeltaDiscoveryResponse {
            system_version_info: "v1".to_owned(),
            resources: vec![resource.clone(), resource],
            type_url: type_url.to_owned(),
            removed_resources: vec!["gone".to_owned()],
            nonce: "n1".to_owned(),
            ..DeltaDiscoveryResponse::default()
        };
        let expected =
            Response { type_url: "type/route", nonce: "n1", version: "v1", resources: 2 };
        assert_eq!(Response::scan(Flavour::Sotw, &sotw.encode_to_vec()), Ok(expected));
        assert_eq!(Response::scan(Flavour::Delta, &delta.encode_to_vec()), Ok(expected));
    }
    assert_eq!(Response::scan(Flavour::Sotw, &[]), Ok(Response::default()));
}

#[test]
fn fields_in_any_order_unknown_ones_and_groups_are_passed_over() {
    let message = [
        &[0x2a, 1, b'x'][..],                  // nonce, overridden below
        &[0x98, 0x06, 0x96, 0x01],             // field 99, varint
        &[0x9b, 0x06, 0x2a, 1, b'y', 0x9c, 6], // field 99, a group with a nonce inside
        &[0xa1, 0x06, 0, 0, 0, 0, 0, 0, 0, 0], // field 100, fixed64
        &[0xa5, 0x06, 0, 0, 0, 0],             // field 100, fixed32
        &[0x2a, 1, b'z', 0x22, 2, b'c', b'd'], // nonce, type_url
    ]
    .concat();
    let expected = Response { type_url: "cd", nonce: "z", ..Response::default() };
    assert_eq!(Response::scan(Flavour::Sotw, &message), Ok(expected));
}

#[test]
fn what_is_no_message_is_malformed() {
    let table: [(&str, &[u8]); 10] = [
        ("a cut tag", &[0x80]),
        ("a tag beyond 32 bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("field number 0", &[0x02, 0]),
        ("an unknown wire type", &[0x0e]),
        ("a length beyond the end", &[0x22, 5, b'a']),
        ("a length beyond all memory", &[0x22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ("an endless varint", &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ("a group that does not end", &[0x1b]),
        ("a group that does not begin", &[0x1c]),
        ("text that is none", &[0x22, 1, 0xff]),
    ];
    for (what, message) in table {
        assert_eq!(Response::scan(Flavour::Sotw, message), Err(Malformed), "{what}");
    }
    assert_eq!(Response::scan(Flavour::Sotw, &[0x20, 1]), Err(Malformed), "a number for text");
}

proptest! {
    #[test]
    fn any_bytes_are_understood_or_malformed(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        for flavour in [Flavour::Sotw, Flavour::Delta] {
            Request::scan(flavour, &bytes).ok();
            Response::scan(flavour, &bytes).ok();
        }
    }

    #[test]
    fn what_the_full_decoder_takes_is_read_alike(
        bytes in prop::collection::vec(prop_oneof![
            Just(0x0a), Just(0x12), Just(0x22), Just(0x2a), Just(0x01), Just(0x00), any::<u8>()
        ], 0..24)
    ) {
        if let Ok(full) = DiscoveryResponse::decode(bytes.as_slice()) {
            let seen = Response::scan(Flavour::Sotw, &bytes).unwrap();
            prop_assert_eq!(seen.nonce, full.nonce);
            prop_assert_eq!(seen.version, full.version_info);
            prop_assert_eq!(seen.resources, full.resources.len());
            if !full.type_url.is_empty() {
                prop_assert_eq!(seen.type_url, full.type_url);
            }
        }
    }

    #[test]
    fn a_cut_message_is_never_read_past_its_end(cut in 0_usize..400, delta in any::<bool>()) {
        let flavour = if delta { Flavour::Delta } else { Flavour::Sotw };
        let message = DiscoveryResponse {
            version_info: "v1".to_owned(),
            resources: vec![packed("type/route")],
            type_url: "type/route".to_owned(),
            nonce: "n1".to_owned(),
            ..DiscoveryResponse::default()
        }
        .encode_to_vec();
        Response::scan(flavour, &message[..cut.min(message.len())]).ok();
    }
}
