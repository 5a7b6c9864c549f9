//! Wire types: Istio's and SPIFFE's own messages, and Envoy's from envoy-types.

pub mod names;

pub use envoy_types::pb as envoy;
pub use names::Names;

/// Istio's messages.
pub mod istio {
    /// The signing service: `istio.v1.auth`.
    #[expect(
        unused_qualifications,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    pub mod ca {
        tonic::include_proto!("istio.v1.auth");
    }

    /// The name table: `istio.networking.nds.v1`.
    pub mod nds {
        tonic::include_proto!("istio.networking.nds.v1");
    }
}

/// The SPIFFE Workload API, which is in no package.
#[expect(
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod spiffe {
    tonic::include_proto!("_");
}

/// The type URLs that hawser knows by name.
pub mod type_url {
    /// Clusters (CDS).
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// Listeners (LDS).
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// Endpoints of a cluster (EDS).
    pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// Routes (RDS).
    pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// Secrets (SDS).
    pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    /// Filters delivered by themselves (ECDS).
    pub const EXTENSION_CONFIG: &str =
        "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
    /// The name table (NDS).
    pub const NAME_TABLE: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";
    /// Proxy settings that carry trust roots (PCDS).
    pub const PROXY_CONFIG: &str = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig";
    /// Health of the workload, told to istiod.
    pub const HEALTH: &str = "type.googleapis.com/istio.v1.HealthInformation";
}
