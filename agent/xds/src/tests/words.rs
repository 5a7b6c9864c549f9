//! What Envoy and istiod say, in either flavour.

use bytes::Bytes;
use hawser_proto::envoy::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource,
        },
    },
    google::{protobuf::Any, rpc::Status},
};
use hawser_wire::Flavour;
use prost::Message;

/// Both.
pub(crate) const FLAVOURS: [Flavour; 2] = [Flavour::Sotw, Flavour::Delta];

/// A request of Envoy's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) type_url: String,
    pub(crate) node: Option<String>,
    /// In delta, what is wanted from now on.
    pub(crate) names: Vec<String>,
    pub(crate) dropped: Vec<String>,
    pub(crate) held: Vec<(String, String)>,
    pub(crate) version: String,
    pub(crate) nonce: String,
    pub(crate) error: Option<String>,
}

pub(crate) fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A first request, or one that speaks of no response.
pub(crate) fn ask(type_url: &str, names: &[&str]) -> Ask {
    Ask { type_url: type_url.to_owned(), names: texts(names), ..Ask::default() }
}

impl Ask {
    pub(crate) fn node(self, id: &str) -> Self {
        Self { node: Some(id.to_owned()), ..self }
    }

    pub(crate) fn about(self, nonce: &str) -> Self {
        Self { nonce: nonce.to_owned(), ..self }
    }

    pub(crate) fn of(self, version: &str) -> Self {
        Self { version: version.to_owned(), ..self }
    }

    pub(crate) fn refusing(self, error: &str) -> Self {
        Self { error: Some(error.to_owned()), ..self }
    }

    pub(crate) fn without(self, names: &[&str]) -> Self {
        Self { dropped: texts(names), ..self }
    }

    pub(crate) fn holding(self, held: &[(&str, &str)]) -> Self {
        let held = held.iter().map(|(name, version)| (name.to_string(), version.to_string()));
        Self { held: held.collect(), ..self }
    }

    pub(crate) fn bytes(&self, flavour: Flavour) -> Bytes {
        let it = self.clone();
        let node = it.node.map(|id| Node { id, ..Node::default() });
        let error_detail =
            it.error.map(|message| Status { code: 13, message, details: Vec::new() });
        match flavour {
            Flavour::Sotw => DiscoveryRequest {
                version_info: it.version,
                node,
                resource_names: it.names,
                type_url: it.type_url,
                response_nonce: it.nonce,
                error_detail,
                ..DiscoveryRequest::default()
            }
            .encode_to_vec(),
            Flavour::Delta => DeltaDiscoveryRequest {
                node,
                type_url: it.type_url,
                resource_names_subscribe: it.names,
                resource_names_unsubscribe: it.dropped,
                initial_resource_versions: it.held.into_iter().collect(),
                response_nonce: it.nonce,
                error_detail,
                ..DeltaDiscoveryRequest::default()
            }
            .encode_to_vec(),
        }
        .into()
    }

    pub(crate) fn read(flavour: Flavour, message: &Bytes) -> Self {
        let error = |status: Option<Status>| status.map(|status| status.message);
        let node = |node: Option<Node>| node.map(|node| node.id);
        match flavour {
            Flavour::Sotw => {
                let it = DiscoveryRequest::decode(message.clone()).unwrap();
                Self {
                    type_url: it.type_url,
                    node: node(it.node),
                    names: it.resource_names,
                    version: it.version_info,
                    nonce: it.response_nonce,
                    error: error(it.error_detail),
                    ..Self::default()
                }
            }
            Flavour::Delta => {
                let it = DeltaDiscoveryRequest::decode(message.clone()).unwrap();
                let mut held: Vec<_> = it.initial_resource_versions.into_iter().collect();
                held.sort();
                Self {
                    type_url: it.type_url,
                    node: node(it.node),
                    names: it.resource_names_subscribe,
                    dropped: it.resource_names_unsubscribe,
                    held,
                    nonce: it.response_nonce,
                    error: error(it.error_detail),
                    ..Self::default()
                }
            }
        }
    }
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tell {
    pub(crate) type_url: String,
    pub(crate) version: String,
    pub(crate) nonce: String,
    /// Name, version (delta only), and what it is.
    pub(crate) resources: Vec<(String, String, Vec<u8>)>,
    pub(crate) removed: Vec<String>,
}

/// A response with resources of these names; its nonce is made of type and version.
pub(crate) fn tell(type_url: &str, version: &str, names: &[&str]) -> Tell {
    let resource = |name: &&str| {
        (name.to_string(), version.to_owned(), format!("{name}@{version}").into_bytes())
    };
    Tell {
        type_url: type_url.to_owned(),
        version: version.to_owned(),
        nonce: format!("{type_url}@{version}"),
        resources: names.iter().map(resource).collect(),
        removed: Vec::new(),
    }
}

impl Tell {
    /// With resources of so many bytes.
    pub(crate) fn large(mut self, bytes: usize) -> Self {
        for (_, _, value) in &mut self.resources {
            *value = (0..=u8::MAX).cycle().take(bytes).collect();
        }
        self
    }

