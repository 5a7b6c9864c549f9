//! All of it as a file that an Envoy can be asked about before it is told: `envoy --mode validate`.
//!
//! What an operator has written in Envoy's own words, nobody else can judge.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use bytes::Bytes;
use hawser_proto::{
    envoy::envoy::{
        config::{
            bootstrap::v3::{
                Bootstrap,
                bootstrap::{DynamicResources, StaticResources},
            },
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType},
            },
            core::v3::{
                ApiConfigSource, ApiVersion, GrpcService, Node, api_config_source, grpc_service,
            },
            endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints},
            listener::v3::{Listener, filter::ConfigType},
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier,
        },
    },
    type_url,
};
use prost::{Message, Name};

use super::{
    Local, Made, cluster as outbound, make,
    message::{endpoint, pack, socket},
};
use crate::{
    addresses::Addresses,
    model::{Protocol, Service, Services},
    problem::Place,
};

/// One thing that only an Envoy can judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub what: String,
    /// A bootstrap with it and nothing else that could be wrong, as in [`Made::trial`].
    pub bootstrap: Bytes,
}

impl Services {
    /// What in them only an Envoy can judge, each once.
    pub fn trials(&self) -> Vec<Trial> {
        let mut trials = Vec::new();
        let mut seen = HashSet::new();
        for service in &self.services {
            let bare = Service { filters: Vec::new(), transcode: None, ..service.clone() };
            for filter in &service.filters {
                if seen.insert((&filter.name, filter.config.to_string())) {
                    let one = Service { filters: vec![filter.clone()], ..bare.clone() };
                    trials.push(Trial {
                        place: filter.place.clone(),
                        what: format!("filter {} of {}", filter.name, service.host),
                        bootstrap: self.alone(one),
                    });
                }
            }
            if service.transcode.is_some() {
                let one = Service { filters: Vec::new(), ..service.clone() };
                trials.push(Trial {
                    place: service.place.clone(),
                    what: format!("transcode of {}", service.host),
                    bootstrap: self.alone(one),
                });
            }
        }
        trials
    }

    /// One of them, as if there were no other.
    fn alone(&self, service: Service) -> Bytes {
        let services =
            Self { gateways: self.gateways.clone(), services: vec![service], ..Self::default() };
        make(&services, &Addresses::default(), &Local::default()).trial()
    }
}

impl Made {
    /// A bootstrap in protobuf (a file that ends in `.pb`) with all clusters, listeners and routes in
    /// it. It is for judging: nobody answers its requests for secrets.
    pub fn trial(&self) -> Bytes {
        let clusters = self.all(type_url::CLUSTER);
        let mut listeners: Vec<Listener> = self.all(type_url::LISTENER).collect();
        listeners.iter_mut().for_each(|listener| self.settle(listener));
        let envoy = grpc_service::EnvoyGrpc { cluster_name: XDS.to_owned(), ..Default::default() };
        let ads = ApiConfigSource {
            api_type: api_config_source::ApiType::Grpc.into(),
            transport_api_version: ApiVersion::V3.into(),
            grpc_services: vec![GrpcService {
                target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy)),
                ..GrpcService::default()
            }],
            ..ApiConfigSource::default()
        };
        let bootstrap = Bootstrap {
            static_resources: Some(StaticResources {
                clusters: [XDS, SDS].map(agent).into_iter().chain(clusters).collect(),
                listeners,
                ..StaticResources::default()
            }),
            dynamic_resources: Some(DynamicResources {
                ads_config: Some(ads),
                ..DynamicResources::default()
            }),
            // Whoever asks for secrets has to be somebody.
            node: Some(Node { id: OURS.into(), cluster: OURS.into(), ..Node::default() }),
            ..Bootstrap::default()
        };
        bootstrap.encode_to_vec().into()
    }

    /// Puts the routes where they are asked for.
    fn settle(&self, listener: &mut Listener) {
        for filter in listener.filter_chains.iter_mut().flat_map(|chain| &mut chain.filters) {
            let Some(ConfigType::TypedConfig(config)) = &mut filter.config_type else { continue };
            if config.type_url != HttpConnectionManager::type_url() {
                continue;
            }
            let Ok(mut manager) = HttpConnectionManager::decode(config.value.as_slice()) else {
                continue;
            };
            if let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier
                && let Some(routes) = self.one(type_url::ROUTE, &rds.route_config_name)
            {
                manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
                *config = pack(&manager);
            }
        }
    }

    fn all<M: Message + Default>(&self, type_url: &str) -> impl Iterator<Item = M> {
        let resources = self.0.get(type_url).into_iter().flat_map(|resources| resources.values());
        resources.filter_map(|one| M::decode(one.body.clone()).ok())
    }

    fn one<M: Message + Default>(&self, type_url: &str, name: &str) -> Option<M> {
        M::decode(self.0.get(type_url)?.get(name)?.body.clone()).ok()
    }
}

/// A cluster of the machine's bootstrap.
fn agent(name: &str) -> Cluster {
    let nobody = endpoint(socket(SocketAddr::from(([127, 0, 0, 1], 9))));
    let endpoints = LocalityLbEndpoints { lb_endpoints: vec![nobody], ..Default::default() };
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![endpoints],
            ..ClusterLoadAssignment::default()
        }),
        ..outbound::plain(name.to_owned(), Protocol::Grpc, Duration::from_secs(1))
    }
}

const OURS: &str = "hawser";
const XDS: &str = "xds-grpc";
const SDS: &str = "sds-grpc";
