//! `node.cluster`: the name that traces and statistics give to this workload.

use serde_json::{Map, Value};

/// The name that the proxy configuration asks for, or else one made of what is known.
pub(crate) fn name(proxy_config: &Map<String, Value>, metadata: &Map<String, Value>) -> String {
    let text = |from: &Map<String, Value>, key: &str| {
        from.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let of = |service: &str| format!("{service}.{}", text(metadata, "NAMESPACE"));
    let workload = text(metadata, "WORKLOAD_NAME");
    let canonical = || match label(metadata, CANONICAL_FIRST) {
        Some(service) => service.to_owned(),
        None if workload.is_empty() => UNNAMED.to_owned(),
        None => workload.clone(),
    };
    let wanted = match text(proxy_config, "tracingServiceName").as_str() {
        "CANONICAL_NAME_AND_NAMESPACE" => return of(&canonical()),
        "CANONICAL_NAME_ONLY" => canonical(),
        _ => text(proxy_config, "serviceCluster"),
    };
    if !wanted.is_empty() && wanted != UNNAMED {
        return wanted;
    }
    match label(metadata, APP_FIRST) {
        Some(app) => of(app),
        None if workload.is_empty() => of(UNNAMED),
        None => of(&workload),
    }
}

fn label<'a>(metadata: &'a Map<String, Value>, keys: [&str; 3]) -> Option<&'a str> {
    let labels = metadata.get("LABELS")?;
    keys.iter().find_map(|key| labels.get(key)?.as_str())
}

/// What Istio calls a workload that nobody has named, and so the same as no name.
const UNNAMED: &str = "istio-proxy";
const APP_FIRST: [&str; 3] = ["app", "app.kubernetes.io/name", "service.istio.io/canonical-name"];
const CANONICAL_FIRST: [&str; 3] =
    ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workload_is_named_by_the_first_that_says_something() {
        let labels = json!({"app": "a", "app.kubernetes.io/name": "k", "service.istio.io/canonical-name": "c"});
        let bare = json!({"NAMESPACE": "ns"});
        let grouped = json!({"NAMESPACE": "ns", "WORKLOAD_NAME": "w"});
        let labelled = json!({"NAMESPACE": "ns", "WORKLOAD_NAME": "w", "LABELS": labels});
        let kubernetes = json!({"NAMESPACE": "ns", "LABELS": {"app.kubernetes.io/name": "k"}});
        let cases = [
            (json!({"serviceCluster": "foo.bar"}), &labelled, "foo.bar"),
            (json!({"serviceCluster": "istio-proxy"}), &labelled, "a.ns"),
            (json!({"serviceCluster": ""}), &kubernetes, "k.ns"),
            (json!({}), &grouped, "w.ns"),
            (json!({}), &bare, "istio-proxy.ns"),
            (json!({"tracingServiceName": "APP_LABEL_AND_NAMESPACE"}), &labelled, "a.ns"),
            (json!({"tracingServiceName": "CANONICAL_NAME_ONLY"}), &labelled, "c"),
            (json!({"tracingServiceName": "CANONICAL_NAME_ONLY"}), &kubernetes, "k"),
            (json!({"tracingServiceName": "CANONICAL_NAME_ONLY"}), &grouped, "w"),
            (json!({"tracingServiceName": "CANONICAL_NAME_ONLY"}), &bare, "istio-proxy.ns"),
            (json!({"tracingServiceName": "CANONICAL_NAME_AND_NAMESPACE"}), &labelled, "c.ns"),
            (
                json!({"tracingServiceName": "CANONICAL_NAME_AND_NAMESPACE"}),
                &bare,
                "istio-proxy.ns",
            ),
            (json!({"tracingServiceName": "SOMETHING_NEW"}), &labelled, "a.ns"),
        ];

        for (proxy_config, metadata, expected) in cases {
            let name = name(proxy_config.as_object().unwrap(), metadata.as_object().unwrap());
            assert_eq!(name, expected, "{proxy_config} {metadata}");
        }
    }
}
