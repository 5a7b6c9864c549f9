//! Which service a request means: the one whose name stands in it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hawser_proto::envoy::envoy::config::{
    core::v3::{DataSource, data_source},
    route::v3::{
        DirectResponseAction, FilterConfig, RetryPolicy, Route, RouteAction, RouteConfiguration,
        RouteMatch, VirtualHost,
        retry_policy::{RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority},
        route::Action,
        route_action::{self, MaxStreamDuration},
        route_match,
    },
};
use hawser_proto::envoy::{
    envoy::extensions::retry::{
        host::previous_hosts::v3::PreviousHostsPredicate,
        priority::previous_priorities::v3::PreviousPrioritiesConfig,
    },
    google::protobuf::Any,
};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};

use super::{
    Local, chain,
    message::{lasting, number, pack},
    names,
};
use crate::model::{Protocol, Service};

/// What the routes of a port are called.
pub(super) fn name(port: u16) -> String {
    format!("hawser/http/{port}")
}

/// The routes of a port, as a `RouteConfiguration`.
pub(super) fn of(port: u16, services: &[&Service], local: &Local) -> Bytes {
    let config = RouteConfiguration {
        name: name(port),
        // Programs write the port behind the name, and not always the one that is listened on.
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    };
    let mut message = config.encode_to_vec();
    for (service, domains) in services.iter().zip(domains(services, local)) {
        // Its own name may be another's alias: then there is nothing to match.
        if !domains.is_empty() {
            let host = VirtualHost {
                name: service.host.clone(),
                domains,
                routes: vec![route(service)],
                ..VirtualHost::default()
            };
            append(VIRTUAL_HOSTS, &with_filters(&host, service), &mut message);
        }
    }
    append(VIRTUAL_HOSTS, &nobody().encode_to_vec(), &mut message);
    message.into()
}

/// What each service is called: nobody by the name of another. Names and aliases go before short forms,
/// and the first in the file before the others.
fn domains(services: &[&Service], local: &Local) -> Vec<Vec<String>> {
    let mut taken = BTreeSet::new();
    let mut domains = vec![Vec::new(); services.len()];
    let mut claim = |index: usize, name: String| {
        if let Some(own) = domains.get_mut(index)
            && taken.insert(name.clone())
        {
            own.push(name);
        }
    };
    for (index, service) in services.iter().enumerate() {
        claim(index, service.host.clone());
    }
    for (index, service) in services.iter().enumerate() {
        service.aliases.iter().for_each(|alias| claim(index, alias.clone()));
    }
    let mut bare = BTreeMap::<_, Vec<_>>::new();
    for (index, service) in services.iter().enumerate() {
        if let Some((name, namespace)) = names::service(&service.host) {
            claim(index, format!("{name}.{namespace}"));
            claim(index, format!("{name}.{namespace}.svc"));
            bare.entry(name).or_default().push((index, namespace));
        }
    }
    for (name, holders) in bare {
        let own = holders.iter().find(|(_, namespace)| *namespace == local.namespace);
        match (own, holders.as_slice()) {
            (Some((index, _)), _) | (None, [(index, _)]) => claim(*index, name.to_owned()),
            // Which of them it means, nobody can tell.
            _ => {}
        }
    }
    domains
}

fn route(service: &Service) -> Route {
    let timeout = lasting(service.timeout);
    let grpc = service.protocol == Protocol::Grpc;
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(service.cluster())),
        timeout: Some(timeout),
        // What a caller of gRPC says of its own patience holds, up to what the file says.
        max_stream_duration: grpc.then(|| MaxStreamDuration {
            grpc_timeout_header_max: Some(timeout),
            ..MaxStreamDuration::default()
        }),
        retry_policy: (service.retries > 0).then(|| retries(service)),
        ..RouteAction::default()
    };
    Route { r#match: Some(everything()), action: Some(Action::Route(action)), ..Route::default() }
}

/// Tried again is what nobody has begun to work on: elsewhere first.
fn retries(service: &Service) -> RetryPolicy {
    let mut when = "connect-failure,refused-stream,reset-before-request".to_owned();
    if service.protocol == Protocol::Grpc {
        when.push_str(",unavailable");
    }
    let elsewhere = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack(
            &PreviousHostsPredicate {},
        ))),
    };
    let further = RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pack(
            &PreviousPrioritiesConfig { update_frequency: 1 },
        ))),
    };
    RetryPolicy {
        retry_on: when,
        num_retries: Some(number(service.retries)),
        retry_priority: Some(further),
        retry_host_predicate: vec![elsewhere],
        host_selection_retry_max_attempts: 5,
        ..RetryPolicy::default()
    }
}

/// The filters of a port are off, but for requests to the service whose they are.
fn with_filters(host: &VirtualHost, service: &Service) -> Vec<u8> {
    let on = FilterConfig { config: Some(Any::default()), ..FilterConfig::default() };
    let filters = chain::filters(service).map(|(name, _)| (name, pack(&on))).collect();
    let mut message = host.encode_to_vec();
    message.extend(Filters { filters }.encode_to_vec());
    message
}

/// The map of a `VirtualHost` in the order of its keys: the same octets in every process.
#[derive(Clone, PartialEq, Message)]
struct Filters {
    #[prost(btree_map = "string, message", tag = "15")]
    filters: BTreeMap<String, Any>,
}

/// Whoever asks for somebody else is told so.
fn nobody() -> VirtualHost {
    let body = DataSource {
        specifier: Some(data_source::Specifier::InlineString(NOBODY.to_owned())),
        ..DataSource::default()
    };
    let action = DirectResponseAction { status: 404, body: Some(body), ..Default::default() };
    let route = Route {
        r#match: Some(everything()),
        action: Some(Action::DirectResponse(action)),
        ..Route::default()
    };
    VirtualHost {
        name: "nobody".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    }
}

pub(super) fn everything() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    }
}

/// Adds a message to a repeated field of another.
fn append(field: u32, message: &[u8], to: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(message.len() as u64, to);
    to.extend_from_slice(message);
}

/// `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS: u32 = 2;
const NOBODY: &str = "no service of this name has this port: `hawser services show` lists them\n";
