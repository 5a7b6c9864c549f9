//! What was said about the workload, before anyone asks whether it makes sense.
//!
//! Later wins: `proxyMetadata` < `ISTIO_META_*` < `ISTIO_METAJSON_*` in their order <
//! `DNS_PROXY_ADDR`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Facts, Warning};

/// Metadata as it was given.
pub(crate) struct Said {
    /// By metadata key.
    pub(crate) keys: BTreeMap<String, Saying>,
    /// The workload's labels, which are among `keys` too.
    pub(crate) labels: Map<String, Value>,
}

/// One value and who said it.
pub(crate) struct Saying {
    pub(crate) variable: String,
    pub(crate) value: Value,
}

impl Saying {
    /// What to call the value in a warning.
    pub(crate) fn name(&self, key: &str) -> String {
        if self.variable.strip_prefix(META) == Some(key) {
            self.variable.clone()
        } else {
            format!("{}[{key:?}]", self.variable)
        }
    }

    /// The value as the user wrote it.
    pub(crate) fn text(&self) -> String {
        text(&self.value)
    }
}

pub(crate) fn collect(facts: &Facts, proxy_config: &Map<String, Value>) -> (Said, Vec<Warning>) {
    let mut said = Said { keys: BTreeMap::new(), labels: Map::new() };
    let mut warnings = Vec::new();
    if let Some(Value::Object(proxy_metadata)) = proxy_config.get("proxyMetadata") {
        for (variable, value) in proxy_metadata {
            if let Some(key) = variable.strip_prefix(META) {
                said.insert(key, variable, value.clone());
            }
        }
    }
    for (key, value) in &facts.meta {
        said.insert(key, &format!("{META}{key}"), value.as_str().into());
    }
    for (suffix, text) in &facts.meta_json {
        let variable = format!("{META_JSON}{suffix}");
        let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
            warnings.push(Warning::new(variable, text, "a JSON object"));
            continue;
        };
        if variable == LABELS_VARIABLE {
            keep_strings(&mut object, &variable, &mut warnings);
            if !object.is_empty() {
                said.labels.clone_from(&object);
            }
        }
        for (key, value) in object {
            said.insert(&key, &variable, value);
        }
    }
    if let Some(address) = facts.dns_proxy_addr.as_deref().filter(|address| !address.is_empty()) {
        said.insert("DNS_PROXY_ADDR", "DNS_PROXY_ADDR", address.into());
    }
    (said, warnings)
}

/// Leaves only strings in an object of strings, and says what has gone.
pub(crate) fn keep_strings(
    object: &mut Map<String, Value>,
    variable: &str,
    warnings: &mut Vec<Warning>,
) {
    object.retain(|key, value| {
        if !value.is_string() {
            let name = format!("{variable}[{key:?}]");
            warnings.push(Warning::new(name, &text(value), "a string, in quotes"));
        }
        value.is_string()
    });
}

impl Said {
    fn insert(&mut self, key: &str, variable: &str, value: Value) {
        self.keys.insert(key.to_owned(), Saying { variable: variable.to_owned(), value });
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

const META: &str = "ISTIO_META_";
const META_JSON: &str = "ISTIO_METAJSON_";

/// Its keys are labels first, and metadata only because Istio has always copied them there.
pub(crate) const LABELS_VARIABLE: &str = "ISTIO_METAJSON_LABELS";
