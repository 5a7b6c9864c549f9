//! `StreamSecrets`: each request names all that is wanted.

use hawser_proto::{
    envoy::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        },
        google::{protobuf::Any, rpc},
    },
    type_url,
};
use prost::Message;

use crate::{
    secret::Secrets,
    stream::Flavour,
    subscription::{Answer, Reaction, Refusal, Subscription, Whole},
};

/// State of the world.
pub(crate) struct Sotw;

impl Flavour for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn rejection(request: &DiscoveryRequest) -> Option<&rpc::Status> {
        request.error_detail.as_ref()
    }

    fn hear(
        subscription: &mut Subscription,
        request: DiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<Reaction, Refusal> {
        let rejects = request.error_detail.is_some();
        let (names, nonce) = (request.resource_names, request.response_nonce);
        subscription.whole(Whole { names, nonce, rejects }, secrets)
    }

    fn say(answer: Answer, secrets: &Secrets) -> DiscoveryResponse {
        let Answer { names, nonce, .. } = answer;
        let secret = |name: &String| secrets.secret(name).map(|secret| any(&secret));
        DiscoveryResponse {
            version_info: secrets.version_of(names.iter().map(String::as_str)),
            resources: names.iter().filter_map(secret).collect(),
            type_url: type_url::SECRET.to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        }
    }
}

/// A message with the type of a secret, as both flavours carry it.
pub(crate) fn any(secret: &impl Message) -> Any {
    Any { type_url: type_url::SECRET.to_owned(), value: secret.encode_to_vec() }
}
