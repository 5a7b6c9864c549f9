//! What an Envoy says of itself.

use hawser_proto::envoy::envoy::{
    config::core::v3::{BuildVersion, node::UserAgentVersionType},
    r#type::v3::SemanticVersion,
};
use prost::Message;

use super::{PEER_METADATA, RBAC, ROUTER, STATS, istio, node, stock, url};
use crate::Loadable;

#[test]
fn a_type_is_known_with_and_without_its_prefix() {
    let stock = stock();

    for name in [ROUTER, RBAC] {
        assert!(stock.loads(name) && stock.loads(&url(name)), "{name}");
    }
    for name in [STATS, PEER_METADATA, "", "type.googleapis.com/"] {
        assert!(!stock.loads(name), "{name}");
    }
}

#[test]
fn istios_build_is_known_by_all_that_istiod_takes_for_granted() {
    assert!(istio().has_istio());
    assert!(!stock().has_istio());

    let some = Loadable::of(&node(&[ROUTER, STATS]).encode_to_vec()).unwrap();
    assert!(some.loads(STATS) && !some.has_istio());
}

#[test]
fn a_disabled_extension_is_not_there() {
    let mut node = node(&[ROUTER, RBAC]);
    node.extensions[1].disabled = true;

    let loadable = Loadable::of(&node.encode_to_vec()).unwrap();

    assert!(loadable.loads(ROUTER) && !loadable.loads(RBAC));
}

#[test]
fn a_node_that_lists_no_types_says_nothing() {
    let mut names_only = node(&[ROUTER]);
    names_only.extensions[0].type_urls.clear();

    for node in [node(&[]), names_only] {
        assert_eq!(Loadable::of(&node.encode_to_vec()), None);
    }
    assert_eq!(Loadable::of(b"\xff"), None);
    assert_eq!(Loadable::of(b"\x4a\x02\x32\x05"), None);
}

#[test]
fn the_version_is_read_as_number_or_as_text() {
    let mut node = node(&[ROUTER]);
    assert_eq!(Loadable::of(&node.encode_to_vec()).unwrap().version(), None);

    for (numbers, text) in
        [((1, 40, 0), "1.40.0"), ((1, 300, 12), "1.300.12"), ((0, 0, 0), "0.0.0")]
    {
        let (major_number, minor_number, patch) = numbers;
        let version = SemanticVersion { major_number, minor_number, patch };
        node.user_agent_version_type =
            Some(UserAgentVersionType::UserAgentBuildVersion(BuildVersion {
                version: Some(version),
                ..Default::default()
            }));
        assert_eq!(Loadable::of(&node.encode_to_vec()).unwrap().version(), Some(text));
    }

    node.user_agent_version_type =
        Some(UserAgentVersionType::UserAgentVersion("1.40.0-dev".to_owned()));
    assert_eq!(Loadable::of(&node.encode_to_vec()).unwrap().version(), Some("1.40.0-dev"));
}
