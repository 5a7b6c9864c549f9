//! Routes: what is said to filters, wherever routes are.

use std::collections::HashMap;

use hawser_proto::envoy::{
    envoy::{
        config::route::v3::{
            FilterConfig, Route, RouteAction, RouteConfiguration, ScopedRouteConfiguration,
            VirtualHost, WeightedCluster, route, route_action, weighted_cluster::ClusterWeight,
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, ScopedRouteConfigurationsList, ScopedRoutes,
            http_connection_manager::RouteSpecifier, scoped_routes::ConfigSpecifier,
        },
    },
    google::protobuf::Any,
};

use super::{
    FOREIGN, HCM, LISTENER, RBAC, ROUTES, STATS, any, becomes, fitted, listener, network, pack,
    stays, wrapped,
};
use crate::Place;

const HOST: &str = "envoy.config.route.v3.VirtualHost";
const SCOPE: &str = "envoy.config.route.v3.ScopedRouteConfiguration";

type Said = HashMap<String, Any>;

fn said(config: Any) -> Said {
    [("istio.stats".to_owned(), config)].into()
}

/// Says the same everywhere where something can be said.
fn routes(said: &Said) -> RouteConfiguration {
    let weight = ClusterWeight { typed_per_filter_config: said.clone(), ..Default::default() };
    let weighted = WeightedCluster { clusters: vec![weight], ..Default::default() };
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::WeightedClusters(weighted)),
        ..Default::default()
    };
    let route = Route {
        action: Some(route::Action::Route(action)),
        typed_per_filter_config: said.clone(),
        ..Default::default()
    };
    let host = VirtualHost {
        name: "web".to_owned(),
        routes: vec![route],
        typed_per_filter_config: said.clone(),
        ..Default::default()
    };
    RouteConfiguration {
        name: "80".to_owned(),
        virtual_hosts: vec![host],
        typed_per_filter_config: said.clone(),
        ..Default::default()
    }
}

const REMOVED: [(Place, &str); 1] = [(Place::PerFilterConfig, "istio.stats")];

#[test]
fn what_is_said_to_a_filter_that_is_gone_goes_everywhere() {
    for config in [any(STATS, []), wrapped(STATS)] {
        let given = routes(&said(config));
        let wanted = routes(&Said::new());

        becomes(ROUTES, &given, &wanted, &REMOVED);
        becomes(HOST, &given.virtual_hosts[0], &wanted.virtual_hosts[0], &REMOVED);
        let scope = |routes| ScopedRouteConfiguration {
            name: "scope".to_owned(),
            route_configuration: Some(routes),
            ..Default::default()
        };
        becomes(SCOPE, &scope(given), &scope(wanted), &REMOVED);
    }
}

#[test]
fn routes_within_a_listener_are_looked_into() {
    let with = |specifier| {
        let manager =
            HttpConnectionManager { route_specifier: Some(specifier), ..Default::default() };
        listener(vec![network("http", pack(HCM, &manager))])
    };
    let scoped = |routes| {
        let scope =
            ScopedRouteConfiguration { route_configuration: Some(routes), ..Default::default() };
        let list = ScopedRouteConfigurationsList { scoped_route_configurations: vec![scope] };
        RouteSpecifier::ScopedRoutes(ScopedRoutes {
            config_specifier: Some(ConfigSpecifier::ScopedRouteConfigurationsList(list)),
            ..Default::default()
        })
    };
    let (given, wanted) = (routes(&said(any(STATS, []))), routes(&Said::new()));

    becomes(LISTENER, &with(scoped(given.clone())), &with(scoped(wanted.clone())), &REMOVED);
    becomes(
        LISTENER,
        &with(RouteSpecifier::RouteConfig(given)),
        &with(RouteSpecifier::RouteConfig(wanted)),
        &REMOVED,
    );
}

#[test]
fn what_is_said_to_other_filters_stays() {
    stays(ROUTES, &routes(&said(any(RBAC, []))), &[]);
    stays(ROUTES, &routes(&said(any(FOREIGN, []))), &[(Place::PerFilterConfig, "istio.stats")]);
}

#[test]
fn what_is_wrapped_counts_unless_envoy_passes_over_it() {
    let wrapper = |config, is_optional, disabled| {
        let config = FilterConfig { config, is_optional, disabled };
        routes(&said(pack("envoy.config.route.v3.FilterConfig", &config)))
    };
    let stats = || Some(any(STATS, []));

    becomes(ROUTES, &wrapper(stats(), false, false), &routes(&Said::new()), &REMOVED);
    for given in [
        wrapper(stats(), true, false),
        wrapper(stats(), false, true),
        wrapper(None, false, true),
        wrapper(None, false, false),
        wrapper(Some(any(RBAC, [])), false, false),
    ] {
        stays(ROUTES, &given, &[]);
    }
    let foreign = wrapper(Some(any(FOREIGN, [])), false, false);
    assert_eq!(fitted(ROUTES, &foreign).kept[0].type_url, super::url(FOREIGN));
}
