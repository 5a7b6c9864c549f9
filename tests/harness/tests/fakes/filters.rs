//! Istio's own filters are where a real istiod has them.

use hawser_harness::filters::{
    ALPN, EXCHANGE, Extension, HTTP_EXCHANGE, NETWORK_EXCHANGE, STATS, TYPED_STRUCT, WASM, dress,
    extend,
};
use hawser_harness::free;
use hawser_harness::istiod::{State, World};
use hawser_harness::service::{Secrets, Service};
use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use hawser_proto::envoy::envoy::config::core::v3::TypedExtensionConfig;
use hawser_proto::envoy::envoy::config::listener::v3::{Listener, filter::ConfigType};
use hawser_proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use hawser_proto::type_url::{CLUSTER, EXTENSION_CONFIG, LISTENER};
use prost::Message;

fn look(edit: impl FnOnce(&mut State)) {
    let service = Service::new("hello", "demo", "127.0.0.1:1".parse().unwrap()).unwrap();
    World::default().change(|state| {
        Service::publish(std::slice::from_ref(&service), Secrets::Agent, state);
        edit(state);
    });
}

fn manager(state: &State, listener: &str) -> Vec<HttpFilter> {
    let all = state.all(LISTENER);
    let (_, any) = all.iter().find(|(name, _)| name.starts_with(listener)).unwrap();
    let listener = Listener::decode(any.value.as_slice()).unwrap();
    let last = listener.filter_chains[0].filters.last().unwrap();
    let Some(ConfigType::TypedConfig(config)) = &last.config_type else { panic!("{last:?}") };
    HttpConnectionManager::decode(config.value.as_slice()).unwrap().http_filters
}

fn kinds(filters: &[HttpFilter]) -> Vec<(&str, &str)> {
    let kind = |filter: &HttpFilter| match &filter.config_type {
        Some(http_filter::ConfigType::TypedConfig(any)) => {
            [ALPN, STATS, TYPED_STRUCT].into_iter().find(|kind| *kind == any.type_url)
        }
        _ => None,
    };
    filters.iter().map(|one| (one.name.as_str(), kind(one).unwrap_or(""))).collect()
}

fn has(value: &[u8], text: &str) -> bool {
    value.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn clusters_and_listeners_are_dressed_as_in_a_default_installation() {
    look(|state| {
        let inbound = free::vip().unwrap();
        dress(state, inbound).unwrap();

        assert_eq!(
            kinds(&manager(state, "127.")),
            [
                (EXCHANGE, TYPED_STRUCT),
                ("istio.alpn", ALPN),
                ("istio.stats", STATS),
                ("envoy.filters.http.router", ""),
            ]
        );
        let clusters = state.all(CLUSTER);
        let with = clusters
            .values()
            .filter(|any| !Cluster::decode(any.value.as_slice()).unwrap().filters.is_empty());
        assert_eq!((clusters.len(), with.count()), (4, 3), "all but the black hole");
        let inbound = &state.all(LISTENER)["virtualInbound"].value;
        for text in [NETWORK_EXCHANGE, HTTP_EXCHANGE, STATS, "downstream_propagation"] {
            assert!(has(inbound, text), "{text}");
        }
    });
}

#[test]
fn an_extension_is_asked_for_by_listeners_and_delivered_by_itself() {
    look(|state| {
        let extension = Extension::new("vms.te", "oci://127.0.0.1:5000/filter:1");
        extend(state, &extension).unwrap();

        let filters = manager(state, "127.");
        assert_eq!(filters[0].name, "extensions.istio.io/trafficextension/vms.te");
        let discovered = Some(http_filter::ConfigType::ConfigDiscovery(Default::default()));
        assert_eq!(
            filters[0].config_type.as_ref().map(std::mem::discriminant),
            discovered.as_ref().map(std::mem::discriminant)
        );
        let config = &state.all(EXTENSION_CONFIG)[&extension.resource()];
        let config = TypedExtensionConfig::decode(config.value.as_slice()).unwrap();
        assert_eq!(config.typed_config.as_ref().unwrap().type_url, WASM);
        assert!(has(&config.typed_config.unwrap().value, "oci://127.0.0.1:5000/filter:1"));
    });
}
