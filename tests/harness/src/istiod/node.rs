//! The node of a stream's first request: read and judged as istiod does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hawser_proto::envoy::envoy::config::core::v3::Node;
use hawser_proto::envoy::google::protobuf::{Struct, Value as PbValue, value::Kind};
use serde_json::{Map, Value};
use tonic::Status;

use super::caller::Caller;

const TYPES: [&str; 4] = ["sidecar", "router", "waypoint", "ztunnel"];

/// Metadata that must be a plain string.
const STRINGS: &[&str] = &[
    "ISTIO_VERSION",
    "ISTIO_REVISION",
    "INSTANCE_IPS",
    "NAMESPACE",
    "NODE_NAME",
    "WORKLOAD_NAME",
    "INTERCEPTION_MODE",
    "SERVICE_ACCOUNT",
    "MESH_ID",
    "CLUSTER_ID",
    "NETWORK",
    "POD_PORTS",
    "IDLE_TIMEOUT",
    "HTTP10",
    "GENERATOR",
    "DNS_PROXY_ADDR",
    "AUTO_REGISTER_GROUP",
    "WORKLOAD_ENTRY",
    "UNPRIVILEGED_POD",
    "STS_PORT",
    "WORKLOAD_IDENTITY_SOCKET_FILE",
    "NAME",
    "OWNER",
    "APP_CONTAINERS",
    "ISTIO_PROXY_SHA",
];

/// Metadata that must be `"true"` or `"false"`, in quotes.
const QUOTED_BOOLEANS: &[&str] = &[
    "DNS_CAPTURE",
    "DNS_AUTO_ALLOCATE",
    "ENABLE_SELF_DISCOVERY",
    "ENABLE_HBONE",
    "DISABLE_HBONE_SEND",
    "EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
    "METADATA_DISCOVERY",
    "ENVOY_SKIP_DEPRECATED_LOGS",
    "INBOUND_LISTENER_EXACT_BALANCE",
    "OUTBOUND_LISTENER_EXACT_BALANCE",
];

/// Metadata that must be an object of strings.
const STRING_MAPS: &[&str] = &["LABELS", "STATIC_LABELS", "ANNOTATIONS", "PLATFORM_METADATA"];

/// Metadata that must be a number.
const NUMBERS: &[&str] = &[
    "ENVOY_STATUS_PORT",
    "ENVOY_PROMETHEUS_PORT",
    "ENVOY_SECURE_METRICS_PORT",
    "ENVOY_SECURE_MERGED_METRICS_PORT",
];

/// What istiod takes from a node.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeFacts {
    /// `name.namespace`, the third part of the id.
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) service_account: String,
    pub(super) address: String,
    pub(super) group: String,
    /// The entry that the node says it is.
    pub(super) entry: String,
    pub(super) network: String,
    pub(super) locality: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) health_checked: bool,
    pub(super) metadata: Value,
}

impl NodeFacts {
    /// Reads the node of a first request.
    pub(super) fn read(node: Option<&Node>) -> Result<Self, Status> {
        let Some(node) = node.filter(|node| !node.id.is_empty()) else {
            return Err(Status::invalid_argument("missing node information"));
        };
        let metadata = node.metadata.as_ref().map(json).unwrap_or_default();
        well_typed(&metadata)?;
        let text =
            |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let parts: Vec<_> = node.id.split('~').collect();
        let [kind, ip, name, domain] = parts.as_slice() else {
            let text = format!("missing parts in the service node {:?}", node.id);
            return Err(Status::invalid_argument(text));
        };
        if !TYPES.contains(kind) {
            return Err(Status::invalid_argument(format!(
                "invalid node type (valid types: [{}]) in the service node {:?}",
                TYPES.join(" "),
                node.id
            )));
        }
        let listed = text("INSTANCE_IPS");
        let listed: Vec<_> = listed.split(',').filter(|one| !one.is_empty()).collect();
        let good = |ip: &str| ip.parse::<IpAddr>().is_ok();
        let address = match listed.first() {
            Some(first) if listed.iter().all(|ip| good(ip)) => (*first).to_owned(),
            _ if good(ip) => (*ip).to_owned(),
            _ => {
                let text = "no valid IP address in the service node id or metadata";
                return Err(Status::invalid_argument(text));
            }
        };
        let namespace = match text("NAMESPACE") {
            empty if empty.is_empty() => first_label(domain).to_owned(),
            given => given,
        };
        let probe = metadata.get("PROXY_CONFIG").and_then(|config| config.get("readinessProbe"));
        Ok(Self {
            name: (*name).to_owned(),
            namespace,
            service_account: text("SERVICE_ACCOUNT"),
            address,
            group: text("AUTO_REGISTER_GROUP"),
            entry: text("WORKLOAD_ENTRY"),
            network: text("NETWORK"),
            locality: locality(node),
            labels: labels(&metadata),
            health_checked: probe.is_some(),
            metadata: Value::Object(metadata),
        })
    }

