//! What the agent wants of systemd-resolved, as it stands in a file.
//!
//! Who reads it is root and who writes it is not: what is read is no more than names and an
//! address, of which there are not too many.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::Error;

/// Domains that systemd-resolved takes for one link.
pub(crate) const MOST: usize = 256;
/// Octets of a file: as many domains as there may be, each as long as it may be.
const MAX_FILE: u64 = 128 * 1024;

/// Which names are to be asked for where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where the agent answers.
    pub server: SocketAddr,
    /// The domains, in lower case and without dots around them.
    pub domains: Vec<String>,
}

impl Wanted {
    /// What is wanted of a server that listens there: whoever listens everywhere is asked over
    /// loopback.
    pub fn new(listen: SocketAddr, domains: Vec<String>) -> Self {
        let ip = match listen.ip().to_canonical() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self { server: SocketAddr::new(ip, listen.port()), domains }
    }

    /// Reads a file; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        match text(path) {
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let fail =
            |line, expected| Error::Malformed { path: path.to_owned(), line: line + 1, expected };
        let (mut server, mut domains) = (None::<SocketAddr>, Vec::new());
        for (number, line) in text.lines().enumerate() {
            match line.split_once(' ') {
                _ if line.is_empty() || line.starts_with('#') => {}
                Some(("server", address)) => {
                    let address = address.parse().ok();
                    server = Some(address.ok_or_else(|| fail(number, "ip:port"))?);
                }
                Some(("domain", name)) if is_domain(name) && domains.len() < MOST => {
                    domains.push(name.to_owned());
                }
                Some(_) | None => {
                    return Err(fail(number, "`server ip:port`, or `domain name`, 256 at most"));
                }
            }
        }
        let server = server.ok_or_else(|| fail(0, "a line `server ip:port`"))?;
        if server.port() == 0 || server.ip().is_unspecified() || server.ip().is_multicast() {
            return Err(Error::Server { address: server });
        }
        Ok(Self { server, domains })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Written by hawser: what systemd-resolved is to ask it for.")?;
        writeln!(f, "server {}", self.server)?;
        self.domains.iter().try_for_each(|domain| writeln!(f, "domain {domain}"))
    }
}

/// Whether this is the name of a domain below the root, as hosts are called.
pub(crate) fn is_domain(name: &str) -> bool {
    let symbol = |symbol: u8| symbol.is_ascii_lowercase() || symbol.is_ascii_digit();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| symbol(octet) || octet == b'-' || octet == b'_')
            && !label.starts_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn text(path: &Path) -> io::Result<String> {
    // Who may write there may not make root read something else, or wait: what is looked at is what
    // was opened.
    let unmoved = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(unmoved.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Wanted, String> {
        Wanted::parse(text, Path::new("f")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let domains = ["svc.cluster.local", "_sip.example", "a"].map(str::to_owned).to_vec();
        for (listen, server) in [
            ("127.0.0.1:15053", "127.0.0.1:15053"),
            ("0.0.0.0:53", "127.0.0.1:53"),
            ("[::]:53", "[::1]:53"),
            ("10.0.0.1:53", "10.0.0.1:53"),
        ] {
            let wanted = Wanted::new(listen.parse().unwrap(), domains.clone());
            assert_eq!(wanted.server, server.parse().unwrap());
            assert_eq!(parsed(&wanted.to_string()).unwrap(), wanted);
        }
    }

    #[test]
    fn nothing_else_is_read() {
        let server = "server 127.0.0.1:53\n";
        let line = |line: &str| parsed(&format!("{server}{line}\n")).unwrap_err();
        let long = format!("domain {}", ["a23456789."; 26].concat());
        for bad in ["domain .", "domain ", "domain a..b", "domain A", "domain a b", "domain ~a"] {
            assert!(line(bad).starts_with("f, line 2: expected"), "{bad}: {}", line(bad));
        }
        for bad in [long.as_str(), "domain -a", "domain *.a", "domain", "x y", "server 127.0.0.1"] {
            assert!(line(bad).starts_with("f, line 2: expected"), "{bad}: {}", line(bad));
        }
        assert_eq!(
            parsed("domain a\n").unwrap_err(),
            "f, line 1: expected a line `server ip:port`"
        );
        for server in ["0.0.0.0:53", "127.0.0.1:0", "224.0.0.1:53"] {
            let said = parsed(&format!("server {server}\n")).unwrap_err();
            assert!(said.contains("no address at which"), "{said}");
        }
        let many: String = (0..=MOST).map(|number| format!("domain d{number}\n")).collect();
        assert!(parsed(&format!("{server}{many}")).unwrap_err().contains("line 258"));
    }

    #[test]
    fn a_file_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("domains");
        assert_eq!(Wanted::read(&path).unwrap(), None);
        let refused =
            || Wanted::read(&path).unwrap_err().to_string().contains("which the agent writes");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(refused());
        std::fs::remove_file(&path).unwrap();
        // Nobody ever writes to it: to open it would be to wait.
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refused());
    }
}
