//! Images: manifests and blobs, and tokens for who may have them.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use serde_json::json;

use super::{layer, plain};

/// How a module lies in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// A Docker image: the module is a file of its last layer.
    Docker,
    /// The same as an OCI image.
    Oci,
    /// An OCI artifact of two layers, one of which is the module.
    Artifact,
    /// An OCI index of images for several platforms.
    Index,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    /// By `REPOSITORY/manifests/TAG` and `…/DIGEST`: media type and text.
    manifests: BTreeMap<String, (String, Bytes)>,
    /// By digest.
    blobs: BTreeMap<String, Bytes>,
    /// `Authorization` of who is known; everybody, if nobody.
    known: Option<String>,
}

impl Registry {
    pub(super) fn push(
        &mut self,
        repository: &str,
        tag: &str,
        packing: Packing,
        module: &[u8],
    ) -> String {
        let config = self.blob(b"{}");
        let config = json!({"mediaType": OCI_CONFIG, "digest": config, "size": 2});
        let boxed = layer(module);
        let (kind, layers) = match packing {
            Packing::Docker => (DOCKER, json!([self.described(DOCKER_LAYER, &boxed)])),
            Packing::Oci | Packing::Index => (OCI, json!([self.described(OCI_LAYER, &boxed)])),
            Packing::Artifact => {
                let about = self.described(MODULE_CONFIG, b"{\"type\":\"envoy_proxy\"}");
                (OCI, json!([about, self.described(MODULE_LAYER, module)]))
            }
        };
        // OCI leaves the type to the header.
        let manifest = match packing {
            Packing::Docker => {
                json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers})
            }
            _ => json!({"schemaVersion": 2, "config": config, "layers": layers}),
        };
        if packing != Packing::Index {
            return self.manifest(repository, tag, kind, manifest.to_string().as_bytes());
        }
        let inner = self.manifest(repository, "inner", kind, manifest.to_string().as_bytes());
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": OCI, "digest": self.blob(b"other"), "size": 5,
             "platform": {"architecture": "arm64", "os": "linux"}},
            {"mediaType": OCI, "digest": inner, "size": 1,
             "platform": {"architecture": "amd64", "os": "linux"}},
        ]});
        self.manifest(repository, tag, OCI_INDEX, index.to_string().as_bytes())
    }

    pub(super) fn manifest(
        &mut self,
        repository: &str,
        tag: &str,
        kind: &str,
        text: &[u8],
    ) -> String {
        let digest = sum(text);
        for version in [tag, &digest] {
            let path = format!("{repository}/manifests/{version}");
            self.manifests.insert(path, (kind.to_owned(), Bytes::copy_from_slice(text)));
        }
        digest
    }

    pub(super) fn demand(&mut self, user: &str, password: &str) {
        self.known = Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())));
    }

    pub(super) fn answer(
        &self,
        method: &Method,
        target: &str,
        shown: Option<&str>,
        body: &[u8],
        realm: Option<&str>,
    ) -> Response<Bytes> {
        let path = target.split('?').next().unwrap_or_default();
        if path == TOKEN {
            return self.token(method, shown, body);
        }
        if let Some(known) = &self.known {
            let is_known = match realm {
                Some(_) => shown == Some(BEARER),
                None => shown == Some(known),
            };
            if !is_known {
                return challenge(realm);
            }
        }
        let path = path.strip_prefix("/v2/").unwrap_or_default();
        if let Some((kind, text)) = self.manifests.get(path) {
            let mut answer = Response::new(text.clone());
            if let Ok(kind) = kind.parse() {
                answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            return answer;
        }
        let blob = path.rsplit_once("/blobs/").and_then(|(_, digest)| self.blobs.get(digest));
        blob.map_or_else(
            || plain(StatusCode::NOT_FOUND, "no such image"),
            |blob| Response::new(blob.clone()),
        )
    }

    /// A token for who shows the password, or posts a refresh token.
    fn token(&self, method: &Method, shown: Option<&str>, body: &[u8]) -> Response<Bytes> {
        let posted = String::from_utf8_lossy(body);
        let is_known = match *method {
            Method::POST => posted.contains(&format!("refresh_token={REFRESH}")),
            _ => self.known.is_none() || shown == self.known.as_deref(),
        };
        if !is_known {
            return plain(StatusCode::UNAUTHORIZED, "who?");
        }
        let mut answer = Response::new(Bytes::from_static(b"{\"token\":\"good\"}"));
        let json = header::HeaderValue::from_static("application/json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        answer
    }

    fn blob(&mut self, bytes: &[u8]) -> String {
        let digest = sum(bytes);
        self.blobs.insert(digest.clone(), Bytes::copy_from_slice(bytes));
        digest
    }

    fn described(&mut self, kind: &str, bytes: &[u8]) -> serde_json::Value {
        json!({"mediaType": kind, "digest": self.blob(bytes), "size": bytes.len()})
    }
}

fn challenge(realm: Option<&str>) -> Response<Bytes> {
    let mut answer = plain(StatusCode::UNAUTHORIZED, "who?");
    let text = match realm {
        Some(realm) => {
            format!(
                "Bearer realm=\"{realm}\",service=\"modules\",scope=\"repository:all:pull,push\""
            )
        }
        None => "Basic realm=\"modules\"".to_owned(),
    };
    if let Ok(text) = text.parse() {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, text);
    }
    answer
}

/// `sha256:…`.
fn sum(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).flat_map(|group| {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        [18_u32, 12, 6, 0].map(|shift| bits >> shift & 63).into_iter().enumerate().map(
            move |(place, bits)| match (place > group.len(), usize::try_from(bits)) {
                (false, Ok(index)) => LETTERS.get(index).map_or('=', |byte| char::from(*byte)),
                _ => '=',
            },
        )
    });
    groups.collect()
}

/// Where tokens are given out.
pub(super) const TOKEN: &str = "/token";
/// What a refresh token is, for a registry that knows one.
pub(super) const REFRESH: &str = "fresh";
const BEARER: &str = "Bearer good";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MODULE_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
const MODULE_CONFIG: &str = "application/vnd.module.wasm.config.v1+json";
