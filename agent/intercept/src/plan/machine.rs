//! What of the machine a plan depends on: accounts, addresses, units as they are now.

use std::{collections::BTreeMap, net::IpAddr};

use hawser_rt::Cidr;

/// The machine, as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Users that the agent and Envoy run as.
    pub uids: Vec<u32>,
    /// Groups that they run as.
    pub gids: Vec<u32>,
    /// Resolvers that programs ask: those of resolv.conf, stubs on loopback too.
    pub resolvers: Vec<IpAddr>,
    /// Users whose programs listen on port 53 here, and ask others in turn.
    pub forwarders: Vec<u32>,
    /// Addresses of services that exist on this machine alone: of loopback, or made up.
    pub vips: Vec<Cidr>,
    /// Where administrators come in by ssh, besides port 22.
    pub ssh: Vec<u16>,
    /// Whether Envoy listens on IPv4.
    pub ipv4: bool,
    /// Whether Envoy listens on IPv6.
    pub ipv6: bool,
    /// Numbers of the users that [`Scope`](super::Scope) names.
    pub users: BTreeMap<String, u32>,
    /// Numbers of its groups.
    pub groups: BTreeMap<String, u32>,
    /// Control groups of its units; one that does not run has none.
    pub units: BTreeMap<String, Cgroup>,
}

/// The control group of a unit (cgroup v2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Below `/sys/fs/cgroup`: `system.slice/web.service`.
    pub path: String,
    /// Its inode: another one is another group, though it has the same name.
    pub id: u64,
}

impl Cgroup {
    /// How deep it is.
    pub fn level(&self) -> usize {
        self.path.split('/').filter(|part| !part.is_empty()).count()
    }
}
