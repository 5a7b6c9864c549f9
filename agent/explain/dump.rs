//! What Envoy's admin interface says of its configuration, as far as it matters to a request.
//!
//! Read piece by piece, and what is not named here is passed over as it comes: the listeners of a
//! mesh of thousands of services are tens of megabytes. Names and meanings are those of Envoy's
//! own messages.

pub mod cluster;
pub mod listener;
pub mod route;

use std::{collections::BTreeMap, fmt, io, marker::PhantomData, net::SocketAddr};

use serde::{
    Deserialize,
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
    },
};

pub use self::{
    cluster::{
        Assignment, Cluster, ClusterDump, ClusterStatus, EndpointDump, HealthStatus, Host, Socket,
        Tls,
    },
    listener::{
        Chain, ChainMatch, Filter, FilterConfig, Listener, ListenerDump, Listening, Range, Weighted,
    },
    route::{HeaderMatch, Route, RouteConfig, RouteDump, RouteMatch, StringMatch, VirtualHost},
};

/// Gives each element of the list `list` to `keep`.
pub fn each<T: DeserializeOwned>(
    from: impl io::Read,
    list: &str,
    keep: &mut dyn FnMut(T),
) -> Result<(), serde_json::Error> {
    let from = io::BufReader::with_capacity(BUFFER, from);
    let mut reader = serde_json::Deserializer::from_reader(from);
    Lists { list, keep }.deserialize(&mut reader)?;
    reader.end()
}

/// An address, as Envoy says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are Envoy's")]
pub struct Address {
    pub socket_address: Option<SocketAddress>,
    pub pipe: Option<Pipe>,
    pub envoy_internal_address: Option<Internal>,
}

/// An address of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct SocketAddress {
    pub address: String,
    pub port_value: u16,
}

/// A Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Pipe {
    pub path: String,
}

/// A listener within Envoy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct Internal {
    pub server_listener_name: String,
    pub endpoint_id: String,
}

impl Address {
    /// The address of the network that it is.
    pub fn socket(&self) -> Option<SocketAddr> {
        let own = self.socket_address.as_ref()?;
        Some(SocketAddr::new(own.address.parse().ok()?, own.port_value))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.socket_address, &self.pipe, &self.envoy_internal_address) {
            (Some(own), _, _) if own.address.contains(':') => {
                write!(f, "[{}]:{}", own.address, own.port_value)
            }
            (Some(own), _, _) => write!(f, "{}:{}", own.address, own.port_value),
            (None, Some(pipe), _) => f.write_str(&pipe.path),
            (None, None, Some(own)) if own.endpoint_id.is_empty() => {
                write!(f, "Envoy's {}", own.server_listener_name)
            }
            (None, None, Some(own)) => {
                write!(f, "{} by Envoy's {}", own.endpoint_id, own.server_listener_name)
            }
            (None, None, None) => f.write_str("nowhere"),
        }
    }
}

/// What is said beside a resource, by who says it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// By filter, and by word.
    pub filter_metadata: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

impl Metadata {
    /// A text that is said.
    pub fn text(&self, filter: &str, word: &str) -> Option<&str> {
        self.filter_metadata.get(filter)?.get(word)?.as_str()
    }
}

/// Whether something is there, whatever it is.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Present(IgnoredAny);

impl PartialEq for Present {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Present {}

struct Lists<'a, T> {
    list: &'a str,
    keep: &'a mut dyn FnMut(T),
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Lists<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Lists<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an answer with {}", self.list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == self.list {
                map.next_value_seed(Elements { keep: &mut *self.keep, of: PhantomData })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Elements<'a, T> {
    keep: &'a mut dyn FnMut(T),
    of: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Elements<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Elements<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(one) = seq.next_element::<T>()? {
            (self.keep)(one);
        }
        Ok(())
    }
}

const BUFFER: usize = 64 * 1024;
