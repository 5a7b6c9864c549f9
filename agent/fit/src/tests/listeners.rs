//! Listeners: filters of every kind, and what is in them.

use hawser_proto::envoy::envoy::{
    config::{
        accesslog::v3::{AccessLog, access_log},
        core::v3::{
            ExtensionConfigSource, TransportSocket, TypedExtensionConfig, transport_socket,
        },
        listener::v3::{
            ApiListener, Filter, FilterChainMatch, Listener, ListenerFilter, filter,
            listener_filter,
        },
    },
    extensions::{
        filters::{
            http::router::v3::Router,
            network::{
                http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, http_connection_manager::UpgradeConfig,
                    http_filter,
                },
                tcp_proxy::v3::TcpProxy,
            },
        },
        transport_sockets::tls::v3::{CommonTlsContext, DownstreamTlsContext},
    },
};

use super::{
    ALPN, DOWNSTREAM_TLS, EXCHANGE, EXTENSION, FILE_LOG, FOREIGN, HCM, LISTENER, PEER_METADATA,
    RBAC, ROUTER, STATS, TCP_PROXY, any, becomes, chain, http, listener, network, pack, router,
    serving, stays, typed_struct, wrapped,
};
use crate::Place;

fn rbac() -> HttpFilter {
    http("envoy.filters.http.rbac", any(RBAC, *b"\x12\x01x"))
}

fn tcp_proxy() -> Filter {
    network("envoy.filters.network.tcp_proxy", any(TCP_PROXY, *b"\x0a\x01x"))
}

fn log(name: &str, config: &str) -> AccessLog {
    let config = access_log::ConfigType::TypedConfig(any(config, []));
    AccessLog { name: name.to_owned(), filter: None, config_type: Some(config) }
}

fn listener_filter(name: &str, config: &str) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(config, []))),
        ..Default::default()
    }
}

#[test]
fn http_filters_of_istios_own_go_and_the_others_keep_their_order() {
    let given = serving(vec![
        http("istio.metadata_exchange", wrapped(PEER_METADATA)),
        rbac(),
        http("istio.alpn", any(ALPN, [])),
        http("istio.stats", any(STATS, *b"\x0a\x02{}")),
        router(),
    ]);
    let removed = [
        (Place::HttpFilter, "istio.metadata_exchange"),
        (Place::HttpFilter, "istio.alpn"),
        (Place::HttpFilter, "istio.stats"),
    ];

    becomes(LISTENER, &given, &serving(vec![rbac(), router()]), &removed);
}

#[test]
fn a_typed_struct_is_what_it_stands_for() {
    for outer in ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"] {
        let cut = http("x", typed_struct(outer, STATS));
        let fine = http("rbac", typed_struct(outer, RBAC));
        becomes(
            LISTENER,
            &serving(vec![cut, fine.clone(), router()]),
            &serving(vec![fine, router()]),
            &[(Place::HttpFilter, "x")],
        );
        stays(
            LISTENER,
            &serving(vec![http("gate", typed_struct(outer, FOREIGN)), router()]),
            &[(Place::HttpFilter, "gate")],
        );
    }
}

#[test]
fn network_filters_go_from_every_chain() {
    let exchange = || network("istio.metadata_exchange", wrapped(EXCHANGE));
    let stats = || network("istio.stats", any(STATS, []));
    let mut given = listener(vec![exchange(), stats(), tcp_proxy()]);
    given.filter_chains.push(chain(vec![exchange(), tcp_proxy()]));
    given.default_filter_chain = Some(chain(vec![stats(), tcp_proxy()]));
    let mut wanted = listener(vec![tcp_proxy()]);
    wanted.filter_chains.push(chain(vec![tcp_proxy()]));
    wanted.default_filter_chain = Some(chain(vec![tcp_proxy()]));
    let removed =
        [(Place::NetworkFilter, "istio.metadata_exchange"), (Place::NetworkFilter, "istio.stats")];

    becomes(LISTENER, &given, &wanted, &removed);
}

#[test]
fn what_decides_over_requests_stays_and_is_told() {
    stays(
        LISTENER,
        &serving(vec![http("gate", any(FOREIGN, [])), router()]),
        &[(Place::HttpFilter, "gate")],
    );
    stays(
        LISTENER,
        &listener(vec![network("gate", any(FOREIGN, [])), tcp_proxy()]),
        &[(Place::NetworkFilter, "gate")],
    );
    stays(
        LISTENER,
        &Listener {
            listener_filters: vec![listener_filter("gate", FOREIGN)],
            access_log: vec![log("log", FOREIGN), log("file", FILE_LOG)],
            ..Default::default()
        },
        &[(Place::ListenerFilter, "gate"), (Place::AccessLog, "log")],
    );
}

#[test]
fn a_filter_with_nothing_but_a_name_stays_and_is_told() {
    let named = HttpFilter { name: "envoy.filters.http.router".to_owned(), ..Default::default() };

    stays(LISTENER, &serving(vec![named]), &[(Place::HttpFilter, "envoy.filters.http.router")]);
}

#[test]
fn an_optional_filter_is_left_to_envoy() {
    let optional = HttpFilter { is_optional: true, ..http("gate", any(FOREIGN, [])) };

    stays(LISTENER, &serving(vec![optional, router()]), &[]);
}

