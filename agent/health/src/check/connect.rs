//! The way to the workload.

use std::{
    fmt,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    /// Who the probe names, or the machine at its first address, or what there is.
    pub(super) fn new(name: Option<&str>, first: Option<IpAddr>, port: u16) -> Self {
        let host = name.map(str::to_owned).or_else(|| first.map(|ip| ip.to_string()));
        Self { host: host.unwrap_or_else(|| LOCALHOST.to_owned()), port }
    }

    /// A connection to the first of its addresses that takes one.
    pub(super) async fn connect(&self) -> Result<TcpStream, String> {
        let addresses = self.addresses().await;
        let addresses = addresses.map_err(|error| format!("{}: {error}", self.host))?;
        let mut reason = format!("{}: no address", self.host);
        for address in addresses {
            match dial(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => reason = format!("cannot connect to {address}: {error}"),
            }
        }
        Err(reason)
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let at = |ip: IpAddr| SocketAddr::new(ip, self.port);
        if let Ok(ip) = self.host.parse() {
            return Ok(vec![at(ip)]);
        }
        if self.host.eq_ignore_ascii_case(LOCALHOST) {
            return Ok(vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]);
        }
        Ok(lookup_host((self.host.as_str(), self.port)).await?.take(MOST_ADDRESSES).collect())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Connects from the address that interception lets alone, if this machine has it and the target
/// can be reached from there, or else from whatever it has.
async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let source = match address {
        SocketAddr::V4(_) => SocketAddr::new(SOURCE_V4.into(), 0),
        SocketAddr::V6(_) => SocketAddr::new(SOURCE_V6.into(), 0),
    };
    match dial_from(source, address).await {
        Err(error) if !is_answer(error.kind()) => TcpStream::connect(address).await,
        dialled => dialled,
    }
}

async fn dial_from(source: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(source)?;
    socket.connect(address).await
}

/// Whether this is what the target says, and not this machine's own kernel of the source.
fn is_answer(kind: ErrorKind) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut};
    matches!(kind, ConnectionAborted | ConnectionRefused | ConnectionReset | TimedOut)
}

const LOCALHOST: &str = "localhost";
/// The sources from which Envoy itself speaks to the workload. No rule of ours or of Istio's
/// leads them back to Envoy.
const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);
const MOST_ADDRESSES: usize = 4;
