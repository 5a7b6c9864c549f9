//! A service as Envoy calls it: through whichever gateway is alive and near.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use hawser_proto::envoy::envoy::{
    config::{
        cluster::v3::{
            CircuitBreakers, Cluster, OutlierDetection, UpstreamConnectionOptions,
            circuit_breakers::Thresholds,
            cluster::{ClusterDiscoveryType, CustomClusterType, DiscoveryType, LbPolicy},
        },
        core::v3::{Http1ProtocolOptions, Http2ProtocolOptions, Locality, TcpKeepalive},
        endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints},
    },
    extensions::{
        clusters::{common::dns::v3::DnsLookupFamily, dns::v3::DnsCluster},
        upstreams::http::v3::{
            HttpProtocolOptions,
            http_protocol_options::{
                ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
            },
        },
    },
};

use super::{
    message::{endpoint, host, lasting, number, pack},
    tls,
};
use crate::model::{Gateway, Outliers, Protocol, Service, Services};

/// The cluster of a service.
pub(super) fn of(service: &Service, services: &Services) -> Cluster {
    let gateways = ranked(service, services);
    let by_name = gateways.iter().any(|(_, gateway)| gateway.host.parse::<IpAddr>().is_err());
    let discovery = if by_name {
        ClusterDiscoveryType::ClusterType(looked_up())
    } else {
        ClusterDiscoveryType::Type(DiscoveryType::Static.into())
    };
    Cluster {
        load_assignment: Some(assignment(&service.cluster(), &gateways)),
        cluster_discovery_type: Some(discovery),
        transport_socket: Some(tls::upstream(service)),
        outlier_detection: service.outliers.as_ref().map(outliers),
        upstream_connection_options: Some(kept_alive()),
        ..plain(service.cluster(), service.protocol, service.connect_timeout)
    }
}

/// Thousands of services have the same few gateways: each asks seldom, and not at the same time.
fn looked_up() -> CustomClusterType {
    let config = DnsCluster {
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        respect_dns_ttl: true,
        dns_refresh_rate: Some(lasting(Duration::from_secs(60))),
        dns_jitter: Some(lasting(Duration::from_secs(10))),
        ..DnsCluster::default()
    };
    CustomClusterType { name: "envoy.cluster.dns".to_owned(), typed_config: Some(pack(&config)) }
}

/// A cluster that has no endpoints yet, with no limit but the machine's.
pub(super) fn plain(name: String, protocol: Protocol, connect_timeout: Duration) -> Cluster {
    Cluster {
        // Where the bootstrap's tags find the end of the name.
        alt_stat_name: format!("{name};"),
        name,
        lb_policy: LbPolicy::LeastRequest.into(),
        connect_timeout: Some(lasting(connect_timeout)),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: Some(number(u32::MAX)),
                max_pending_requests: Some(number(u32::MAX)),
                max_requests: Some(number(u32::MAX)),
                max_retries: Some(number(u32::MAX)),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }),
        typed_extension_protocol_options: spoken(protocol)
            .map(|options| (PROTOCOL_OPTIONS.to_owned(), pack(&options)))
            .into_iter()
            .collect(),
        ..Cluster::default()
    }
}

/// The gateways that lead to a service, each with how far back it stands: from 0, with no gap.
fn ranked<'a>(service: &Service, services: &'a Services) -> Vec<(u32, &'a Gateway)> {
    let mut gateways: Vec<_> = if service.gateways.is_empty() {
        let rank = |gateway: &Gateway| {
            (usize::from(gateway.priority), distance(&services.locality, &gateway.locality))
        };
        services.gateways.iter().map(|gateway| (rank(gateway), gateway)).collect()
    } else {
        // In the order in which the service names them.
        let named = |name: &String| services.gateways.iter().find(|one| one.name == *name);
        let named = service.gateways.iter().filter_map(named).enumerate();
        named.map(|(place, gateway)| ((place, 0), gateway)).collect()
    };
    gateways.sort_by_key(|(rank, _)| *rank);
    let mut place = 0;
    let mut before = None;
    let mut ranked = Vec::with_capacity(gateways.len());
    for (rank, gateway) in gateways {
        if before.is_some_and(|before| before != rank) {
            place += 1;
        }
        before = Some(rank);
        ranked.push((place, gateway));
    }
    ranked
}

/// How many of region, zone and subzone differ; none if it is not known where this machine is.
fn distance(here: &str, there: &str) -> usize {
    let known = |place: &str| place.split('/').filter(|part| !part.is_empty()).count();
    let parts = known(here).min(3);
    let same = here.split('/').zip(there.split('/')).take(parts);
    parts - same.take_while(|(here, there)| here == there).count()
}

fn assignment(cluster: &str, gateways: &[(u32, &Gateway)]) -> ClusterLoadAssignment {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for (rank, gateway) in gateways {
        let endpoint = endpoint(host(&gateway.host, gateway.port.get()));
        places.entry((*rank, gateway.locality.as_str())).or_default().push(endpoint);
    }
    let endpoints =
        places.into_iter().map(|((priority, place), lb_endpoints)| LocalityLbEndpoints {
            locality: locality(place),
            priority,
            lb_endpoints,
            ..LocalityLbEndpoints::default()
        });
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: endpoints.collect(),
        ..ClusterLoadAssignment::default()
    }
}

fn locality(place: &str) -> Option<Locality> {
    let mut parts = place.splitn(3, '/').map(str::to_owned);
    let region = parts.next().filter(|region| !region.is_empty())?;
    let [zone, sub_zone] = [parts.next(), parts.next()].map(Option::unwrap_or_default);
    Some(Locality { region, zone, sub_zone })
}

/// A gateway that does not let a connection come about is left at once, for as long as there is
/// another; one whose answers say that there is nobody behind it, after as many errors as was said.
/// An error that the service itself has made says nothing of the gateway.
fn outliers(outliers: &Outliers) -> OutlierDetection {
    OutlierDetection {
        consecutive_gateway_failure: Some(number(outliers.errors)),
        enforcing_consecutive_gateway_failure: Some(number(100)),
        enforcing_consecutive_5xx: Some(number(0)),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: Some(number(outliers.errors.min(TRIES))),
        enforcing_consecutive_local_origin_failure: Some(number(100)),
        enforcing_success_rate: Some(number(0)),
        enforcing_local_origin_success_rate: Some(number(0)),
        base_ejection_time: Some(lasting(outliers.ejection)),
        interval: Some(lasting(outliers.ejection.min(Duration::from_secs(5)))),
        // With nobody left, Envoy tries all of them.
        max_ejection_percent: Some(number(100)),
        ..OutlierDetection::default()
    }
}

/// How many connections in a row must fail before a gateway is left.
const TRIES: u32 = 2;

/// A gateway may vanish without a word, and so may what a firewall remembers.
fn kept_alive() -> UpstreamConnectionOptions {
    UpstreamConnectionOptions {
        tcp_keepalive: Some(TcpKeepalive {
            keepalive_time: Some(number(60)),
            keepalive_interval: Some(number(15)),
            keepalive_probes: Some(number(3)),
        }),
        ..UpstreamConnectionOptions::default()
    }
}

fn spoken(protocol: Protocol) -> Option<HttpProtocolOptions> {
    let config = match protocol {
        Protocol::Http => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
        Protocol::Http2 | Protocol::Grpc => {
            ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())
        }
        Protocol::Tcp => return None,
    };
    let config = ExplicitHttpConfig { protocol_config: Some(config) };
    Some(HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)),
        ..HttpProtocolOptions::default()
    })
}

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