#[test]
fn a_filter_that_comes_by_itself_is_judged_by_what_it_may_be() {
    let discovered = |types: &[&str]| HttpFilter {
        name: "late".to_owned(),
        config_type: Some(http_filter::ConfigType::ConfigDiscovery(ExtensionConfigSource {
            type_urls: types.iter().map(|name| super::url(name)).collect(),
            ..Default::default()
        })),
        ..Default::default()
    };

    stays(LISTENER, &serving(vec![discovered(&[RBAC]), router()]), &[]);
    becomes(
        LISTENER,
        &serving(vec![discovered(&[STATS, ALPN]), router()]),
        &serving(vec![router()]),
        &[(Place::HttpFilter, "late")],
    );
    for types in [&[RBAC, STATS][..], &[STATS, RBAC], &[STATS, FOREIGN], &[FOREIGN, STATS, ALPN]] {
        let given = serving(vec![discovered(types), router()]);
        stays(LISTENER, &given, &[(Place::HttpFilter, "late")]);
    }
}

#[test]
fn upgrades_and_the_way_upstream_have_filters_too() {
    let manager = |own: bool| {
        let mut filters = vec![http("istio.stats", any(STATS, [])), router()];
        let mut upstream = vec![http("up", any(STATS, [])), rbac()];
        let mut logs = vec![log("log", STATS), log("file", FILE_LOG)];
        if !own {
            filters.remove(0);
            upstream.remove(0);
            logs.remove(0);
        }
        let router = Router {
            upstream_http_filters: upstream,
            upstream_log: logs.clone(),
            ..Default::default()
        };
        let upgrade =
            UpgradeConfig { upgrade_type: "websocket".to_owned(), filters, ..Default::default() };
        HttpConnectionManager {
            upgrade_configs: vec![upgrade],
            access_log: logs,
            http_filters: vec![http("envoy.filters.http.router", pack(ROUTER, &router))],
            ..Default::default()
        }
    };
    let with = |own| listener(vec![network("http", pack(HCM, &manager(own)))]);
    let removed = [
        (Place::AccessLog, "log"),
        (Place::UpstreamFilter, "up"),
        (Place::HttpFilter, "istio.stats"),
    ];

    becomes(LISTENER, &with(true), &with(false), &removed);
}

#[test]
fn access_logs_and_api_listeners_are_looked_into() {
    let with = |own: bool| {
        let logs = if own {
            vec![log("log", STATS), log("file", FILE_LOG)]
        } else {
            vec![log("file", FILE_LOG)]
        };
        let proxy = TcpProxy { access_log: logs.clone(), ..Default::default() };
        let manager = HttpConnectionManager { access_log: logs.clone(), ..Default::default() };
        Listener {
            access_log: logs,
            api_listener: Some(ApiListener { api_listener: Some(pack(HCM, &manager)) }),
            ..listener(vec![network("tcp", pack(TCP_PROXY, &proxy))])
        }
    };

    becomes(LISTENER, &with(true), &with(false), &[(Place::AccessLog, "log")]);
}

#[test]
fn the_exchange_is_no_longer_negotiated_but_still_matched() {
    let with = |protocols: &[&str]| {
        let mut listener = listener(vec![tcp_proxy()]);
        let tls = DownstreamTlsContext {
            common_tls_context: Some(CommonTlsContext {
                alpn_protocols: protocols.iter().copied().map(str::to_owned).collect(),
                ..Default::default()
            }),
            ..Default::default()
        };
        listener.filter_chains[0].filter_chain_match = Some(FilterChainMatch {
            application_protocols: vec!["istio-peer-exchange".to_owned(), "istio".to_owned()],
            ..Default::default()
        });
        listener.filter_chains[0].transport_socket = Some(TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(pack(
                DOWNSTREAM_TLS,
                &tls,
            ))),
        });
        listener
    };
    let removed = [(Place::Alpn, "istio-peer-exchange")];

    becomes(
        LISTENER,
        &with(&["istio-peer-exchange", "h2", "http/1.1"]),
        &with(&["h2", "http/1.1"]),
        &removed,
    );
    stays(LISTENER, &with(&["h2", "http/1.1"]), &[]);
}

#[test]
fn a_filter_delivered_by_itself_is_cut_inside_and_never_away() {
    let delivered =
        |config| TypedExtensionConfig { name: "late".to_owned(), typed_config: Some(config) };
    let manager = |filters| HttpConnectionManager { http_filters: filters, ..Default::default() };

    becomes(
        EXTENSION,
        &delivered(pack(HCM, &manager(vec![http("x", any(STATS, [])), router()]))),
        &delivered(pack(HCM, &manager(vec![router()]))),
        &[(Place::HttpFilter, "x")],
    );
    stays(EXTENSION, &delivered(any(RBAC, [])), &[]);
    for name in [STATS, FOREIGN] {
        stays(EXTENSION, &delivered(any(name, [])), &[(Place::ExtensionConfig, "late")]);
    }
    stays(EXTENSION, &TypedExtensionConfig::default(), &[(Place::ExtensionConfig, "")]);
}

#[test]
fn two_ways_to_configure_a_filter_are_left_to_envoy() {
    let one = Filter {
        name: "x".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(STATS, []))),
    };
    let other = Filter {
        config_type: Some(filter::ConfigType::ConfigDiscovery(ExtensionConfigSource {
            type_urls: vec![super::url(RBAC)],
            ..Default::default()
        })),
        ..Default::default()
    };
    // Both, as no encoder would write it: which one counts is the order's affair.
    let mut both = prost::Message::encode_to_vec(&one);
    both.extend(prost::Message::encode_to_vec(&other));
    let mut chain = Vec::new();
    hawser_wire::write::bytes(&mut chain, 3, &both);
    let mut listener = Vec::new();
    hawser_wire::write::bytes(&mut listener, 3, &chain);

    let fitted = crate::fit(&super::url(LISTENER), &listener, &super::stock()).unwrap();

    assert_eq!(fitted.value, None);
    assert_eq!(super::told(&fitted.kept), [(Place::NetworkFilter, "x")]);
}
