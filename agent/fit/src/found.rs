//! What was found in a resource.

/// A resource that was looked through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fitted {
    /// The new resource; none if nothing had to change.
    pub value: Option<Vec<u8>>,
    /// What was left out, each once.
    pub removed: Vec<Removed>,
    /// What this Envoy lacks as well and what must not go in silence: it refuses the resource for
    /// these, and names the first.
    pub kept: Vec<Removed>,
}

/// One thing that this Envoy lacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Removed {
    /// The name of the resource it was in.
    pub resource: String,
    /// What it was there for.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// The type of its configuration; empty if it has none.
    pub type_url: String,
}

/// What an extension is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Place {
    /// A filter of HTTP requests, of an upgrade's too.
    HttpFilter,
    /// A filter of a filter chain.
    NetworkFilter,
    /// A listener filter.
    ListenerFilter,
    /// A filter of connections or requests to an upstream.
    UpstreamFilter,
    /// An access logger.
    AccessLog,
    /// What a route, virtual host or route configuration says to a filter.
    PerFilterConfig,
    /// What a cluster says to an extension.
    ProtocolOptions,
    /// A filter that is delivered by itself; nothing can be left out for it.
    ExtensionConfig,
    /// A protocol that a TLS context negotiates.
    Alpn,
}

impl Place {
    /// For logs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::HttpFilter => "http filter",
            Self::NetworkFilter => "network filter",
            Self::ListenerFilter => "listener filter",
            Self::UpstreamFilter => "upstream filter",
            Self::AccessLog => "access log",
            Self::PerFilterConfig => "per-filter configuration",
            Self::ProtocolOptions => "protocol options",
            Self::ExtensionConfig => "extension configuration",
            Self::Alpn => "alpn",
        }
    }
}

/// How many different things are told of one resource, at most: a hostile one could name millions.
const TOLD: usize = 64;

/// Adds what is not told yet.
pub(crate) fn tell(
    told: &mut Vec<Removed>,
    resource: &str,
    place: Place,
    name: &str,
    type_url: &str,
) {
    let known =
        told.iter().any(|one| one.place == place && one.name == name && one.type_url == type_url);
    if !known && told.len() < TOLD {
        told.push(Removed {
            resource: resource.to_owned(),
            place,
            name: name.to_owned(),
            type_url: type_url.to_owned(),
        });
    }
}
