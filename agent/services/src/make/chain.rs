//! What happens to a request or a connection on its way: filters, in their order.

use hawser_proto::envoy::{
    envoy::{
        config::listener::v3::{Filter, FilterChain, filter},
        extensions::filters::{
            http::{
                grpc_json_transcoder::v3::{
                    GrpcJsonTranscoder, grpc_json_transcoder::DescriptorSet,
                },
                router::v3::Router,
            },
            network::http_connection_manager::v3::{HttpFilter, http_filter::ConfigType},
        },
    },
    google::protobuf::Any,
};
use prost::{Message, Name};

use super::{
    message::{number, pack},
    snippet::typed,
};
use crate::model::{Service, Transcode};

/// The filters of a service, with names that no other service's have.
pub(super) fn filters(service: &Service) -> impl Iterator<Item = (String, Any)> {
    let called = |name: &str, index| format!("hawser/{}/{index}/{name}", service.host);
    let own = service.filters.iter().enumerate();
    let own = own.map(move |(index, one)| (called(&one.name, index), typed(&one.config)));
    // Last, so that the others see what the caller has sent.
    let last = service.transcode.iter();
    own.chain(last.map(move |one| (called(TRANSCODER, service.filters.len()), transcoder(one))))
}

/// A filter that is off until the route of a request says otherwise.
pub(super) fn off(name: &str, config: Any) -> HttpFilter {
    HttpFilter { disabled: true, ..http(name, config) }
}

pub(super) fn http(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}

/// What answers requests, once all others have seen them.
pub(super) fn router() -> HttpFilter {
    http("envoy.filters.http.router", pack(&Router::default()))
}

/// A chain of one filter.
pub(super) fn of<M: Message + Name>(name: &str, config: &M) -> FilterChain {
    let config_type = Some(filter::ConfigType::TypedConfig(pack(config)));
    let filter = Filter { name: name.to_owned(), config_type };
    FilterChain { filters: vec![filter], ..FilterChain::default() }
}

pub(super) const MANAGER: &str = "envoy.filters.network.http_connection_manager";
pub(super) const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";
const TRANSCODER: &str = "envoy.filters.http.grpc_json_transcoder";

fn transcoder(transcode: &Transcode) -> Any {
    pack(&GrpcJsonTranscoder {
        descriptor_set: Some(DescriptorSet::ProtoDescriptorBin(transcode.descriptor.clone())),
        services: transcode.services.clone(),
        // A caller that speaks no gRPC sees no trailers.
        convert_grpc_status: true,
        max_request_body_size: Some(number(transcode.largest)),
        max_response_body_size: Some(number(transcode.largest)),
        ..GrpcJsonTranscoder::default()
    })
}
