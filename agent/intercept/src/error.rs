//! What can go wrong where rules are loaded, looked at and removed.

use std::{io, path::PathBuf};

use nix::errno::Errno;

/// Traffic is not redirected as it should be, or not given back.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error(
        "no program `nft` on this machine: install the package nftables; until then nothing can be \
         redirected"
    )]
    NoNft,
    #[error(
        "no program `nft` on this machine, only iptables, which cannot replace rules in one \
         transaction: install the package nftables, it does not get in the way of iptables"
    )]
    OnlyIptables,
    #[error(
        "{} may not {what}: run it as root, or through hawser-intercept.service, which has \
         CAP_NET_ADMIN",
        program.display()
    )]
    NotAllowed { program: PathBuf, what: &'static str },
    #[error("run {} to {what}", program.display())]
    Run { program: PathBuf, what: &'static str, source: io::Error },
    #[error("{} could not {what}: {complaint}", program.display())]
    Refused { program: PathBuf, what: &'static str, complaint: String },
    #[error("ask the kernel for {what}")]
    Ask { what: &'static str, source: Errno },
    #[error("{what}: as root, or through hawser-intercept.service, which has CAP_NET_ADMIN")]
    MayNot { what: String },
    #[error("{what}")]
    Change { what: String, source: Errno },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not what hawser has written there: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("make {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("write what is remembered of this machine")]
    Remember { source: hawser_state::Error },
    #[error("remove {}", path.display())]
    Forget { path: PathBuf, source: io::Error },
    #[error("hold {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("another `hawser intercept guard` runs: `systemctl status hawser-intercept` shows it")]
    Guarded,
    #[error("see which sockets take connections")]
    Listeners { source: io::Error },
    #[error("install the handler of SIGHUP")]
    Hangup { source: io::Error },
}

impl Error {
    /// Whether trying again cannot help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NoNft | Self::OnlyIptables | Self::Guarded)
    }
}