    /// The value of its resource of that name.
    pub(crate) fn body(&self, name: &str) -> Vec<u8> {
        let (_, _, value) = self.resources.iter().find(|(of, ..)| of == name).unwrap();
        named(name, value)
    }

    pub(crate) fn bytes(&self, flavour: Flavour) -> Bytes {
        let it = self.clone();
        let any = |name: &str, value: Vec<u8>| Any {
            type_url: self.type_url.clone(),
            value: named(name, &value),
        };
        match flavour {
            Flavour::Sotw => DiscoveryResponse {
                version_info: it.version,
                resources: it.resources.into_iter().map(|(name, _, v)| any(&name, v)).collect(),
                type_url: it.type_url,
                nonce: it.nonce,
                ..DiscoveryResponse::default()
            }
            .encode_to_vec(),
            Flavour::Delta => DeltaDiscoveryResponse {
                system_version_info: it.version,
                resources: it
                    .resources
                    .into_iter()
                    .map(|(name, version, value)| Resource {
                        resource: Some(any(&name, value)),
                        name,
                        version,
                        ..Resource::default()
                    })
                    .collect(),
                type_url: it.type_url,
                removed_resources: it.removed,
                nonce: it.nonce,
                ..DeltaDiscoveryResponse::default()
            }
            .encode_to_vec(),
        }
        .into()
    }

    /// None if it cannot be decoded.
    pub(crate) fn read(flavour: Flavour, message: &Bytes) -> Option<Self> {
        let split = |any: Any| {
            let length = usize::from(*any.value.get(1)?);
            let name = String::from_utf8(any.value.get(2..2 + length)?.to_vec()).ok()?;
            let rest = any.value.get(2 + length..)?;
            let (_, value) = prefix(rest)?;
            Some((name, value))
        };
        match flavour {
            Flavour::Sotw => {
                let it = DiscoveryResponse::decode(message.clone()).ok()?;
                let parts: Option<Vec<_>> = it.resources.into_iter().map(split).collect();
                Some(Self {
                    type_url: it.type_url,
                    resources: parts?
                        .into_iter()
                        .map(|(name, value)| (name, it.version_info.clone(), value))
                        .collect(),
                    version: it.version_info,
                    nonce: it.nonce,
                    removed: Vec::new(),
                })
            }
            Flavour::Delta => {
                let it = DeltaDiscoveryResponse::decode(message.clone()).ok()?;
                let part = |resource: Resource| {
                    Some((resource.name, resource.version, split(resource.resource?)?.1))
                };
                let resources: Option<Vec<_>> = it.resources.into_iter().map(part).collect();
                Some(Self {
                    type_url: it.type_url,
                    version: it.system_version_info,
                    nonce: it.nonce,
                    resources: resources?,
                    removed: it.removed_resources,
                })
            }
        }
    }

    /// The names of its resources.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.resources.iter().map(|(name, ..)| name.as_str()).collect()
    }
}

/// Every type that matters has its name in field 1.
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    [&[0x0a, u8::try_from(name.len()).unwrap()], name.as_bytes(), &framed(value)].concat()
}

/// What a resource is besides its name: field 15.
fn framed(value: &[u8]) -> Vec<u8> {
    let mut into = Vec::new();
    hawser_wire::write::bytes(&mut into, 15, value);
    into
}

fn prefix(rest: &[u8]) -> Option<(u32, Vec<u8>)> {
    let (number, value) = hawser_wire::Fields::new(rest).next()?.ok()?;
    Some((number, value.bytes().ok()?.to_vec()))
}
