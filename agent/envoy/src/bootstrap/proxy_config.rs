//! What the ProxyConfig in the node's metadata says about the bootstrap.
//!
//! What is not read here is for istiod; a value of an unexpected form is as good as none.

use hawser_node::Node;
use serde_json::{Map, Value};

/// A ProxyConfig in proto3 JSON.
pub(super) struct ProxyConfig<'a>(Option<&'a Map<String, Value>>);

impl<'a> ProxyConfig<'a> {
    pub(super) fn of(node: &'a Node) -> Self {
        Self(node.metadata.get("PROXY_CONFIG").and_then(Value::as_object))
    }

    /// Runtime flags and their values.
    pub(super) fn runtime_values(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let values = self.field("runtimeValues").and_then(Value::as_object);
        values
            .into_iter()
            .flatten()
            .filter_map(|(flag, value)| Some((flag.as_str(), value.as_str()?)))
    }

    /// One of the lists of `proxyStatsMatcher`.
    pub(super) fn stats_matcher(&self, list: &str) -> impl Iterator<Item = &'a str> {
        strings(self.field("proxyStatsMatcher").and_then(|matcher| matcher.get(list)))
    }

    /// Tags of Istio's own statistics, each once.
    pub(super) fn extra_stat_tags(&self) -> Vec<&'a str> {
        let mut tags = Vec::new();
        for tag in strings(self.field("extraStatTags")) {
            if !tag.is_empty() && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags
    }

    /// Whether statistics are compressed for a scraper that takes them so.
    pub(super) fn stats_compression(&self) -> bool {
        self.field("statsCompression").and_then(Value::as_bool).unwrap_or(true)
    }

    /// Whether statistics are for programs on this machine only.
    pub(super) fn metrics_on_loopback_only(&self) -> bool {
        self.proxy_metadata("METRICS_LOCALHOST_ACCESS_ONLY").is_some_and(|only| only == "true")
    }

    /// How many connections Envoy accepts; the newest of three ways to say it comes first.
    pub(super) fn max_connections(&self) -> u32 {
        let settings = self.field("connectionSettings");
        let limit = settings.and_then(|settings| settings.get("globalDownstreamConnectionLimit"));
        let runtime = self.field("runtimeValues");
        let runtime =
            runtime.and_then(|values| values.get("overload.global_downstream_max_connections"));
        let metadata = self.proxy_metadata("ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS");
        let said = [limit, metadata, runtime].into_iter().flatten().find_map(positive);
        said.unwrap_or(i32::MAX.unsigned_abs())
    }

    fn proxy_metadata(&self, key: &str) -> Option<&'a Value> {
        self.field("proxyMetadata")?.get(key)
    }

    fn field(&self, name: &str) -> Option<&'a Value> {
        self.0?.get(name)
    }
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// proto3 JSON writes a number with or without quotes.
fn positive(value: &Value) -> Option<u32> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64().and_then(|number| u32::try_from(number).ok()),
    };
    number.filter(|number| *number > 0)
}
