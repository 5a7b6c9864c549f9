//! Routes.

use serde::Deserialize;

use super::{Present, listener::WeightedClusters};

/// Routes, in `dynamic_route_configs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are Envoy's")]
pub struct RouteDump {
    pub route_config: RouteConfig,
}

/// All routes of a name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct RouteConfig {
    pub name: String,
    pub virtual_hosts: Vec<VirtualHost>,
    pub ignore_port_in_host_matching: bool,
    pub vhds: Option<Present>,
}

/// Those for some hosts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct VirtualHost {
    pub name: String,
    pub domains: Vec<String>,
    pub routes: Vec<Route>,
    pub matcher: Option<Present>,
    pub require_tls: Option<String>,
}

/// A route: for which requests it is, and one of three things that are done with them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Route {
    pub name: String,
    pub r#match: RouteMatch,
    pub route: Option<Action>,
    pub redirect: Option<Present>,
    pub direct_response: Option<Direct>,
}

/// For which requests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct RouteMatch {
    pub prefix: Option<String>,
    pub path: Option<String>,
    pub path_separated_prefix: Option<String>,
    pub safe_regex: Option<Regex>,
    pub connect_matcher: Option<Present>,
    pub path_match_policy: Option<Present>,
    pub case_sensitive: Option<bool>,
    pub headers: Vec<HeaderMatch>,
    pub query_parameters: Vec<QueryMatch>,
    pub grpc: Option<Present>,
    pub runtime_fraction: Option<Present>,
    pub tls_context: Option<Present>,
    pub dynamic_metadata: Vec<Present>,
    pub filter_state: Vec<Present>,
    pub cookies: Vec<Present>,
}

/// A condition on a header.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct HeaderMatch {
    pub name: String,
    pub invert_match: bool,
    pub treat_missing_header_as_empty: bool,
    pub present_match: Option<bool>,
    pub string_match: Option<StringMatch>,
    pub exact_match: Option<String>,
    pub prefix_match: Option<String>,
    pub suffix_match: Option<String>,
    pub contains_match: Option<String>,
    pub safe_regex_match: Option<Regex>,
    pub range_match: Option<Present>,
}

/// A condition on a parameter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct QueryMatch {
    pub name: String,
}

/// A condition on a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct StringMatch {
    pub exact: Option<String>,
    pub prefix: Option<String>,
    pub suffix: Option<String>,
    pub contains: Option<String>,
    pub safe_regex: Option<Regex>,
    pub ignore_case: bool,
}

/// A regular expression.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Regex {
    pub regex: String,
}

/// Where to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Action {
    pub cluster: Option<String>,
    pub weighted_clusters: Option<WeightedClusters>,
    pub cluster_header: Option<String>,
    pub timeout: Option<String>,
    pub prefix_rewrite: Option<String>,
    pub host_rewrite_literal: Option<String>,
}

/// An answer of Envoy's own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Direct {
    pub status: u16,
}
