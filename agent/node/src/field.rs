//! The metadata keys that istiod knows, and the form it reads each in.
//!
//! istiod closes the stream of a node with one field in another form, so a wrong value must not
//! get that far.

use serde_json::{Map, Value};

/// What istiod expects under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A string.
    Text,
    /// A boolean inside a string.
    Switch,
    /// A JSON array of ports inside a string.
    PodPorts,
    /// An object of strings.
    Texts,
    /// For the agent to say, not for the user.
    Own,
}

/// What a key is to istiod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// One that it reads.
    Known(Form),
    /// One that it would take for the given one, because it folds case.
    TwinOf(&'static str),
    /// One that it passes on to whoever asks.
    Free,
}

impl Key {
    pub(crate) fn of(key: &str) -> Self {
        if let Some((_, form)) = FIELDS.iter().find(|(name, _)| *name == key) {
            return Self::Known(*form);
        }
        let folded = fold(key);
        let twin = FIELDS.iter().find(|(name, _)| *name == folded);
        twin.map_or(Self::Free, |(name, _)| Self::TwinOf(name))
    }
}

/// Upper case, where two letters outside ASCII are the same to Go as one inside.
fn fold(key: &str) -> String {
    let fold = |letter| match letter {
        'ſ' => 'S',
        '\u{212a}' => 'K',
        letter => letter.to_ascii_uppercase(),
    };
    key.chars().map(fold).collect()
}

