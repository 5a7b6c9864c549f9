//! As what istiod knows this machine: what it says of itself on every stream.

use hawser_node::Node;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What istiod registers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct RegistrationStatus {
    /// The WorkloadGroup; null where the machine does not ask to be registered.
    pub group: Option<String>,
    pub namespace: Option<String>,
    pub service_account: Option<String>,
    /// Where the mesh reaches the machine.
    pub address: Option<String>,
    pub network: Option<String>,
    pub cluster: Option<String>,
    /// Since when istiod answers Envoy's stream, by which it registers. Seconds since 1970.
    pub since: Option<u64>,
}

impl RegistrationStatus {
    pub(super) fn of(node: &Node, since: Option<u64>) -> Self {
        let said = |key: &str| {
            let text = node.metadata.get(key).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        Self {
            group: said("AUTO_REGISTER_GROUP"),
            namespace: said("NAMESPACE"),
            service_account: said("SERVICE_ACCOUNT"),
            address: node.ips.first().map(ToString::to_string),
            network: said("NETWORK"),
            cluster: said("CLUSTER_ID"),
            since,
        }
    }
}
