//! Istio's ProxyConfig as JSON: defaults, the mesh file and `PROXY_CONFIG` laid over each other.
//!
//! istiod reads many of its fields back from the node metadata, most of them of no interest here;
//! so it stays the JSON that it is, in proto3 form: camelCase, no empty values. A layer replaces
//! whole top-level fields, except `proxyMetadata`, which merges key by key.

use serde_json::{Map, Value, json};

/// What the layers add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig(Map<String, Value>);

impl Default for ProxyConfig {
    fn default() -> Self {
        let Value::Object(fields) = json!({
            "configPath": "./etc/istio/proxy",
            "binaryPath": "/usr/local/bin/envoy",
            "serviceCluster": "istio-proxy",
            "drainDuration": "45s",
            "terminationDrainDuration": "5s",
            "discoveryAddress": "istiod.istio-system.svc:15012",
            "proxyAdminPort": 15000,
            "controlPlaneAuthPolicy": "MUTUAL_TLS",
            "statNameLength": 189,
            "statusPort": 15020,
        }) else {
            return Self(Map::new());
        };
        Self(fields)
    }
}

impl ProxyConfig {
    /// Lays another layer over what there is.
    pub fn lay(&mut self, layer: Map<String, Value>) {
        for (field, value) in layer {
            match (field.as_str(), self.0.get_mut(&field), value) {
                (METADATA, Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
                (_, _, value) => {
                    self.0.insert(field, value);
                }
            }
        }
    }

    /// Sets one field to what another source said of it.
    pub fn set(&mut self, field: &str, value: Value) {
        self.0.insert(field.to_owned(), value);
    }

    /// The JSON that goes into the node metadata: nothing that says nothing.
    pub fn to_json(&self) -> Value {
        let fields = self.0.iter().filter(|(_, value)| says_something(value));
        Value::Object(fields.map(|(field, value)| (field.clone(), value.clone())).collect())
    }
}

/// The `defaultConfig` of a mesh file; an empty file says nothing.
pub fn of_mesh_file(yaml: &str) -> Result<Map<String, Value>, String> {
    let mut mesh = object(yaml)?;
    match mesh.remove("defaultConfig").or_else(|| mesh.remove("default_config")) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(in_camel_case(fields)),
        Some(_) => Err("defaultConfig: expected a mapping of ProxyConfig fields".into()),
    }
}

/// A bare ProxyConfig, as in `PROXY_CONFIG`.
pub fn of_variable(yaml: &str) -> Result<Map<String, Value>, String> {
    object(yaml).map(in_camel_case)
}

/// The entries of `proxyMetadata`, as strings.
pub fn metadata(layer: &Map<String, Value>) -> impl Iterator<Item = (&str, String)> {
    let entries = layer.get(METADATA).and_then(Value::as_object).into_iter().flatten();
    entries.map(|(name, value)| (name.as_str(), scalar(value)))
}

/// A field of a layer as the text that a setting takes.
pub fn field(layer: &Map<String, Value>, name: &str) -> Option<String> {
    layer.get(name).filter(|value| says_something(value)).map(scalar)
}

fn object(yaml: &str) -> Result<Map<String, Value>, String> {
    if yaml.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Map::new());
    }
    // Without the snippet: the text may hold what nobody wants in a log.
    match serde_saphyr::from_str(yaml) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("expected a YAML mapping".into()),
        Err(error) => Err(one_line(&error.without_snippet().to_string())),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn in_camel_case(fields: Map<String, Value>) -> Map<String, Value> {
    fields.into_iter().map(|(field, value)| (camel_case(&field), value)).collect()
}

fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    camel
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            // YAML readers hand whole numbers on as floats when they do not know the type.
            Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) => true,
    }
}

const METADATA: &str = "proxyMetadata";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_replace_fields_and_merge_metadata() {
        let mut config = ProxyConfig::default();
        config.lay(
            of_mesh_file("defaultConfig:\n  discovery_address: a:1\n  proxyMetadata: {A: x, B: y}")
                .unwrap(),
        );
        config.lay(of_variable("statusPort: 0\nproxyMetadata:\n  B: z").unwrap());

        let json = config.to_json();
        assert_eq!(json["discoveryAddress"], "a:1");
        assert_eq!(json["proxyMetadata"], json!({"A": "x", "B": "z"}));
        assert_eq!(json.get("statusPort"), None);
        assert_eq!(json["drainDuration"], "45s");
    }

    #[test]
    fn an_empty_mesh_file_says_nothing() {
        for text in ["", "\n", "# nothing\n", "defaultConfig:\n", "trustDomain: x\n"] {
            assert_eq!(of_mesh_file(text), Ok(Map::new()), "{text}");
        }
    }

    #[test]
    fn a_damaged_file_is_told_with_its_place_and_without_its_text() {
        for text in ["a: b: c: secret", "- 1", "defaultConfig: 3", "a: {", "x: *nowhere"] {
            let error = of_mesh_file(text).unwrap_err();
            assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_field_is_the_text_that_a_setting_takes() {
        let layer =
            of_variable("proxyAdminPort: 15001\nconcurrency: 2\ndrainDuration: 5s\na: ''").unwrap();

        assert_eq!(field(&layer, "proxyAdminPort").as_deref(), Some("15001"));
        assert_eq!(field(&layer, "drainDuration").as_deref(), Some("5s"));
        assert_eq!(field(&layer, "a"), None);
        assert_eq!(field(&layer, "b"), None);
    }
}
