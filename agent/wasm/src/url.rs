//! Addresses of modules, of registries and of what they redirect to.

use std::fmt;

use http::{Uri, uri::Authority};

use crate::Error;

/// An absolute HTTP address.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `user:password` of the address itself.
    pub(crate) login: Option<String>,
    /// Path and query, beginning with a slash.
    pub(crate) target: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |problem| Error::Address { url: plain(text), problem };
        let uri: Uri = text.parse().ok().ok_or_else(|| wrong("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("expected http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let host = bare(authority.host());
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let login = authority.as_str().rsplit_once('@').map(|(login, _)| login.to_owned());
        let port = port(authority).ok_or_else(|| wrong("its port is no port"))?;
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            login,
            target: target(&uri),
        })
    }

    /// Where `location` leads from here.
    pub(crate) fn join(&self, location: &str) -> Result<Self, Error> {
        let scheme = if self.tls { "https" } else { "http" };
        let has_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
            scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        });
        if has_scheme {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let host = self.authority();
        if location.starts_with('/') {
            return Self::parse(&format!("{scheme}://{host}{location}"));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        if location.starts_with('?') || location.is_empty() {
            return Self::parse(&format!("{scheme}://{host}{path}{location}"));
        }
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        Self::parse(&format!("{scheme}://{host}{directory}/{location}"))
    }

    /// The host, and the port unless it is the usual one: what the header `Host` says.
    pub(crate) fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether the same server answers at both.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

/// Without login and query: both can be secrets.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// An address as it may be told: without login and query, and no longer than a line.
pub(crate) fn plain(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let shown = match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let slash = if rest.contains('/') { "/" } else { "" };
            format!("{scheme}://{host}{slash}{path}")
        }
        None => text.to_owned(),
    };
    shown.chars().take(LONGEST_SHOWN).collect()
}

/// The host without the brackets of IPv6.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The port that is said, if one is; `None` for one that is none.
fn port(authority: &Authority) -> Option<Option<u16>> {
    let address = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, rest)| rest);
    let said = address.strip_prefix(authority.host()).unwrap_or_default();
    match said.strip_prefix(':') {
        None | Some("") => Some(None),
        Some(_) => authority.port_u16().filter(|port| *port != 0).map(Some),
    }
}

fn target(uri: &Uri) -> String {
    match uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
        None | Some("") => "/".to_owned(),
        Some(target) if target.starts_with('/') => target.to_owned(),
        Some(query) => format!("/{query}"),
    }
}

const LONGEST_SHOWN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let url = Url::parse("https://Me:pw@Example.com/a/b.wasm?sig=1").unwrap();

        assert!(url.tls);
        assert_eq!((url.host.as_str(), url.port), ("example.com", 443));
        assert_eq!(url.login.as_deref(), Some("Me:pw"));
        assert_eq!(url.target, "/a/b.wasm?sig=1");
        assert_eq!(url.authority(), "example.com");
        assert_eq!(url.to_string(), "https://example.com/a/b.wasm");
        let v6 = Url::parse("http://[::1]:8080").unwrap();
        assert_eq!((v6.host.as_str(), v6.port, v6.target.as_str()), ("::1", 8080, "/"));
        assert_eq!(v6.authority(), "[::1]:8080");
        assert_eq!(Url::parse("http://a?b=c").unwrap().target, "/?b=c");
    }

    #[test]
    fn what_is_no_address_of_a_server_is_refused_without_its_secrets() {
        let wrong =
            ["", "/a", "a.wasm", "ftp://a/b", "http:///a", "http://a:0/", "http://a:99999/"];
        for text in wrong {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        let refused = Url::parse("gopher://me:secret@a/b?token=secret").unwrap_err().to_string();
        assert!(refused.contains("gopher://a/b") && !refused.contains("secret"), "{refused}");
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let from = Url::parse("https://a:8443/x/y?q").unwrap();
        let cases = [
            ("http://b/c?d", "http://b/c"),
            ("//b/c", "https://b/c"),
            ("/c", "https://a:8443/c"),
            ("c:d", ""),
            ("c/d", "https://a:8443/x/c/d"),
            ("?r", "https://a:8443/x/y"),
            ("/c?at=http://b/", "https://a:8443/c"),
        ];
        for (location, to) in cases {
            let led = from.join(location).map_or(String::new(), |url| url.to_string());
            assert_eq!(led, to, "{location}");
        }
    }
}
