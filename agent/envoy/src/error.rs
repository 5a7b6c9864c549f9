//! What can fail around Envoy.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use hawser_rt::BoxError;

/// Envoy could not be started, asked or stopped.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("there is no Envoy at {}; install one there or name the path of another", path.display())]
    Missing { path: PathBuf },
    #[error("{} may not be executed; run chmod +x on it or name the path of another Envoy", path.display())]
    NotExecutable { path: PathBuf },
    #[error(
        "there is no Envoy on this machine: install Istio's (istio-sidecar, /usr/local/bin/envoy) or \
         another (/usr/bin/envoy: a package of envoyproxy.io, or `func-e use` and a link to what it \
         has fetched), or name one with envoy.binary in /etc/hawser/hawser.toml"
    )]
    NoEnvoy,
    #[error("{} does not say that it is an Envoy; name the path of another", path.display())]
    NotEnvoy { path: PathBuf },
    #[error(
        "intercept.mode is tproxy, for which Envoy needs CAP_NET_ADMIN: `systemctl edit \
         hawser-envoy`, and say there [Service] AmbientCapabilities=CAP_NET_ADMIN \
         CapabilityBoundingSet=CAP_NET_ADMIN"
    )]
    Powerless,
    #[error("start what takes Envoy's log")]
    Log { source: io::Error },
    #[error("make {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("note in {}", path.display())]
    Note { path: PathBuf, source: BoxError },
    #[error("read Envoy's bootstrap {}", path.display())]
    Bootstrap { path: PathBuf, source: io::Error },
    #[error("write Envoy's bootstrap {}", path.display())]
    Copy { path: PathBuf, source: hawser_state::Error },
    #[error("Envoy refuses its bootstrap, and there is none that it was ready with: {said}")]
    Refused { said: String },
    #[error("start {}; is it an Envoy for this machine's processor and C library?", path.display())]
    Start { path: PathBuf, source: io::Error },
    #[error(
        "{address} is taken, where Envoy's admin interface is to be; stop the Envoy that a killed \
         agent left behind, or choose another admin port"
    )]
    Occupied { address: SocketAddr },
    #[error("wait for the end of Envoy")]
    Wait { source: io::Error },
    #[error("send {signal} to Envoy")]
    Signal { signal: &'static str, source: nix::Error },
    #[error("connect to Envoy's admin interface at {address}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("ask Envoy at http://{address}{path}")]
    Ask { address: SocketAddr, path: String, source: BoxError },
    #[error("no answer from Envoy at http://{address}{path} within {limit:?}")]
    Timeout { address: SocketAddr, path: String, limit: Duration },
    #[error("Envoy answered {status} at http://{address}{path}")]
    Status { address: SocketAddr, path: String, status: u16 },
    #[error("unreadable answer of Envoy at http://{address}{path}; expected {expected}")]
    Answer { address: SocketAddr, path: String, expected: &'static str },
    #[error(
        "log level {item:?}; expected trace, debug, info, warning, error, critical or off, alone \
         or as COMPONENT:LEVEL"
    )]
    LogLevel { item: String },
}
