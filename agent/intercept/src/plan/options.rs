//! What is wanted, as the configuration says it.

use std::net::SocketAddr;

use hawser_rt::Cidr;

/// What is to be redirected, and what is spared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How what comes in gets to Envoy.
    pub mode: Mode,
    /// What comes in.
    pub inbound: Inbound,
    /// What goes out.
    pub outbound: Outbound,
    /// Whose connections are redirected.
    pub scope: Scope,
    /// Interfaces that are treated in another way.
    pub interfaces: Interfaces,
    /// DNS, if questions are to be redirected to the agent.
    pub dns: Option<Dns>,
    /// Where Envoy listens.
    pub envoy: Envoy,
    /// How packets are steered in [`Mode::Tproxy`].
    pub steer: Steer,
    /// Whether segments that belong to no connection are dropped.
    pub drop_invalid: bool,
    /// Whether IPv6 is redirected; else where Envoy listens on IPv6.
    pub ipv6: Option<bool>,
    /// What is spared without being named.
    pub spared: Vec<Spared>,
    /// TCP ports of the agent and of Envoy, which [`Spared::Own`] spares.
    pub own_ports: Vec<u16>,
}

/// How what comes in gets to Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its destination is rewritten; the program sees Envoy's address as that of its client.
    Redirect,
    /// It is handed over as it is; the program sees the address of its client.
    Tproxy,
    /// Envoy gets nothing, neither of what comes in nor of what goes out.
    None,
}

/// All there is, or only what is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken<T> {
    /// `*`.
    All,
    /// What is named; nothing, if nothing is.
    Only(Vec<T>),
}

impl<T> Taken<T> {
    /// Whether it is nothing at all.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Only(named) if named.is_empty())
    }
}

/// One port, or those between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last; the first again, where it is one.
    pub last: u16,
}

impl Ports {
    /// One port.
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether the port is among them.
    pub const fn hold(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Ports whose connections Envoy gets.
    pub ports: Taken<Ports>,
    /// Ports that are spared where all are taken.
    pub exclude: Vec<Ports>,
}

/// What goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Networks whose connections Envoy gets.
    pub networks: Taken<Cidr>,
    /// Networks that are spared.
    pub exclude: Vec<Cidr>,
    /// Ports whose connections Envoy gets wherever they go.
    pub ports: Vec<Ports>,
    /// Ports that are spared before everything else, DNS too.
    pub exclude_ports: Vec<Ports>,
    /// What of IPv4 is the machine talking to itself.
    pub loopback: Cidr,
}

/// Whose connections and questions are redirected, of those that go out.
///
/// Where several kinds are named, one that fits is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Users, by name or number.
    pub users: Taken<String>,
    /// Groups, by name or number.
    pub groups: Taken<String>,
    /// systemd units.
    pub units: Taken<String>,
    /// Users that are spared.
    pub exclude_users: Vec<String>,
    /// Groups that are spared; only where [`Scope::groups`] is all.
    pub exclude_groups: Vec<String>,
    /// Units that are spared.
    pub exclude_units: Vec<String>,
}

/// Interfaces by name; one that ends in `*` stands for all that begin so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Spared both ways.
    pub exclude: Vec<String>,
    /// What comes in there goes out for us: bridges of containers and virtual machines.
    pub virtuals: Vec<String>,
}

/// Questions that the agent is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Where the agent listens.
    pub listen: Vec<SocketAddr>,
    /// Whether every question is redirected, not only those to the machine's resolvers.
    pub all: bool,
}

/// Where Envoy listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envoy {
    /// For what goes out.
    pub outbound: u16,
    /// For what comes in.
    pub inbound: u16,
    /// For tunnels, which are never redirected.
    pub tunnel: u16,
}

impl Default for Envoy {
    fn default() -> Self {
        Self { outbound: 15001, inbound: 15006, tunnel: 15008 }
    }
}

/// How packets are steered in [`Mode::Tproxy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steer {
    /// The mark of packets that are for Envoy; Envoy sets it too.
    pub mark: u32,
    /// The routing table that delivers them here.
    pub table: u32,
}

impl Default for Steer {
    fn default() -> Self {
        Self { mark: 1337, table: 133 }
    }
}

/// What is spared without being named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spared {
    /// Port 22, in and out: the way back to the machine.
    Ssh,
    /// Ports of the agent and of Envoy, in.
    Own,
    /// The metadata servers of clouds.
    Metadata,
    /// What sets the clock over TCP; over UDP nothing is redirected anyway.
    Time,
}

impl Spared {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ssh, Self::Own, Self::Metadata, Self::Time];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Own => "own",
            Self::Metadata => "metadata",
            Self::Time => "time",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|spared| spared.name() == name)
    }
}
