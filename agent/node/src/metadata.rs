//! Metadata: what was said, in the form istiod reads, and what the agent says itself.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Value};

use crate::{
    Facts, Warning,
    field::{Form, Key, pod_ports, switch},
    said::{LABELS_VARIABLE, Saying, keep_strings},
};

/// Leaves what istiod can read, and says what has gone.
///
/// A value that means nothing (an empty string, `false`) stays as it was written: Istio's own
/// agent emits it so, and `NETWORK: ""` is not the same to everybody as no network at all.
pub(crate) fn typed(
    said: BTreeMap<String, Saying>,
    warnings: &mut Vec<Warning>,
) -> Map<String, Value> {
    let mut metadata = Map::new();
    for (key, saying) in said {
        let form = match Key::of(&key) {
            Key::Known(form) => form,
            Key::Free => {
                metadata.insert(key, saying.value);
                continue;
            }
            // A label called `name` is common and still among the labels: not worth a word.
            Key::TwinOf(_) if saying.variable == LABELS_VARIABLE => continue,
            Key::TwinOf(_) => {
                let expected = "the key in capitals, as istiod spells it";
                warnings.push(Warning::new(saying.name(&key), &saying.text(), expected));
                continue;
            }
        };
        let (name, text) = (saying.name(&key), saying.text());
        match formed(form, saying, warnings) {
            Ok(Value::Null) => {}
            Ok(value) => {
                metadata.insert(key, value);
            }
            Err(expected) => warnings.push(Warning::new(name, &text, expected)),
        }
    }
    metadata
}

fn formed(form: Form, saying: Saying, warnings: &mut Vec<Warning>) -> Result<Value, &'static str> {
    match (form, saying.value) {
        (Form::Own, _) => Err("nothing: the agent sets this itself"),
        (_, Value::Null) => Ok(Value::Null),
        (Form::Text, value) if value.is_string() => Ok(value),
        (Form::Text, _) => Err("a string"),
        (Form::Switch, value) => match switch(&value) {
            Some(true) => Ok("true".into()),
            Some(false) => Ok(value),
            None => Err(r#""true" or "false""#),
        },
        (Form::PodPorts, value) => match pod_ports(&value) {
            Some(ports) => Ok(ports.into()),
            None => Err(r#"a JSON array of {"name", "containerPort", "protocol"}, as one string"#),
        },
        (Form::Texts, Value::Object(mut object)) => {
            keep_strings(&mut object, &saying.variable, warnings);
            Ok(Value::Object(object))
        }
        (Form::Texts, _) => Err("a JSON object of strings"),
    }
}

/// Adds what the agent knows better than anyone who could have said it.
pub(crate) fn add_own(
    metadata: &mut Map<String, Value>,
    facts: &Facts,
    proxy_config: &Map<String, Value>,
    ips: &[IpAddr],
) {
    let mut set = |key: &str, value: Value| {
        metadata.insert(key.to_owned(), value);
    };
    set(INSTANCE_IPS, joined(ips).into());
    set("NAME", facts.name.as_str().into());
    set("NAMESPACE", facts.namespace.as_str().into());
    set("PROXY_CONFIG", Value::Object(proxy_config.clone()));
    set("ENVOY_STATUS_PORT", facts.ports.status.into());
    set("ENVOY_PROMETHEUS_PORT", facts.ports.prometheus.into());
    if !facts.workload_identity_socket.is_empty() {
        set("WORKLOAD_IDENTITY_SOCKET_FILE", facts.workload_identity_socket.as_str().into());
    }
    if facts.skip_deprecated_logs {
        set("ENVOY_SKIP_DEPRECATED_LOGS", "true".into());
    }
    if let Some(account) = facts.service_account.as_deref().filter(|account| !account.is_empty()) {
        set("SERVICE_ACCOUNT", account.into());
    }
    if let Some(name) = istiod_name(proxy_config) {
        set("PILOT_SAN", vec![name].into());
    }
    let version = metadata.get("ISTIO_VERSION").and_then(Value::as_str);
    if version.is_none_or(str::is_empty) {
        metadata.insert("ISTIO_VERSION".into(), facts.istio_version.as_str().into());
    }
    let ambient = || metadata.get("ENABLE_HBONE").and_then(switch).unwrap_or(false);
    let discovery = facts.metadata_discovery.unwrap_or_else(ambient);
    metadata.insert("METADATA_DISCOVERY".into(), discovery.to_string().into());
}

/// Addresses as istiod reads them.
pub(crate) fn joined(ips: &[IpAddr]) -> String {
    let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
    ips.join(",")
}

/// The name in istiod's certificate, if the connection is to be authenticated at all.
fn istiod_name(proxy_config: &Map<String, Value>) -> Option<&str> {
    let text = |key| proxy_config.get(key).and_then(Value::as_str);
    if text("controlPlaneAuthPolicy") != Some("MUTUAL_TLS") {
        return None;
    }
    let address = text("discoveryAddress")?;
    let host = match address.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => address.split(':').next()?,
    };
    Some(if host == "localhost" { "istiod.istio-system.svc" } else { host })
}

/// Adds the labels and annotations of the workload.
pub(crate) fn add_labels(
    metadata: &mut Map<String, Value>,
    facts: &Facts,
    said: &Map<String, Value>,
) {
    if !said.is_empty() {
        metadata.insert("LABELS".into(), Value::Object(said.clone()));
        metadata.insert("STATIC_LABELS".into(), Value::Object(said.clone()));
    }
    if !facts.pod_labels.is_empty() {
        let mut labels = object(metadata, "STATIC_LABELS");
        let pod = facts.pod_labels.iter().filter(|(key, _)| *key != "pod-template-hash");
        labels.extend(pod.map(|(key, value)| (key.clone(), value.as_str().into())));
        metadata.insert("LABELS".into(), Value::Object(labels));
    }
    if !facts.pod_annotations.is_empty() {
        let mut annotations = object(metadata, "ANNOTATIONS");
        let pod = facts.pod_annotations.iter();
        annotations.extend(pod.map(|(key, value)| (key.clone(), value.as_str().into())));
        metadata.insert("ANNOTATIONS".into(), Value::Object(annotations));
    }
}

fn object(metadata: &Map<String, Value>, key: &str) -> Map<String, Value> {
    metadata.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The key of the machine's addresses.
pub(crate) const INSTANCE_IPS: &str = "INSTANCE_IPS";
