//! Which listener of Envoy's takes a connection, which of its filter chains, and what that makes
//! of it.
//!
//! A chain is found as Envoy finds it: by one criterion after the other, and by each of them only
//! those go on that fit best. What was left behind is not gone back to.

use std::net::{IpAddr, SocketAddr};

use hawser_rt::Cidr;

use super::dump::{
    Address, Chain, ChainMatch, Filter, Listener, Listening, Range, RouteConfig, Weighted,
};

/// How a connection gets to Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is made to a place where Envoy listens.
    Directly,
    /// It is redirected to this port, and Envoy asks the kernel where it was to go.
    Redirected(u16),
}

/// A connection as Envoy sees it.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// Where it was to go.
    pub to: SocketAddr,
    /// The name that its client says in TLS, if it is TLS.
    pub server_name: Option<&'a str>,
    /// Whether it begins as HTTP does.
    pub http: bool,
}

/// What becomes of a connection.
#[derive(Debug, Clone)]
pub enum Led {
    /// Requests are routed one by one.
    Http(Http),
    /// It goes to one of these clusters as it is.
    Tcp(Vec<Weighted>),
    /// A filter has it whose doings are not known here.
    Other(String),
}

/// Routing of requests.
#[derive(Debug, Clone)]
pub struct Http {
    /// Where the routes are.
    pub routes: Routes,
    /// Which ports are taken off a Host before it is compared.
    pub strip: Strip,
}

/// Where routes are.
#[derive(Debug, Clone)]
pub enum Routes {
    /// They come by this name.
    Named(String),
    /// In the listener.
    Inline(RouteConfig),
    /// Elsewhere, in a way that is not followed.
    Scoped,
}

/// Which ports are taken off a Host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strip {
    /// None.
    None,
    /// That of the connection.
    Same,
    /// Any.
    Any,
}

/// The listeners that could take a connection, the best first, each with where it is.
pub fn candidates(
    index: &[Listening],
    to: SocketAddr,
    arrival: Arrival,
) -> Vec<(String, SocketAddr)> {
    let any: IpAddr = match to.ip() {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0_u16; 8].into(),
    };
    let mut places = vec![to, SocketAddr::new(any, to.port())];
    if to.is_ipv4() {
        // One on [::] that takes IPv4 too.
        places.push(SocketAddr::new([0_u16; 8].into(), to.port()));
    }
    if let Arrival::Redirected(port) = arrival {
        // A connection that nobody else takes stays with the one that it came in by.
        places.extend([SocketAddr::new(any, port), SocketAddr::new([0_u16; 8].into(), port)]);
    }
    let at = |place: &SocketAddr| {
        let here = |one: &&Listening| {
            let more = one.additional_local_addresses.iter();
            more.chain([&one.local_address]).filter_map(Address::socket).any(|own| own == *place)
        };
        index.iter().find(here).map(|one| (one.name.clone(), *place))
    };
    let mut found: Vec<(String, SocketAddr)> = places.iter().filter_map(at).collect();
    found.dedup_by(|one, other| one.0 == other.0);
    found
}

/// The chain that takes a connection.
pub fn chain<'a>(listener: &'a Listener, connection: &Connection<'_>) -> Option<&'a Chain> {
    let inspects = |name: &str| {
        let kind = |filter: &Filter| {
            filter.name.ends_with(name)
                || filter.typed_config.kind.to_ascii_lowercase().ends_with(&name.replace('_', ""))
        };
        listener.listener_filters.iter().any(kind)
    };
    let tls = connection.server_name.filter(|_| inspects("tls_inspector"));
    let http = connection.http && inspects("http_inspector");
    let protocol = if tls.is_some() { "tls" } else { "raw_buffer" };
    let mut left: Vec<&Chain> = listener.filter_chains.iter().collect();
    let of = |chain: &&Chain| chain.filter_chain_match.clone();
    keep(&mut left, |own| port(&of(own), connection.to.port()));
    keep(&mut left, |own| range(&of(own).prefix_ranges, connection.to.ip()));
    keep(&mut left, |own| server_name(&of(own).server_names, tls));
    keep(&mut left, |own| text(&of(own).transport_protocol, protocol));
    keep(&mut left, |own| application(&of(own).application_protocols, http, connection));
    // Programs of this machine are near, and nobody knows by which port they come.
    keep(&mut left, |own| source(&of(own)));
    left.first().copied().or(listener.default_filter_chain.as_ref())
}

