//! Statistics: which are kept, and which parts of their names are labels.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::proxy_config::ProxyConfig;

/// `envoy.config.metrics.v3.StatsConfig`.
pub(super) fn config(proxy_config: &ProxyConfig<'_>, ips: &[IpAddr], discovery: bool) -> Value {
    json!({
        "use_all_default_tags": false,
        "stats_tags": tags(&proxy_config.extra_stat_tags()),
        "stats_matcher": {"inclusion_list": {"patterns": patterns(proxy_config, ips, discovery)}},
    })
}

fn tags(extra: &[&str]) -> Vec<Value> {
    let tag = |(name, regex): &(&str, &str)| json!({"tag_name": name, "regex": regex});
    let extra = extra.iter().map(|name| tag(&(name, &format!(r"({name}=\.=(.*?);\.;)"))));
    ENVOY_TAGS.iter().map(tag).chain(extra).chain(ISTIO_TAGS.iter().map(tag)).collect()
}

fn patterns(proxy_config: &ProxyConfig<'_>, ips: &[IpAddr], discovery: bool) -> Vec<Value> {
    let prefix = |text: &str| json!({"prefix": text});
    let wanted = |list: &str, always: &[&str]| {
        let wanted = proxy_config.stats_matcher(list).chain(always.iter().copied());
        wanted.flat_map(|pattern| with_addresses(pattern, ips)).collect::<Vec<_>>()
    };
    let prefixes = wanted("inclusionPrefixes", PREFIXES);
    let suffixes = wanted("inclusionSuffixes", SUFFIXES);
    let regexes = wanted("inclusionRegexps", REGEXES);
    let mut patterns = vec![prefix("reporter=")];
    patterns.extend(discovery.then(|| prefix("workload_discovery")));
    patterns.extend(prefixes.iter().map(|text| prefix(text)));
    patterns.extend(suffixes.iter().map(|text| json!({"suffix": text})));
    patterns.extend(regexes.iter().map(|text| json!({"safe_regex": {"regex": text}})));
    patterns.extend(["component", "istio"].map(prefix));
    patterns
}

/// One pattern for each address of the machine, if the pattern speaks of addresses.
fn with_addresses(pattern: &str, ips: &[IpAddr]) -> Vec<String> {
    if !pattern.contains(ADDRESS) {
        return vec![pattern.to_owned()];
    }
    ips.iter().map(|ip| pattern.replace(ADDRESS, &ip.to_string())).collect()
}

const ADDRESS: &str = "{pod_ip}";

/// Readiness is read from these.
const PREFIXES: &[&str] =
    &["cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "wasm"];
const SUFFIXES: &[&str] = &["rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied"];
const REGEXES: &[&str] = &[
    r"vhost\..*\.route\..*",
    // What a drain waits for, without those of single workers, and whom a forwarder has refused.
    r"listener\.[0-9a-f_.\[\]]+\.(downstream_cx_active|no_filter_chain_match)",
];

/// Of Envoy's own statistics; a name ends at the `;` of an `alt_stat_name`.
const ENVOY_TAGS: &[(&str, &str)] = &[
    ("cluster_name", r"^cluster(\.(.+);)"),
    (
        "http_conn_manager_prefix",
        r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)",
    ),
    ("thread_name", r"^server(\.(.+))\.watchdog"),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    (
        "http_conn_manager_listener_prefix",
        r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    ("listener_address", r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("mongo_prefix", r"^mongo\.(.+?)\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$"),
];

/// Of the statistics that Istio's filters add.
const ISTIO_TAGS: &[(&str, &str)] = &[
    ("cache", r"(cache\.(.+?)\.)"),
    ("component", r"(component\.(.+?)\.)"),
    ("tag", r"(tag\.(.+?);\.)"),
    ("wasm_filter", r"(wasm_filter\.(.+?)\.)"),
    ("authz_enforce_result", r"rbac(\.(allowed|denied))"),
    ("authz_dry_run_action", r"(\.istio_dry_run_(allow|deny)_)"),
    ("authz_dry_run_result", r"(\.shadow_(allowed|denied))"),
];
