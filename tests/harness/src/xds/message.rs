//! Messages of both forms as one, and what is judged in them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use hawser_proto::envoy::envoy::config::core::v3::{Node, TypedExtensionConfig};
use hawser_proto::envoy::envoy::config::endpoint::v3::ClusterLoadAssignment;
use hawser_proto::envoy::envoy::config::listener::v3::Listener;
use hawser_proto::envoy::envoy::config::route::v3::RouteConfiguration;
use hawser_proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use hawser_proto::envoy::google::rpc::Status as Detail;
use hawser_proto::type_url;
use prost::Message;

use crate::istiod::Flavour;

/// A request of either form; what its form does not have is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// The type it is about.
    pub type_url: String,
    /// Names wanted; in delta newly wanted.
    pub names: Vec<String>,
    /// Names not wanted any more; delta only.
    pub unsubscribed: Vec<String>,
    /// What the client has, name and version; delta only.
    pub initial: BTreeMap<String, String>,
    /// The version it has; SotW only.
    pub version: String,
    /// The response it answers.
    pub nonce: String,
    /// Why that is refused.
    pub refusal: Option<String>,
}

impl Ask {
    pub(super) fn encode(&self, flavour: Flavour, node: Option<Node>) -> Vec<u8> {
        let detail = |text: &String| Detail { code: 13, message: text.clone(), details: vec![] };
        let error_detail = self.refusal.as_ref().map(detail);
        let (type_url, response_nonce) = (self.type_url.clone(), self.nonce.clone());
        match flavour {
            Flavour::SotW => DiscoveryRequest {
                version_info: self.version.clone(),
                node,
                resource_names: self.names.clone(),
                type_url,
                response_nonce,
                error_detail,
                ..DiscoveryRequest::default()
            }
            .encode_to_vec(),
            Flavour::Delta => DeltaDiscoveryRequest {
                node,
                type_url,
                resource_names_subscribe: self.names.clone(),
                resource_names_unsubscribe: self.unsubscribed.clone(),
                initial_resource_versions: self.initial.clone().into_iter().collect(),
                response_nonce,
                error_detail,
                ..DeltaDiscoveryRequest::default()
            }
            .encode_to_vec(),
        }
    }
}

/// A response of either form.
#[derive(Debug, Clone, Default)]
pub(super) struct Response {
    pub(super) type_url: String,
    pub(super) version: String,
    pub(super) nonce: String,
    /// Name, version, value.
    pub(super) resources: Vec<(String, String, Bytes)>,
    pub(super) removed: Vec<String>,
}

impl Response {
    pub(super) fn decode(flavour: Flavour, message: &[u8]) -> Result<Self> {
        Ok(match flavour {
            Flavour::SotW => {
                let read = DiscoveryResponse::decode(message).context("a message that is none")?;
                let resources = read.resources.into_iter();
                let resources = resources.map(|any| (named(&any.value), String::new(), any.value));
                Self {
                    type_url: read.type_url,
                    version: read.version_info,
                    nonce: read.nonce,
                    resources: resources
                        .map(|(name, version, any)| (name, version, any.into()))
                        .collect(),
                    removed: Vec::new(),
                }
            }
            Flavour::Delta => {
                let read = DeltaDiscoveryResponse::decode(message);
                let read = read.context("a message that is none")?;
                let resources = read.resources.into_iter().map(|one| {
                    let value = one.resource.unwrap_or_default().value;
                    (one.name, one.version, value.into())
                });
                Self {
                    type_url: read.type_url,
                    version: read.system_version_info,
                    nonce: read.nonce,
                    resources: resources.collect(),
                    removed: read.removed_resources,
                }
            }
        })
    }

    /// Type and nonce from the end of a message whose sender writes fields in their order.
    pub(super) fn tail(end: &[u8]) -> Option<Self> {
        let last = |what: &[u8]| end.windows(what.len()).rposition(|part| part == what);
        let text = |at: usize| {
            let length = usize::from(*end.get(at)?);
            let text = end.get(at + 1..at + 1 + length)?;
            Some((String::from_utf8(text.to_vec()).ok()?, at + 1 + length))
        };
        let (type_url, at) = text(last(b"type.googleapis.com/")?.checked_sub(1)?)?;
        let (nonce, _) = (end.get(at) == Some(&0x2a)).then(|| text(at + 1))??;
        Some(Self { type_url, nonce, ..Self::default() })
    }

    /// What Envoy would find wrong with it.
    pub(super) fn judge(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for (name, _, value) in &self.resources {
            let nameless = [type_url::NAME_TABLE, type_url::PROXY_CONFIG];
            if !nameless.contains(&self.type_url.as_str()) {
                ensure!(!name.is_empty(), "a resource without a name");
            }
            ensure!(names.insert(name), "{name} comes twice");
            if !reads(&self.type_url, value) {
                bail!("{name} cannot be decoded");
            }
        }
        Ok(())
    }
}

fn reads(kind: &str, value: &[u8]) -> bool {
    match kind {
        type_url::CLUSTER => Cluster::decode(value).is_ok(),
        type_url::ENDPOINT => ClusterLoadAssignment::decode(value).is_ok(),
        type_url::LISTENER => Listener::decode(value).is_ok(),
        type_url::ROUTE => RouteConfiguration::decode(value).is_ok(),
        type_url::EXTENSION_CONFIG => TypedExtensionConfig::decode(value).is_ok(),
        _ => true,
    }
}

/// The name of a resource in SotW: field 1 of every type that Envoy asks for.
fn named(value: &[u8]) -> String {
    #[derive(Clone, PartialEq, Eq, Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    Named::decode(value).map(|read| read.name).unwrap_or_default()
}
