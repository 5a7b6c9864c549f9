//! What rules need beside the table: routing for TPROXY, and an address for Envoy.
//!
//! All of it carries numbers of ours that no setting changes, so that it is found and removed
//! whatever the settings were when it was made.

use std::net::{IpAddr, Ipv6Addr};

use hawser_rt::Cidr;

/// Everything beside the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Policy rules.
    pub rules: Vec<PolicyRule>,
    /// Routes.
    pub routes: Vec<LocalRoute>,
    /// Addresses of the loopback interface.
    pub addresses: Vec<Cidr>,
}

/// Which addresses a rule or route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What is marked is looked up in a table of its own: `ip rule add fwmark MARK lookup TABLE`, with
/// [`PREFERENCE`] and [`PROTOCOL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyRule {
    /// For which addresses.
    pub family: Family,
    /// The mark.
    pub mark: u32,
    /// The table.
    pub table: u32,
}

/// Everything in that table is delivered here: `ip route add local default dev lo table TABLE`,
/// with [`PROTOCOL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalRoute {
    /// For which addresses.
    pub family: Family,
    /// The table.
    pub table: u32,
}

/// The preference of our policy rules: before the table `main` (32766).
pub const PREFERENCE: u32 = 15006;

/// Who has made a rule or a route, as the kernel keeps it (`proto 133` in the output of `ip`).
pub const PROTOCOL: u8 = 133;

/// Where Envoy's connections to programs come from on IPv6; for IPv4 127.0.0.6 is there already.
/// Nobody else uses it, so it is ours however old it is.
pub const PASSTHROUGH_V6: Cidr = Cidr::new(IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)), 128);
