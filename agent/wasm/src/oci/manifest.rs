//! What a registry says of an image: a manifest of layers, or an index of manifests.

use serde::Deserialize;

use crate::{checksum::Checksum, unbox::Boxed};

/// What a registry answered when it was asked for an image.
#[derive(Debug, PartialEq, Eq)]
pub enum Document {
    /// The image itself.
    Image(Layer),
    /// Images for several platforms: the digest of the one to take.
    Index(String),
}

/// Where in an image the module is.
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    /// `sha256:…`.
    pub digest: String,
    /// What it says its size is.
    pub size: u64,
    /// How the module is packed.
    pub boxed: Boxed,
}

impl Document {
    /// Reads a document. A problem is told in words.
    pub fn read(bytes: &[u8], content_type: &str) -> Result<Self, &'static str> {
        let raw: Raw = serde_json::from_slice(bytes).ok().ok_or("its manifest is no manifest")?;
        let kind = match raw.media_type.as_str() {
            // OCI leaves it to the header.
            "" => content_type.split(';').next().unwrap_or_default().trim(),
            kind => kind,
        };
        match (kind, raw.manifests, raw.layers) {
            (DOCKER_LIST | OCI_INDEX, Some(manifests), _) | (_, Some(manifests), None) => {
                pick(manifests).map(Self::Index)
            }
            (DOCKER, _, Some(layers)) => docker(layers).map(Self::Image),
            (_, _, Some(layers)) => oci(layers).map(Self::Image),
            _ => Err("its manifest has no layers"),
        }
    }
}

/// The image for the platform that modules are built under, or the only one.
fn pick(mut manifests: Vec<Descriptor>) -> Result<String, &'static str> {
    let on = |architecture: &str| {
        let fits = |platform: &Platform| {
            platform.architecture == architecture
                && (platform.os == "linux" || architecture == "wasm")
        };
        manifests.iter().position(|each| each.platform.as_ref().is_some_and(fits))
    };
    let only = (manifests.len() == 1).then_some(0);
    let chosen = on("amd64").or_else(|| on("wasm")).or(only);
    let chosen = chosen.ok_or("its index has no image for linux/amd64 and none for wasm")?;
    let digest = manifests.swap_remove(chosen).digest;
    // It becomes part of an address.
    sum(&digest).map(|_| digest).ok_or("its index names no sha256")
}

fn docker(mut layers: Vec<Descriptor>) -> Result<Layer, &'static str> {
    let last = layers.pop().ok_or("its manifest has no layers")?;
    match last.media_type.as_str() {
        DOCKER_LAYER => layer(last, Boxed::Layer),
        _ => Err("the last layer of its Docker image is no compressed archive"),
    }
}

fn oci(mut layers: Vec<Descriptor>) -> Result<Layer, &'static str> {
    if layers.last().is_some_and(|last| last.media_type == OCI_LAYER)
        && let Some(last) = layers.pop()
    {
        return layer(last, Boxed::Layer);
    }
    let count = layers.len();
    let module = layers.into_iter().find(|each| each.media_type == MODULE_LAYER);
    match module {
        Some(module) if count == 2 => layer(module, Boxed::Not),
        Some(_) => Err("it has a layer with a module, but not two layers"),
        None => Err("its last layer is no compressed archive, and none is a module"),
    }
}

fn layer(descriptor: Descriptor, boxed: Boxed) -> Result<Layer, &'static str> {
    let Descriptor { digest, size, .. } = descriptor;
    sum(&digest).ok_or("its manifest names no sha256 of the layer")?;
    Ok(Layer { digest, size, boxed })
}

/// The checksum in `sha256:…`.
pub(super) fn sum(digest: &str) -> Option<Checksum> {
    digest.strip_prefix("sha256:")?.parse().ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    media_type: String,
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// What is asked for, in the order of what is liked best.
pub(super) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MODULE_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";

#[cfg(test)]
mod tests;
