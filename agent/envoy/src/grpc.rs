//! What a gRPC program starts with that speaks xDS itself, without an Envoy: the file that
//! `GRPC_XDS_BOOTSTRAP` names.
//!
//! Values in, a JSON document out. The program asks on the socket that Envoy asks on; it is told
//! apart by `GENERATOR`, by which istiod gives it what gRPC understands.

use std::path::{Path, PathBuf};

use hawser_node::Node;
use serde_json::{Map, Value, json};

/// What the bootstrap says beside who the [`Node`] is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the agent serves configuration; absolute.
    pub xds_socket: PathBuf,
    /// Where the agent writes certificates for other programs, if it does; absolute.
    pub certificates: Option<PathBuf>,
    /// Whether the programs' streams register the machine. Only where there is no Envoy: istiod
    /// drops a machine's entry with the stream that registered it *last*, and forgets to if that
    /// one ends before another.
    pub registers: bool,
}

/// The bootstrap document.
pub fn bootstrap(options: &Options, node: &Node) -> Value {
    let mut metadata = node.known_metadata();
    metadata.insert("GENERATOR".into(), "grpc".into());
    if !options.registers {
        for asking in ["AUTO_REGISTER_GROUP", "WORKLOAD_ENTRY"] {
            metadata.remove(asking);
        }
    }
    let mut document = json!({
        "xds_servers": [{
            "server_uri": format!("unix://{}", options.xds_socket.display()),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {
            "id": node.id,
            "metadata": metadata,
            "locality": node.locality.to_json(),
        },
        "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
    });
    if let (Some(directory), Some(document)) = (&options.certificates, document.as_object_mut()) {
        document.insert("certificate_providers".into(), Value::Object(providers(directory)));
    }
    document
}

/// Certificates are read again this often, so that a new one is in use long before the old one
/// has expired.
fn providers(directory: &Path) -> Map<String, Value> {
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let provider = json!({
        "plugin_name": "file_watcher",
        "config": {
            "certificate_file": file("cert-chain.pem"),
            "private_key_file": file("key.pem"),
            "ca_certificate_file": file("root-cert.pem"),
            "refresh_interval": "900s",
        },
    });
    // The name under which istiod refers to it.
    Map::from_iter([("default".to_owned(), provider)])
}

#[cfg(test)]
mod tests;
