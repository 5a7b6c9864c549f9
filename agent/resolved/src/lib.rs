//! Names of the mesh through systemd-resolved, without a packet rule.
//!
//! ```text
//!  agent (no privilege)            hawser-resolved.service (root, CAP_NET_ADMIN)
//!  names ─▶ announce ─▶ /run/hawser/dns-domains ─▶ run ─▶ ip, resolvectl ─▶ link hawser0
//! ```
//!
//! systemd-resolved sends a question to the link whose domains are the longest suffix of its name.
//! A link that carries nothing has the domains of the mesh and the agent as its server, and is no
//! way for anything else. When the link goes, everything about it goes; so undoing is one command,
//! and a machine that was switched off has nothing to undo.
//!
//! The file goes with the agent's directory in `/run`, which systemd removes when the service is
//! stopped and keeps while it restarts: so a restart of the agent, or its crash, takes nothing away
//! from programs, whose questions wait at its sockets meanwhile.

mod announce;
mod domains;
mod link;
mod run;
mod tools;
mod wanted;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use announce::{Announced, announce, withdraw};
pub use domains::{Asked, domains};
pub use run::{Options, run, undo};
pub use wanted::Wanted;

/// Why names of the mesh cannot be registered with systemd-resolved.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error(
        "no program `{name}` on this machine: install the package {package}, or set \
         dns.mode = \"proxy\""
    )]
    NoProgram { name: &'static str, package: &'static str },
    #[error(
        "systemd {found} cannot be given a server with a port: dns.mode = \"resolved\" needs \
         systemd 246 or later"
    )]
    TooOld { found: u32 },
    #[error("tell which systemd this is")]
    Version { source: hawser_rt::Error },
    #[error("the network interface {name} is not hawser's: remove it, or set dns.mode = \"proxy\"")]
    Foreign { name: &'static str },
    #[error("make the network interface {name}")]
    Link { name: &'static str, source: hawser_rt::Error },
    #[error("tell systemd-resolved about {what}; does systemd-resolved.service run?")]
    Tell { what: &'static str, source: hawser_rt::Error },
    #[error("remove the network interface {name}")]
    Remove { name: &'static str, source: hawser_rt::Error },
    #[error("read {}, which the agent writes", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: expected {expected}", path.display())]
    Malformed { path: PathBuf, line: usize, expected: &'static str },
    #[error("{address} is no address at which a server can be asked")]
    Server { address: SocketAddr },
}

impl Error {
    /// Whether trying again cannot help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NoProgram { .. } | Self::TooOld { .. } | Self::Foreign { .. })
    }
}
