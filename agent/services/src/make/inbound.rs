//! What of this machine the mesh may call.

use std::{net::SocketAddr, time::Duration};

use hawser_proto::envoy::envoy::{
    config::{
        cluster::v3::{
            Cluster,
            cluster::{ClusterDiscoveryType, DiscoveryType},
        },
        core::v3::TrafficDirection,
        endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints},
        listener::v3::{FilterChain, Listener},
        rbac::v3::{
            Permission, Policy, Principal, Rbac, permission,
            principal::{Authenticated, Identifier},
            rbac::Action,
        },
        route::v3::{Route, RouteAction, RouteConfiguration, VirtualHost, route, route_action},
    },
    extensions::filters::{
        http::rbac::v3 as http_rbac,
        network::{
            http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter,
                http_connection_manager::{
                    ForwardClientCertDetails, RouteSpecifier, SetCurrentClientCertDetails,
                },
            },
            tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
        },
    },
};

use super::{
    access, chain, cluster as outbound,
    listener::manager,
    message::{endpoint, lasting, matching, pack, socket, truth},
    route::everything,
    tls,
};
use crate::model::{Callers, Inbound, Protocol, ServerCertificate, Services};

/// What the listener is called, and the cluster behind it.
pub(super) fn name(inbound: &Inbound) -> String {
    format!("hawser/inbound/{}", at(inbound))
}

/// The program.
pub(super) fn cluster(inbound: &Inbound) -> Cluster {
    let (address, port) = inbound.to;
    let to = endpoint(socket(SocketAddr::new(address, port.get())));
    let endpoints = LocalityLbEndpoints { lb_endpoints: vec![to], ..Default::default() };
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name(inbound),
            endpoints: vec![endpoints],
            ..ClusterLoadAssignment::default()
        }),
        ..outbound::plain(name(inbound), inbound.protocol, Duration::from_secs(5))
    }
}

/// Where it is called.
pub(super) fn listener(inbound: &Inbound, services: &Services) -> Listener {
    let callers = match &inbound.callers {
        Callers::These(callers) => callers.clone(),
        Callers::Mesh => vec![format!("spiffe://{}/*", services.trust_domain)],
        Callers::Anybody => Vec::new(),
    };
    let (protocol, http) = (inbound.protocol, inbound.protocol != Protocol::Tcp);
    let socket_of = match &inbound.callers {
        Callers::Anybody => tls::from_anybody(&ServerCertificate::Own, protocol),
        // A request can be answered with a refusal. A connection is refused with its handshake, before
        // anything is said to the program or by it.
        _ if http => tls::from_mesh(&[], protocol),
        _ => tls::from_mesh(&callers, protocol),
    };
    let chain = if http {
        chain::of(chain::MANAGER, &requests(inbound, &callers, services))
    } else {
        chain::of(chain::TCP_PROXY, &connections(inbound, services))
    };
    Listener {
        name: name(inbound),
        address: Some(socket(at(inbound))),
        filter_chains: vec![FilterChain { transport_socket: Some(socket_of), ..chain }],
        traffic_direction: TrafficDirection::Inbound.into(),
        ..Listener::default()
    }
}

fn at(inbound: &Inbound) -> SocketAddr {
    SocketAddr::new(inbound.address, inbound.port.get())
}

fn requests(inbound: &Inbound, callers: &[String], services: &Services) -> HttpConnectionManager {
    let mesh = inbound.callers != Callers::Anybody;
    let told = if mesh {
        ForwardClientCertDetails::SanitizeSet
    } else {
        ForwardClientCertDetails::Sanitize
    };
    HttpConnectionManager {
        stat_prefix: format!("hawser_inbound_{};", at(inbound)),
        route_specifier: Some(RouteSpecifier::RouteConfig(all_to(inbound))),
        http_filters: mesh.then(|| only(callers)).into_iter().chain([chain::router()]).collect(),
        use_remote_address: Some(truth(true)),
        // Who calls, for the program to see.
        forward_client_cert_details: told.into(),
        set_current_client_cert_details: mesh.then(|| SetCurrentClientCertDetails {
            uri: true,
            ..SetCurrentClientCertDetails::default()
        }),
        access_log: access::requests(services),
        ..manager()
    }
}

fn all_to(inbound: &Inbound) -> RouteConfiguration {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(name(inbound))),
        timeout: Some(lasting(Duration::ZERO)),
        ..RouteAction::default()
    };
    let route = Route {
        r#match: Some(everything()),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    };
    RouteConfiguration {
        name: name(inbound),
        // The cluster may come after the listener.
        validate_clusters: Some(truth(false)),
        virtual_hosts: vec![VirtualHost {
            name: name(inbound),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

/// Whoever is none of these is answered 403, and counted.
fn only(callers: &[String]) -> HttpFilter {
    let principal = |caller: &String| Principal {
        identifier: Some(Identifier::Authenticated(Authenticated {
            principal_name: Some(matching(caller)),
        })),
    };
    let policy = Policy {
        permissions: vec![Permission { rule: Some(permission::Rule::Any(true)) }],
        principals: callers.iter().map(principal).collect(),
        ..Policy::default()
    };
    let rules = Rbac {
        action: Action::Allow.into(),
        policies: [("callers".to_owned(), policy)].into(),
        ..Rbac::default()
    };
    let rbac = http_rbac::Rbac { rules: Some(rules), ..http_rbac::Rbac::default() };
    chain::http("envoy.filters.http.rbac", pack(&rbac))
}

fn connections(inbound: &Inbound, services: &Services) -> TcpProxy {
    TcpProxy {
        stat_prefix: name(inbound),
        cluster_specifier: Some(ClusterSpecifier::Cluster(name(inbound))),
        access_log: access::connections(services),
        ..TcpProxy::default()
    }
}
