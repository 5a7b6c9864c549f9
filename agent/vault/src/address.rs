//! Where Vault is.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;

/// `https://host:port`; in clear text only on this machine, where an agent of Vault's may listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A text is no address of Vault's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected https://host:port, or http:// with an address of this machine")]
pub struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let uri: Uri = text.parse().map_err(|_invalid| NotAnAddress)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(NotAnAddress),
        };
        let authority = uri.authority().ok_or(NotAnAddress)?;
        let whole = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        if !whole || authority.as_str().contains('@') || text.contains('#') {
            return Err(NotAnAddress);
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = match authority.as_str().strip_prefix(host).ok_or(NotAnAddress)? {
            "" => Some(USUAL),
            port => port.strip_prefix(':').and_then(|port| port.parse().ok()),
        };
        let port = port.filter(|port: &u16| *port != 0);
        let address =
            Self { tls, host: bare.to_ascii_lowercase(), port: port.ok_or(NotAnAddress)? };
        let usable = !address.host.is_empty() && (tls || address.is_here());
        usable.then_some(address).ok_or(NotAnAddress)
    }
}

impl Address {
    /// The host and the port, as the header `Host` has them.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn is_here(&self) -> bool {
        let loopback = self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        loopback || self.host == "localhost"
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Vault's own.
const USUAL: u16 = 8200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_is_in_clear_text_only_on_this_machine() {
        let table = [
            ("https://vault.example", Some("https://vault.example:8200")),
            ("https://vault.example:8443/", Some("https://vault.example:8443")),
            ("https://[2001:db8::1]:8200", Some("https://[2001:db8::1]:8200")),
            ("http://127.0.0.1:8100", Some("http://127.0.0.1:8100")),
            ("http://[::1]:8100", Some("http://[::1]:8100")),
            ("http://localhost:8100", Some("http://localhost:8100")),
            ("http://vault.example:8200", None),
            ("https://vault.example:0", None),
            ("https://vault.example:", None),
            ("https://vault.example:70000", None),
            ("https://user:word@vault.example", None),
            ("https://vault.example/v1", None),
            ("https://vault.example?x", None),
            ("https://vault.example#x", None),
            ("vault.example:8200", None),
            ("ftp://vault.example", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = text.parse::<Address>().ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
