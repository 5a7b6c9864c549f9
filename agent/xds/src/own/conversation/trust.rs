//! The roots of the mesh in a response: istiod sends them inside a `ProxyConfig`, and only where
//! several roots are in use (`ISTIO_MULTIROOT_MESH`).

use hawser_pki::Bundle;
use hawser_proto::envoy::envoy::service::discovery::v3::DiscoveryResponse;
use hawser_rt::Chain;
use prost::Message;

use super::{News, Reading};
use hawser_wire::{Fields, Malformed};

/// Why roots are refused.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("trust bundle of {bytes} bytes is too large, at most {LARGEST} are taken")]
    Large { bytes: usize },
    #[error("trust bundle cannot be decoded: {0}")]
    Undecodable(String),
    #[error("trust bundle cannot be used")]
    Unusable { source: hawser_pki::Error },
}

pub(super) fn read(message: &[u8], version: &str) -> Reading {
    bundle(message, version).unwrap_or_else(|unfit| Reading::Unfit(Chain(&unfit).to_string()))
}

pub(super) fn too_large(bytes: usize) -> String {
    Unfit::Large { bytes }.to_string()
}

fn bundle(message: &[u8], version: &str) -> Result<Reading, Unfit> {
    if message.len() > LARGEST {
        return Err(Unfit::Large { bytes: message.len() });
    }
    let undecodable = |error: prost::DecodeError| Unfit::Undecodable(error.to_string());
    let response = DiscoveryResponse::decode(message).map_err(undecodable)?;
    if response.resources.is_empty() {
        // Neither taken nor refused, as istiod's own agent does.
        return Ok(Reading::PassedOver);
    }
    let mut text = String::new();
    for resource in &response.resources {
        certificates(&resource.value, &mut text)
            .map_err(|malformed| Unfit::Undecodable(malformed.to_string()))?;
    }
    let bundle = match text.as_str() {
        "" => None,
        text => Some(Bundle::from_pem(text).map_err(|source| Unfit::Unusable { source })?),
    };
    Ok(Reading::News(News::Trust { bundle, version: version.to_owned() }))
}

/// Appends the certificates that a `ProxyConfig` names. Of its fields this is the only one that
/// istiod fills in here.
fn certificates(config: &[u8], text: &mut String) -> Result<(), Malformed> {
    for field in Fields::new(config) {
        if let (CA_CERTIFICATES_PEM, value) = field? {
            let pem = value.text()?.trim();
            if !pem.is_empty() {
                text.extend([pem, "\n"]);
            }
        }
    }
    Ok(())
}

/// The number of `ca_certificates_pem` in `istio.mesh.v1alpha1.ProxyConfig`.
const CA_CERTIFICATES_PEM: u32 = 34;
/// More than the roots of any mesh.
const LARGEST: usize = 4 << 20;