/// What a chain makes of a connection.
pub fn led(chain: &Chain) -> Led {
    let Some(last) = chain.filters.last() else { return Led::Other("no filter".to_owned()) };
    let config = &last.typed_config;
    if config.is("TcpProxy") {
        let weighted = config.weighted_clusters.as_ref().map(|them| them.clusters.clone());
        let one = Weighted { name: config.cluster.clone(), weight: None };
        return Led::Tcp(weighted.unwrap_or_else(|| vec![one]));
    }
    if !config.is("HttpConnectionManager") {
        return Led::Other(last.name.clone());
    }
    let strip = match (config.strip_any_host_port, config.strip_matching_host_port) {
        (true, _) => Strip::Any,
        (false, true) => Strip::Same,
        (false, false) => Strip::None,
    };
    let routes = match (&config.rds, &config.route_config) {
        (Some(rds), _) => Routes::Named(rds.route_config_name.clone()),
        (None, Some(own)) => Routes::Inline(own.clone()),
        (None, None) => Routes::Scoped,
    };
    Led::Http(Http { routes, strip })
}

/// Keeps those that fit best, if any fits at all; a rank is higher where it fits better.
fn keep<'a>(chains: &mut Vec<&'a Chain>, rank: impl Fn(&&'a Chain) -> Option<u32>) {
    let best = chains.iter().filter_map(&rank).max();
    chains.retain(|chain| best.is_some() && rank(chain) == best);
}

fn port(own: &ChainMatch, port: u16) -> Option<u32> {
    match own.destination_port {
        None => Some(0),
        Some(wanted) => (wanted == u32::from(port)).then_some(1),
    }
}

fn range(ranges: &[Range], address: IpAddr) -> Option<u32> {
    if ranges.is_empty() {
        return Some(0);
    }
    let bits = |range: &Range| {
        let network = Cidr::new(range.address_prefix.parse().ok()?, range.prefix_len);
        network.contains(address).then(|| 1 + u32::from(range.prefix_len))
    };
    ranges.iter().filter_map(bits).max()
}

/// The whole name, then the longest end of it, then none.
fn server_name(names: &[String], said: Option<&str>) -> Option<u32> {
    if names.is_empty() {
        return Some(0);
    }
    let said = said?.to_ascii_lowercase();
    let rank = |name: &String| {
        if *name == said {
            return Some(u32::MAX);
        }
        let end = name.strip_prefix('*')?;
        (said.len() > end.len() && said.ends_with(end))
            .then(|| u32::try_from(end.len()).unwrap_or(0) + 1)
    };
    names.iter().filter_map(rank).max()
}

fn text(own: &str, said: &str) -> Option<u32> {
    match own {
        "" => Some(0),
        own => (own == said).then_some(1),
    }
}

/// What a client of the kind that programs use says that it speaks.
fn application(names: &[String], http: bool, connection: &Connection<'_>) -> Option<u32> {
    if names.is_empty() {
        return Some(0);
    }
    let spoken: &[&str] = match (http, connection.server_name) {
        (true, _) => &["http/1.1"],
        (false, Some(_)) => &["h2", "http/1.1"],
        (false, None) => &[],
    };
    let place = spoken.iter().position(|one| names.iter().any(|name| name == one))?;
    u32::try_from(spoken.len() - place).ok()
}

fn source(own: &ChainMatch) -> Option<u32> {
    let near = matches!(own.source_type.as_str(), "" | "ANY" | "SAME_IP_OR_LOOPBACK");
    let told = own.direct_source_prefix_ranges.is_empty()
        && own.source_prefix_ranges.is_empty()
        && own.source_ports.is_empty();
    (near && told).then(|| u32::from(own.source_type == "SAME_IP_OR_LOOPBACK"))
}

#[cfg(test)]
mod tests;
