//! Envoy's messages, in short.

use std::{net::SocketAddr, time::Duration};

use hawser_proto::envoy::{
    envoy::{
        config::{
            core::v3::{
                Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress, address,
                config_source::ConfigSourceSpecifier, socket_address,
            },
            endpoint::v3::{Endpoint, LbEndpoint, lb_endpoint::HostIdentifier},
        },
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{self, Any, BoolValue, UInt32Value},
};
use prost::{Message, Name};

pub(super) fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub(super) fn socket(at: SocketAddr) -> Address {
    host(&at.ip().to_string(), at.port())
}

/// A name, or an address as text.
pub(super) fn host(host: &str, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: host.to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })),
    }
}

pub(super) fn endpoint(address: Address) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

pub(super) fn lasting(duration: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

pub(super) fn number(value: u32) -> UInt32Value {
    UInt32Value { value }
}

pub(super) fn truth(value: bool) -> BoolValue {
    BoolValue { value }
}

/// A pattern that ends in `*` stands for all that begin so.
pub(super) fn matching(pattern: &str) -> StringMatcher {
    let pattern = match pattern.strip_suffix('*') {
        Some(beginning) => MatchPattern::Prefix(beginning.to_owned()),
        None => MatchPattern::Exact(pattern.to_owned()),
    };
    StringMatcher { match_pattern: Some(pattern), ignore_case: false }
}

/// Where everything comes from that is not known at the start.
pub(super) fn ads() -> ConfigSource {
    source(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default()))
}

/// Waits for ever: without its certificate or its routes, a listener is of no use.
pub(super) fn source(specifier: ConfigSourceSpecifier) -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(specifier),
        initial_fetch_timeout: Some(protobuf::Duration::default()),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}
