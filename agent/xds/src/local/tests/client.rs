//! What a client reads.

use bytes::Bytes;
use hawser_proto::envoy::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse},
    google::protobuf::Any,
};
use hawser_wire::{Flavour, Response};
use prost::Message;

use super::super::letter::Letter;

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) type_url: String,
    pub(super) version: String,
    pub(super) nonce: String,
    /// Names, versions and what they hold; without name and version in state of the world.
    pub(super) came: Vec<(String, String, Vec<u8>)>,
    pub(super) gone: Vec<String>,
}

impl Told {
    pub(super) fn read(flavour: Flavour, mut letter: Letter) -> Self {
        let mut frame = Vec::new();
        while let Some(chunk) = letter.chunk() {
            assert!(!chunk.is_empty());
            frame.extend_from_slice(&chunk);
        }
        let told = Self::of(flavour, &frame);
        assert_eq!((&letter.type_url, letter.resources), (&told.type_url, told.came.len()));
        assert_eq!(letter.version, told.version);
        told
    }

    /// Of a whole frame.
    pub(super) fn of(flavour: Flavour, frame: &[u8]) -> Self {
        let (prefix, message) = frame.split_at(5);
        assert_eq!(prefix, hawser_wire::write::prefix(message.len()));
        let message = Bytes::copy_from_slice(message);
        Response::scan(flavour, &message).unwrap();
        match flavour {
            Flavour::Sotw => {
                let it = DiscoveryResponse::decode(message).unwrap();
                let named = |any: Any| {
                    assert_eq!(any.type_url, it.type_url);
                    let name = String::from_utf8(any.value.clone()).unwrap();
                    let name = name.split('@').next().unwrap().to_owned();
                    (name, it.version_info.clone(), any.value)
                };
                Self {
                    came: it.resources.into_iter().map(named).collect(),
                    type_url: it.type_url,
                    version: it.version_info,
                    nonce: it.nonce,
                    gone: Vec::new(),
                }
            }
            Flavour::Delta => {
                let it = DeltaDiscoveryResponse::decode(message).unwrap();
                let came = it.resources.into_iter().map(|resource| {
                    let any = resource.resource.unwrap();
                    assert_eq!(any.type_url, it.type_url);
                    (resource.name, resource.version, any.value)
                });
                Self {
                    came: came.collect(),
                    type_url: it.type_url,
                    version: it.system_version_info,
                    nonce: it.nonce,
                    gone: it.removed_resources,
                }
            }
        }
    }

    /// What came, as text.
    pub(super) fn bodies(&self) -> Vec<&str> {
        self.came.iter().map(|(_, _, body)| str::from_utf8(body).unwrap()).collect()
    }
}
