//! Who this machine is to istiod: node id, metadata, locality.
//!
//! Values only: [`Facts`] in, [`Node`] out, with a [`Warning`] for every value that was left out.
//! What is true of every node:
//!
//! - The id is four parts joined by `~`, none of them empty, and the second is the first address.
//! - A metadata key that istiod knows appears in the form istiod reads, or not at all.
//! - No other key differs from one of those only in case: istiod folds case, so either could win.
//!
//! Where its addresses change, [`addresses`] says which is first and [`Node::with_ips`] moves it.
//! The locality comes from labels alone; no cloud's metadata service is asked.

pub mod addresses;
mod cluster;
mod error;
mod facts;
mod field;
mod id;
mod locality;
mod metadata;
mod said;
#[cfg(test)]
mod tests;
mod warning;

pub use error::Error;
pub use facts::{Facts, Ports};
pub use locality::Locality;
pub use warning::Warning;

use std::net::IpAddr;

use serde_json::{Map, Value, json};

/// How this machine introduces itself, on every stream and in Envoy's bootstrap.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// `sidecar~ADDRESS~NAME.NAMESPACE~DOMAIN`.
    pub id: String,
    /// The name that traces and statistics give to this workload.
    pub cluster: String,
    /// Where the machine stands, as far as its labels say.
    pub locality: Locality,
    /// The workload's addresses without duplicates, at least one; the first is *the* address.
    pub ips: Vec<IpAddr>,
    /// What istiod and Envoy's filters know about the workload.
    pub metadata: Map<String, Value>,
}

impl Node {
    /// Makes the node that `facts` describe, and says which of them it had to leave out.
    pub fn new(facts: &Facts) -> Result<(Self, Vec<Warning>), Error> {
        let proxy_config = facts.proxy_config.as_object().ok_or(Error::ProxyConfig)?;
        let ips = id::addresses(&facts.ips)?;
        let id = id::id(facts, &ips)?;
        let (said, mut warnings) = said::collect(facts, proxy_config);
        let mut metadata = metadata::typed(said.keys, &mut warnings);
        metadata::add_own(&mut metadata, facts, proxy_config, &ips);
        metadata::add_labels(&mut metadata, facts, &said.labels);
        let locality = locality::settle(&mut metadata);
        let cluster = cluster::name(proxy_config, &metadata);
        Ok((Self { id, cluster, locality, ips, metadata }, warnings))
    }

    /// The metadata that istiod has a use for: without what others have added under keys of their
    /// own, and without what says nothing.
    pub fn known_metadata(&self) -> Map<String, Value> {
        let known = self.metadata.iter().filter(|(key, value)| {
            matches!(field::Key::of(key), field::Key::Known(_)) && **value != ""
        });
        known.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The node as Envoy's JSON for `envoy.config.core.v3.Node`.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "cluster": self.cluster,
            "locality": self.locality.to_json(),
            "metadata": self.metadata,
        })
    }
}
