//! `DeltaSecrets`: each request names what has changed in what is wanted.

use hawser_proto::{
    envoy::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource},
        },
        google::rpc,
    },
    type_url,
};

use crate::{
    secret::Secrets,
    sotw::any,
    stream::Flavour,
    subscription::{Answer, Change, Reaction, Refusal, Subscription},
};

/// Changes only.
pub(crate) struct Delta;

impl Flavour for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn rejection(request: &DeltaDiscoveryRequest) -> Option<&rpc::Status> {
        request.error_detail.as_ref()
    }

    fn hear(
        subscription: &mut Subscription,
        request: DeltaDiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<Reaction, Refusal> {
        let change = Change {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            known: request.initial_resource_versions.into_iter().collect(),
            nonce: request.response_nonce,
            rejects: request.error_detail.is_some(),
        };
        subscription.change(change, secrets)
    }

    fn say(answer: Answer, secrets: &Secrets) -> DeltaDiscoveryResponse {
        let Answer { names, gone, nonce } = answer;
        let resource = |name: &String| {
            Some(Resource {
                name: name.clone(),
                version: secrets.version_of([name.as_str()]),
                resource: Some(any(&secrets.secret(name)?)),
                ..Resource::default()
            })
        };
        DeltaDiscoveryResponse {
            system_version_info: secrets.version_of(names.iter().map(String::as_str)),
            resources: names.iter().filter_map(resource).collect(),
            type_url: type_url::SECRET.to_owned(),
            removed_resources: gone,
            nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}