    /// Whether the caller may speak for this node.
    pub(super) fn authorize(&self, caller: &Caller) -> Result<(), Status> {
        let Caller::Known(identities) = caller else { return Ok(()) };
        let fits = |id: &String| {
            account(id).is_some_and(|(namespace, name)| {
                (self.namespace.is_empty() || namespace == self.namespace)
                    && (self.service_account.is_empty() || name == self.service_account)
            })
        };
        if identities.iter().any(fits) {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "authorization failed: no identities ([{}]) matched {}/{}",
            identities.join(" "),
            self.namespace,
            self.service_account
        )))
    }

    /// The name of the entry that istiod registers for this node.
    pub(super) fn entry_name(&self) -> String {
        let mut name = format!("{}-{}", self.group, self.address.replace(':', "-"));
        if !self.network.is_empty() {
            name = format!("{name}-{}", self.network);
        }
        let spare = name.len().saturating_sub(253);
        name.get(spare..).unwrap_or_default().to_owned()
    }
}

/// Namespace and service account of a SPIFFE id.
pub(super) fn account(id: &str) -> Option<(&str, &str)> {
    let (_, rest) = id.strip_prefix("spiffe://")?.split_once("/ns/")?;
    rest.split_once("/sa/")
}

/// A protobuf `Struct` as JSON; whole numbers come out as integers.
pub(super) fn json(object: &Struct) -> Map<String, Value> {
    object.fields.iter().map(|(key, value)| (key.clone(), json_value(value))).collect()
}

fn json_value(value: &PbValue) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(value)) => number(*value),
        Some(Kind::StringValue(value)) => value.as_str().into(),
        Some(Kind::StructValue(value)) => Value::Object(json(value)),
        Some(Kind::ListValue(list)) => list.values.iter().map(json_value).collect(),
    }
}

fn number(value: f64) -> Value {
    let text = value.to_string();
    text.parse::<i64>().map_or_else(|_fraction| value.into(), Value::from)
}

fn first_label(domain: &str) -> &str {
    domain.split_once('.').map_or("", |(first, _)| first)
}

fn labels(metadata: &Map<String, Value>) -> BTreeMap<String, String> {
    let given = metadata.get("LABELS").and_then(Value::as_object);
    let texts = given
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.filter(|(key, _)| key != "istio-locality").collect()
}

fn locality(node: &Node) -> String {
    let Some(place) = &node.locality else { return String::new() };
    let parts = [&place.region, &place.zone, &place.sub_zone].map(String::as_str);
    parts.join("/").trim_end_matches('/').to_owned()
}

fn well_typed(metadata: &Map<String, Value>) -> Result<(), Status> {
    for (key, value) in metadata {
        let is = |keys: &[&str]| keys.contains(&key.as_str());
        let wanted = if is(STRINGS) && !value.is_string() {
            "string"
        } else if is(QUOTED_BOOLEANS) && !quoted_boolean(value) {
            "model.StringBool"
        } else if is(STRING_MAPS) && !string_map(value) {
            "map[string]string"
        } else if is(NUMBERS) && !value.is_number() {
            "int"
        } else if key == "PROXY_CONFIG" && !value.is_object() {
            "model.NodeMetaProxyConfig"
        } else {
            continue;
        };
        let found = kind(value);
        let all = Value::Object(metadata.clone());
        return Err(Status::invalid_argument(format!(
            "failed to unmarshal node metadata ({all}): json: cannot unmarshal {found} into Go \
             struct field BootstrapNodeMetadata2.NodeMetadata.{key} of type {wanted}"
        )));
    }
    Ok(())
}

fn quoted_boolean(value: &Value) -> bool {
    let words = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
    value.as_str().is_some_and(|text| words.contains(&text))
}

fn string_map(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(Value::is_string))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
