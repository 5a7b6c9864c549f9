//! What is asked for: `NAME`, `NAME:PORT`, an address, or `http://NAME:PORT/path`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::Serialize;

/// A request that a program could make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// How it is spoken.
    pub talk: Talk,
    /// Whose name or address it is for.
    pub host: String,
    /// At which port, if one was said or goes without saying.
    pub port: Option<u16>,
    /// The method, of HTTP.
    pub method: String,
    /// The path, of HTTP; with its query.
    pub path: String,
}

/// How a request is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Talk {
    /// HTTP where Envoy expects it, else just octets.
    Any,
    /// HTTP in plain text.
    Http,
    /// TLS, in which Envoy sees a name and no request.
    Tls,
    /// Octets.
    Tcp,
}

/// A text that no request can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected NAME, NAME:PORT, ADDRESS, ADDRESS:PORT or http://NAME:PORT/PATH")]
pub struct Strange;

impl Request {
    /// The address, if that is what was said.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// What a program sends as Host.
    pub fn authority(&self, port: u16) -> String {
        let host = match self.host.parse::<Ipv6Addr>() {
            Ok(own) => format!("[{own}]"),
            Err(_name) => self.host.clone(),
        };
        let plain = if self.talk == Talk::Tls { 443 } else { 80 };
        if port == plain { host } else { format!("{host}:{port}") }
    }

    /// The path without its query.
    pub fn bare_path(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }
}

impl FromStr for Request {
    type Err = Strange;

    fn from_str(text: &str) -> Result<Self, Strange> {
        if text.len() > LONGEST || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Strange);
        }
        let (talk, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Talk::Http, rest),
            Some(("https", rest)) => (Talk::Tls, rest),
            Some(("tcp", rest)) => (Talk::Tcp, rest),
            Some(_other) => return Err(Strange),
            None => (Talk::Any, text),
        };
        let (place, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = split(place).ok_or(Strange)?;
        let usual = match talk {
            Talk::Http => Some(80),
            Talk::Tls => Some(443),
            Talk::Any | Talk::Tcp => None,
        };
        let (method, path) = ("GET".to_owned(), path.to_owned());
        Ok(Self { talk, host, port: port.or(usual), method, path })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.talk {
            Talk::Http => write!(f, "{} http://", self.method)?,
            Talk::Tls => f.write_str("https://")?,
            Talk::Tcp => f.write_str("tcp://")?,
            Talk::Any => (),
        }
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host)?,
            (false, Some(port)) => write!(f, "{}:{port}", self.host)?,
            (_, None) => f.write_str(&self.host)?,
        }
        if matches!(self.talk, Talk::Http) || self.path != "/" {
            f.write_str(&self.path)
        } else {
            Ok(())
        }
    }
}

/// Host and port; the host in lower case and without the dot at its end.
fn split(place: &str) -> Option<(String, Option<u16>)> {
    let number = |text: &str| text.parse().ok().filter(|port| *port != 0);
    if let Some(rest) = place.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = match rest {
            "" => None,
            rest => Some(number(rest.strip_prefix(':')?)?),
        };
        return Some((address.to_string(), port));
    }
    if let Ok(address) = place.parse::<IpAddr>() {
        return Some((address.to_string(), None));
    }
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, Some(number(port)?)),
        None => (place, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
    (!host.is_empty() && host.len() <= 253 && host.chars().all(fits)).then_some((host, port))
}

const LONGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Talk, String, Option<u16>, String)> {
        let own: Request = text.parse().ok()?;
        Some((own.talk, own.host, own.port, own.path))
    }

    #[test]
    fn a_request_is_said_in_several_ways() {
        let row = |talk, host: &str, port, path: &str| {
            Some((talk, host.to_owned(), port, path.to_owned()))
        };
        let cases = [
            ("Hello.demo.", row(Talk::Any, "hello.demo", None, "/")),
            ("hello.demo:8080", row(Talk::Any, "hello.demo", Some(8080), "/")),
            ("hello.demo/a/b", row(Talk::Any, "hello.demo", None, "/a/b")),
            ("http://hello.demo", row(Talk::Http, "hello.demo", Some(80), "/")),
            ("http://hello:81/x?y=1", row(Talk::Http, "hello", Some(81), "/x?y=1")),
            ("https://hello", row(Talk::Tls, "hello", Some(443), "/")),
            ("tcp://db:3306", row(Talk::Tcp, "db", Some(3306), "/")),
            ("10.0.0.1", row(Talk::Any, "10.0.0.1", None, "/")),
            ("10.0.0.1:80", row(Talk::Any, "10.0.0.1", Some(80), "/")),
            ("fd00::1", row(Talk::Any, "fd00::1", None, "/")),
            ("[fd00::1]:80", row(Talk::Any, "fd00::1", Some(80), "/")),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in ["", ":80", "a:0", "a:b", "a:1:2", "ftp://a", "a b", "[::1", "[x]:1", "ä"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_port_is_part_of_the_host_where_programs_say_it() {
        let authority = |text: &str, port| text.parse::<Request>().unwrap().authority(port);
        assert_eq!(authority("http://hello", 80), "hello");
        assert_eq!(authority("hello", 8080), "hello:8080");
        assert_eq!(authority("https://hello", 443), "hello");
        assert_eq!(authority("[fd00::1]:8080", 8080), "[fd00::1]:8080");
    }
}
