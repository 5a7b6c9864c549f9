//! The two ways of aggregated discovery.

/// How a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Each message tells the whole state of its type.
    Sotw,
    /// Each message tells what has changed.
    Delta,
}

impl Flavour {
    /// The gRPC path of the method.
    pub fn path(self) -> &'static str {
        match self {
            Self::Sotw => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
            }
            Self::Delta => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
            }
        }
    }

    /// The flavour of a gRPC path.
    pub fn of(path: &str) -> Option<Self> {
        [Self::Sotw, Self::Delta].into_iter().find(|flavour| flavour.path() == path)
    }

    /// For logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sotw => "sotw",
            Self::Delta => "delta",
        }
    }
}

/// The gRPC service of both.
pub const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
