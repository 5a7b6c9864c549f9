//! What of Istio's own may be left out: the one table, with why each does no harm.

use crate::short;

/// A type of configuration that only Istio's build of Envoy loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plumbing {
    /// Its type, without `type.googleapis.com/`.
    pub type_name: &'static str,
    /// What it does, and so what is missing without it.
    pub does: &'static str,
}

/// All that is ever left out.
///
/// None of these lets a request through or keeps one back, and none writes what an authorization
/// filter reads: identity comes from the certificate. What must not be added without a reason why
/// it can be missed: anything that authenticates, authorizes or limits, routes, sets an address or
/// a principal, or ends a chain.
pub const PLUMBING: [Plumbing; 4] = [
    Plumbing {
        type_name: EXCHANGE,
        does: "tells the peer of a TCP connection which workload this is, for telemetry",
    },
    Plumbing {
        type_name: "io.istio.http.peer_metadata.Config",
        does: "tells the peer of an HTTP request which workload this is, for telemetry",
    },
    Plumbing {
        type_name: "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        does: "offers a protocol per HTTP request, by which a peer's undeclared port knows HTTP",
    },
    Plumbing { type_name: "stats.PluginConfig", does: "counts requests and connections" },
];

/// The type of the filter that speaks [`EXCHANGE_PROTOCOL`], at either end of a connection.
pub(crate) const EXCHANGE: &str = "envoy.tcp.metadataexchange.config.MetadataExchange";

/// Who negotiates this has to speak it: the peer begins at once.
pub(crate) const EXCHANGE_PROTOCOL: &str = "istio-peer-exchange";

/// Whether a type is in the table.
pub(crate) fn is_plumbing(type_url: &str) -> bool {
    PLUMBING.iter().any(|plumbing| plumbing.type_name == short(type_url))
}