/// A boolean as Go reads it.
pub(crate) fn switch(value: &Value) -> Option<bool> {
    match value.as_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The list of ports as istiod writes it, or nothing if it is no such list.
pub(crate) fn pod_ports(value: &Value) -> Option<String> {
    let ports: Vec<Map<String, Value>> = serde_json::from_str(value.as_str()?).ok()?;
    let ports: Option<Vec<String>> = ports.iter().map(pod_port).collect();
    Some(format!("[{}]", ports?.join(",")))
}

fn pod_port(port: &Map<String, Value>) -> Option<String> {
    let text = |key| match port.get(key) {
        None | Some(Value::Null) => Some(Value::from("")),
        Some(text) if text.is_string() => Some(text.clone()),
        Some(_) => None,
    };
    let (name, protocol) = (text("name")?, text("protocol")?);
    let number = match port.get("containerPort") {
        None | Some(Value::Null) => 0,
        Some(number) => u16::try_from(number.as_u64()?).ok()?,
    };
    let rest = format!(r#""containerPort":{number},"protocol":{protocol}"#);
    Some(if name == "" { format!("{{{rest}}}") } else { format!(r#"{{"name":{name},{rest}}}"#) })
}

const FIELDS: &[(&str, Form)] = &[
    ("ANNOTATIONS", Form::Texts),
    ("APP_CONTAINERS", Form::Text),
    ("AUTO_REGISTER_GROUP", Form::Text),
    ("BASE", Form::Text),
    ("CLOUDRUN_ADDR", Form::Text),
    ("CLUSTER_ID", Form::Text),
    ("DISABLE_HBONE_SEND", Form::Switch),
    ("DNS_AUTO_ALLOCATE", Form::Switch),
    ("DNS_CAPTURE", Form::Switch),
    ("DNS_PROXY_ADDR", Form::Text),
    ("ENABLE_HBONE", Form::Switch),
    ("ENABLE_SELF_DISCOVERY", Form::Switch),
    ("ENVOY_PROMETHEUS_PORT", Form::Own),
    ("ENVOY_SECURE_MERGED_METRICS_PORT", Form::Own),
    ("ENVOY_SECURE_METRICS_PORT", Form::Own),
    ("ENVOY_SKIP_DEPRECATED_LOGS", Form::Own),
    ("ENVOY_STATUS_PORT", Form::Own),
    ("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", Form::Own),
    ("GENERATOR", Form::Text),
    ("HTTP10", Form::Text),
    ("HTTP_PROXY_PORT", Form::Text),
    ("IDLE_TIMEOUT", Form::Text),
    ("INBOUND_LISTENER_EXACT_BALANCE", Form::Switch),
    ("INSTANCE_IPS", Form::Own),
    ("INTERCEPTION_MODE", Form::Text),
    ("ISTIO_PROXY_SHA", Form::Text),
    ("ISTIO_REVISION", Form::Text),
    ("ISTIO_VERSION", Form::Text),
    ("LABELS", Form::Texts),
    ("MESH_ID", Form::Text),
    ("METADATA_DISCOVERY", Form::Own),
    ("NAME", Form::Text),
    ("NAMESPACE", Form::Text),
    ("NETWORK", Form::Text),
    ("NODE_NAME", Form::Text),
    ("OUTBOUND_LISTENER_EXACT_BALANCE", Form::Switch),
    ("OUTLIER_LOG_PATH", Form::Text),
    ("OWNER", Form::Text),
    ("PILOT_SAN", Form::Own),
    ("PLATFORM_METADATA", Form::Texts),
    ("POD_PORTS", Form::PodPorts),
    ("PROXY_CONFIG", Form::Own),
    ("REQUESTED_NETWORK_VIEW", Form::Text),
    ("SERVICE_ACCOUNT", Form::Text),
    ("STATIC_LABELS", Form::Texts),
    ("STS_PORT", Form::Text),
    ("TLS_CLIENT_CERT_CHAIN", Form::Text),
    ("TLS_CLIENT_KEY", Form::Text),
    ("TLS_CLIENT_ROOT_CERT", Form::Text),
    ("TLS_SERVER_CERT_CHAIN", Form::Text),
    ("TLS_SERVER_KEY", Form::Text),
    ("TLS_SERVER_ROOT_CERT", Form::Text),
    ("UNPRIVILEGED_POD", Form::Text),
    ("WORKLOAD_ENTRY", Form::Text),
    ("WORKLOAD_IDENTITY_SOCKET_FILE", Form::Own),
    ("WORKLOAD_NAME", Form::Text),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_exactly_or_a_twin_or_free() {
        let cases = [
            ("NETWORK", Key::Known(Form::Text)),
            ("network", Key::TwinOf("NETWORK")),
            ("NetWorK", Key::TwinOf("NETWORK")),
            ("Networ\u{212a}", Key::TwinOf("NETWORK")),
            ("ba\u{17f}e", Key::TwinOf("BASE")),
            ("name\u{131}", Key::Free),
            ("service.istio.io/canonical-name", Key::Free),
            ("LOAD_STATS_CONFIG_JSON", Key::Free),
            ("", Key::Free),
        ];

        for (key, expected) in cases {
            assert_eq!(Key::of(key), expected, "{key}");
        }
    }

    #[test]
    fn switches_are_gos_booleans() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(switch(&text.into()), Some(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(switch(&text.into()), Some(false), "{text}");
        }
        for text in ["", "yes", "tRUE", " true", "2"] {
            assert_eq!(switch(&text.into()), None, "{text}");
        }
        assert_eq!(switch(&Value::Bool(true)), None);
    }

    #[test]
    fn pod_ports_are_an_array_inside_a_string() {
        let cases = [
            ("[]", Some("[]")),
            (
                r#"[{"protocol":"TCP", "containerPort":80, "name":"http", "hostPort":1}]"#,
                Some(r#"[{"name":"http","containerPort":80,"protocol":"TCP"}]"#),
            ),
            (
                r#"[{"containerPort":80},{}]"#,
                Some(r#"[{"containerPort":80,"protocol":""},{"containerPort":0,"protocol":""}]"#),
            ),
            ("", None),
            ("{}", None),
            ("[80]", None),
            (r#"[{"containerPort":"80"}]"#, None),
            (r#"[{"containerPort":65536}]"#, None),
            (r#"[{"name":1}]"#, None),
        ];

        for (text, expected) in cases {
            assert_eq!(pod_ports(&text.into()).as_deref(), expected, "{text}");
        }
        assert_eq!(pod_ports(&serde_json::json!([])), None);
    }
}
