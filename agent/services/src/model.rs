//! What a file of services says, once it is known to make sense.
//!
//! Everything in it is whole: defaults are filled in, short forms are written out, and what was
//! said twice was refused.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

use hawser_rt::Cidr;

use crate::problem::Place;

/// All that the files say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Services {
    /// The trust domain of the services, for ids in their short form.
    pub trust_domain: String,
    /// The east-west gateways, the preferred first.
    pub gateways: Vec<Gateway>,
    /// Where names get their addresses.
    pub range: Range,
    /// The locality of this machine: `region/zone/subzone`, as far as it is known.
    pub locality: String,
    /// What is called, in the order of their hosts.
    pub services: Vec<Service>,
    /// What of this machine may be called.
    pub inbound: Vec<Inbound>,
    /// Whether others call through this machine.
    pub forwarder: Option<Forwarder>,
    /// Where every request is logged; nowhere if none.
    pub access_log: Option<PathBuf>,
}

/// The addresses that names may get, within 127.0.0.0/8 or wherever the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range(pub Cidr);

/// A gateway into a network of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// What services call it by; its address where it was given no name.
    pub name: String,
    /// A name or an address.
    pub host: String,
    /// Its port for other networks.
    pub port: NonZeroU16,
    /// `region/zone/subzone`, as far as it was said.
    pub locality: String,
    /// Lower goes first; equal ones share the load.
    pub priority: u8,
}

/// One port of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The name that it has in the mesh, in lower case: `reviews.prod.svc.cluster.local`.
    pub host: String,
    /// Other names that programs call it by here.
    pub aliases: Vec<String>,
    /// The port of the service, which is in the SNI.
    pub port: NonZeroU16,
    /// The port that programs of this machine use; the same unless it was said.
    pub local_port: NonZeroU16,
    /// What is spoken.
    pub protocol: Protocol,
    /// The SPIFFE ids one of which it has to have; there is at least one.
    pub identities: Vec<String>,
    /// The subset of its workloads; empty for all.
    pub subset: String,
    /// The gateways that lead to it, by name, the preferred first; all if empty.
    pub gateways: Vec<String>,
    /// How long a request may take; 0 for as long as it likes.
    pub timeout: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How often a request is tried again.
    pub retries: u32,
    /// When an endpoint is left alone for a while.
    pub outliers: Option<Outliers>,
    /// REST calls made into gRPC ones.
    pub transcode: Option<Transcode>,
    /// Filters of Envoy's, in the order in which they see requests.
    pub filters: Vec<Snippet>,
    /// Where it stands.
    pub place: Place,
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 without TLS on this machine, as gRPC has it.
    Http2,
    /// The same, with the rules of gRPC for retries and status.
    Grpc,
    /// Anything.
    Tcp,
}

/// When an endpoint is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outliers {
    /// After how many errors in a row.
    pub errors: u32,
    /// For how long, at first.
    pub ejection: Duration,
}

/// REST calls made into gRPC ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcode {
    /// The `FileDescriptorSet`, as it was read.
    pub descriptor: Vec<u8>,
    /// Where that was read.
    pub path: PathBuf,
    /// The services of it that are called so.
    pub services: Vec<String>,
    /// The largest request or answer in bytes.
    pub largest: u32,
}

/// A filter of Envoy's.
#[derive(Debug, Clone, PartialEq)]
pub struct Snippet {
    /// Its name: `envoy.filters.http.lua`.
    pub name: String,
    /// Its `typed_config`, with its `@type`.
    pub config: serde_json::Value,
    /// Where it stands.
    pub place: Place,
}

/// A port of this machine that the mesh may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Where it listens.
    pub address: IpAddr,
    /// On which port.
    pub port: NonZeroU16,
    /// Where the program is.
    pub to: (IpAddr, NonZeroU16),
    /// What is spoken.
    pub protocol: Protocol,
    /// Who may call.
    pub callers: Callers,
    /// Where it stands.
    pub place: Place,
}

/// Who may call a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callers {
    /// Whoever has one of these SPIFFE ids; one that ends in `*` stands for all that begin so.
    These(Vec<String>),
    /// Whoever has a certificate of the mesh.
    Mesh,
    /// Anybody, over TLS with this machine's certificate.
    Anybody,
}

/// This machine calls for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarder {
    /// The address of this machine that they call.
    pub address: IpAddr,
    /// Who they may be.
    pub allow: Vec<Cidr>,
    /// The certificate that they are shown, if they speak TLS.
    pub tls: Option<ServerCertificate>,
}

/// What a forwarder shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCertificate {
    /// This machine's of the mesh.
    Own,
    /// Files that others renew.
    Files {
        /// The certificate, and those that it chains over.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

impl Protocol {
    /// What the file calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

impl Range {
    /// Where nobody else listens: 127.240.0.0/16.
    pub const DEFAULT: Self = Self(Cidr::new(IpAddr::V4(Ipv4Addr::new(127, 240, 0, 0)), 16));
}

impl Default for Range {
    fn default() -> Self {
        Self::DEFAULT
    }
}
