//! Clusters: filters, options, and the protocols of their connections.

use hawser_proto::envoy::envoy::{
    config::{
        cluster::v3::{Cluster, Filter, cluster::TransportSocketMatch},
        core::v3::{TransportSocket, transport_socket::ConfigType},
    },
    extensions::{
        transport_sockets::{
            proxy_protocol::v3::ProxyProtocolUpstreamTransport,
            tls::v3::{CommonTlsContext, UpstreamTlsContext},
        },
        upstreams::http::v3::HttpProtocolOptions,
    },
};

use super::{
    CLUSTER, EXCHANGE, FOREIGN, RBAC, STATS, UPSTREAM_TLS, any, becomes, http, pack, stays, wrapped,
};
use crate::Place;

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const PROXY_PROTOCOL: &str =
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";

fn cluster() -> Cluster {
    Cluster { name: "outbound|80||web".to_owned(), ..Default::default() }
}

fn socket(name: &str, config: &impl prost::Message) -> TransportSocket {
    TransportSocket {
        name: "socket".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(name, config))),
    }
}

fn tls(protocols: &[&str]) -> TransportSocket {
    let common = CommonTlsContext {
        alpn_protocols: protocols.iter().copied().map(str::to_owned).collect(),
        ..Default::default()
    };
    let context = UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: "outbound_.80_._.web".to_owned(),
        ..Default::default()
    };
    socket(UPSTREAM_TLS, &context)
}

#[test]
fn filters_of_istios_own_go() {
    let filter = |name: &str, config| Filter {
        name: name.to_owned(),
        typed_config: Some(config),
        ..Default::default()
    };
    let exchange = filter("istio.metadata_exchange", wrapped(EXCHANGE));
    let fine = filter("rbac", any(RBAC, []));
    let with = |filters| Cluster { filters, ..cluster() };

    becomes(
        CLUSTER,
        &with(vec![exchange, fine.clone()]),
        &with(vec![fine]),
        &[(Place::UpstreamFilter, "istio.metadata_exchange")],
    );
    stays(
        CLUSTER,
        &with(vec![filter("gate", any(FOREIGN, []))]),
        &[(Place::UpstreamFilter, "gate")],
    );
}

#[test]
fn options_of_unknown_kind_stay_and_those_of_plumbing_go() {
    let given = Cluster {
        typed_extension_protocol_options: [("istio.stats".to_owned(), any(STATS, []))].into(),
        ..cluster()
    };

    becomes(CLUSTER, &given, &cluster(), &[(Place::ProtocolOptions, "istio.stats")]);
    // Envoy's list does not tell what kinds of options there are.
    let given = Cluster {
        typed_extension_protocol_options: [("x".to_owned(), any(FOREIGN, []))].into(),
        ..cluster()
    };
    stays(CLUSTER, &given, &[]);
}

#[test]
fn http_filters_towards_an_upstream_go() {
    let with = |filters| {
        let options = HttpProtocolOptions { http_filters: filters, ..Default::default() };
        Cluster {
            typed_extension_protocol_options: [(OPTIONS.to_owned(), pack(OPTIONS, &options))]
                .into(),
            ..cluster()
        }
    };
    let rbac = || http("rbac", any(RBAC, []));

    becomes(
        CLUSTER,
        &with(vec![http("istio.stats", any(STATS, [])), rbac()]),
        &with(vec![rbac()]),
        &[(Place::UpstreamFilter, "istio.stats")],
    );
}

#[test]
fn the_exchange_is_no_longer_offered_wherever_the_socket_is() {
    let offered = &["istio-peer-exchange", "istio", "h2"];
    let left = &["istio", "h2"];
    let own = |protocols| Cluster { transport_socket: Some(tls(protocols)), ..cluster() };
    let matched = |protocols| {
        let transport_socket = Some(tls(protocols));
        let matches = [
            TransportSocketMatch {
                name: "tlsMode-istio".to_owned(),
                transport_socket,
                ..Default::default()
            },
            TransportSocketMatch::default(),
        ];
        Cluster { transport_socket_matches: matches.into(), ..cluster() }
    };
    let around = |protocols| {
        let transport = ProxyProtocolUpstreamTransport {
            transport_socket: Some(tls(protocols)),
            ..Default::default()
        };
        Cluster { transport_socket: Some(socket(PROXY_PROTOCOL, &transport)), ..cluster() }
    };
    let removed = [(Place::Alpn, "istio-peer-exchange")];

    becomes(CLUSTER, &own(offered), &own(left), &removed);
    becomes(CLUSTER, &matched(offered), &matched(left), &removed);
    becomes(CLUSTER, &around(offered), &around(left), &removed);
    stays(CLUSTER, &own(left), &[]);
}
