//! Where programs call: of this machine, or through it.

use std::time::Duration;

use hawser_proto::envoy::envoy::{
    config::{
        core::v3::{BackoffStrategy, CidrRange, Http1ProtocolOptions, TrafficDirection},
        listener::v3::{FilterChain, FilterChainMatch, Listener},
    },
    extensions::filters::network::{
        http_connection_manager::v3::{
            HttpConnectionManager, Rds,
            http_connection_manager::{RouteSpecifier, ServerHeaderTransformation, UpgradeConfig},
        },
        tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
    },
};
use hawser_rt::Cidr;

use super::{
    access, chain,
    doors::{Door, Doors, Lead},
    message::{ads, lasting, number, socket, truth},
    route, tls,
};
use crate::model::{Forwarder, Protocol, Service, Services};

/// The listener of a door.
pub(super) fn of(door: Door, lead: &Lead<'_>, doors: &Doors<'_>, services: &Services) -> Listener {
    let (chain, protocol) = match lead {
        Lead::Http => {
            let there = doors.http.get(&door.0.port()).map(Vec::as_slice).unwrap_or_default();
            (chain::of(chain::MANAGER, &by_host(door, there, services)), Protocol::Http2)
        }
        Lead::Tcp(service) => (chain::of(chain::TCP_PROXY, &to(service, services)), Protocol::Tcp),
    };
    let chain = match &services.forwarder {
        Some(forwarder) => forwarded(chain, forwarder, protocol),
        None => chain,
    };
    Listener {
        name: door.name(),
        address: Some(socket(door.0)),
        filter_chains: vec![chain],
        // What others send here is what a machine that goes is drained of.
        traffic_direction: match services.forwarder {
            Some(_) => TrafficDirection::Inbound.into(),
            None => TrafficDirection::Outbound.into(),
        },
        ..Listener::default()
    }
}

/// Requests, to whichever service they name.
fn by_host(door: Door, there: &[&Service], services: &Services) -> HttpConnectionManager {
    let filters = there.iter().flat_map(|service| chain::filters(service));
    let filters = filters.map(|(name, config)| chain::off(&name, config));
    HttpConnectionManager {
        stat_prefix: format!("hawser_{};", door.0),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: route::name(door.0.port()),
        })),
        http_filters: filters.chain([chain::router()]).collect(),
        // Between a machine and a network there is a border.
        use_remote_address: Some(truth(services.forwarder.is_some())),
        access_log: access::requests(services),
        ..manager()
    }
}

/// What is the same wherever requests come in.
pub(super) fn manager() -> HttpConnectionManager {
    HttpConnectionManager {
        http_protocol_options: Some(Http1ProtocolOptions {
            accept_http_10: true,
            ..Http1ProtocolOptions::default()
        }),
        // How long a request may take is for its route to say, and a stream may be silent.
        stream_idle_timeout: Some(lasting(Duration::ZERO)),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        preserve_external_request_id: true,
        strip_trailing_host_dot: true,
        proxy_100_continue: true,
        ..HttpConnectionManager::default()
    }
}

/// Connections, to one service.
fn to(service: &Service, services: &Services) -> TcpProxy {
    let cluster = service.cluster();
    // What is tried again must outlast the news that a gateway is no good.
    let gateways = u32::try_from(services.gateways.len()).unwrap_or(u32::MAX);
    let attempts = service.retries.saturating_add(gateways.saturating_mul(2)).saturating_add(1);
    TcpProxy {
        stat_prefix: cluster.clone(),
        max_connect_attempts: Some(number(attempts)),
        backoff_options: Some(BackoffStrategy {
            base_interval: Some(lasting(Duration::from_millis(20))),
            max_interval: Some(lasting(Duration::from_millis(200))),
        }),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        access_log: access::connections(services),
        ..TcpProxy::default()
    }
}

/// The same for others: those who may, and over TLS if it was said so. All others match no chain, which
/// Envoy counts and closes before a word is said.
fn forwarded(chain: FilterChain, forwarder: &Forwarder, protocol: Protocol) -> FilterChain {
    // The programs of this machine come from the address that they call.
    let own = Cidr::new(forwarder.address, if forwarder.address.is_ipv4() { 32 } else { 128 });
    let from = forwarder.allow.iter().chain([&own]).map(range).collect();
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            source_prefix_ranges: from,
            ..FilterChainMatch::default()
        }),
        transport_socket: forwarder.tls.as_ref().map(|shown| tls::from_anybody(shown, protocol)),
        ..chain
    }
}

fn range(cidr: &Cidr) -> CidrRange {
    let cidr = cidr.masked();
    CidrRange {
        address_prefix: cidr.address().to_string(),
        prefix_len: Some(number(cidr.bits().into())),
    }
}
