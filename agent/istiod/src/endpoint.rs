//! Where istiod is, and the name its certificate must carry.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// Where istiod listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name or an IP address, IPv6 without brackets.
    pub host: String,
    /// The port, 15012 as a rule.
    pub port: u16,
    /// The name istiod's certificate must carry, where it is not the host.
    pub server_name: Option<String>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl Endpoint {
    /// The name that istiod's certificate is checked against.
    ///
    /// A host with `localhost` in it is a tunnel to istiod, whose certificate knows nothing of it.
    pub fn verified_name(&self) -> &str {
        match &self.server_name {
            Some(name) => name,
            None if self.host.contains("localhost") => IN_CLUSTER_NAME,
            None => self.host.trim_end_matches('.'),
        }
    }
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    /// Reads `host:port`, `1.2.3.4:port` or `[v6]:port`. Port 15010 is istiod's plaintext port.
    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let wrong = || NotAnEndpoint { text: text.to_owned() };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => {
                address.parse::<Ipv6Addr>().ok().ok_or_else(wrong)?;
                address
            }
            None if is_host(host) => host,
            None => return Err(wrong()),
        };
        Ok(Self { host: host.to_owned(), port, server_name: None, tls: port != PLAINTEXT_PORT })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A text that does not name a host and a port.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is not an address of istiod; expected host:port, as istiod.istio-system.svc:15012"
)]
pub struct NotAnEndpoint {
    text: String,
}

fn is_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !host.is_empty() && host.len() <= 253 && host.bytes().all(plain)
}

const IN_CLUSTER_NAME: &str = "istiod.istio-system.svc";
const PLAINTEXT_PORT: u16 = 15010;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_read() {
        let table = [
            ("istiod.istio-system.svc:15012", "istiod.istio-system.svc", 15012, true),
            (" 10.0.0.1:15012\n", "10.0.0.1", 15012, true),
            ("[2001:db8::1]:15012", "2001:db8::1", 15012, true),
            (
                "istiod-rev_1.istio-system.svc.:15010",
                "istiod-rev_1.istio-system.svc.",
                15010,
                false,
            ),
        ];
        for (text, host, port, tls) in table {
            let endpoint: Endpoint = text.parse().unwrap();
            let read = (endpoint.host.as_str(), endpoint.port, endpoint.tls);
            assert_eq!(read, (host, port, tls), "{text}");
            assert_eq!(endpoint.to_string(), text.trim(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_quoted() {
        let table = [
            "",
            "istiod",
            "istiod:",
            ":15012",
            "istiod:0",
            "istiod:70000",
            "https://istiod:15012",
            "2001:db8::1:15012",
            "[fe80]:1",
            "a b:1",
        ];
        for text in table {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is not")), "{error}");
        }
    }

    #[test]
    fn the_certificate_is_checked_against_host_override_or_the_name_in_the_cluster() {
        let table = [
            ("istiod.istio-system.svc:15012", None, "istiod.istio-system.svc"),
            ("istiod.example.:15012", None, "istiod.example"),
            ("localhost:15012", None, "istiod.istio-system.svc"),
            ("vm.localhost:15012", None, "istiod.istio-system.svc"),
            ("localhost:15012", Some("istiod.other"), "istiod.other"),
            (
                "10.0.0.1:15012",
                Some("istiod-blue.istio-system.svc"),
                "istiod-blue.istio-system.svc",
            ),
            ("10.0.0.1:15012", None, "10.0.0.1"),
        ];
        for (text, server_name, expected) in table {
            let mut endpoint: Endpoint = text.parse().unwrap();
            endpoint.server_name = server_name.map(str::to_owned);
            assert_eq!(endpoint.verified_name(), expected, "{text}");
        }
    }
}
