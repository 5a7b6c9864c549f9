//! Why a filter could not be read, or a module not be had.

use std::{io, net::IpAddr, path::PathBuf, time::Duration};

use hawser_wire::Malformed;

/// A filter is no filter, or its module could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    // A filter that cannot be understood: the response is refused.
    #[error("extension {name:?} has no typed_config")]
    NoConfig { name: String },
    #[error("{what} cannot be decoded")]
    Undecodable { what: &'static str, source: Malformed },
    #[error("{what} cannot be decoded")]
    Message { what: &'static str, source: prost::DecodeError },
    #[error("Wasm filter {name:?} as a TypedStruct: {field} {problem}")]
    Structure { name: String, field: String, problem: &'static str },
    #[error("Wasm filter {name:?} names neither a local nor a remote module")]
    NoCode { name: String },

    // What is asked for makes no sense.
    #[error("module address {url:?} cannot be used: {problem}")]
    Address { url: String, problem: &'static str },
    #[error("checksum {text:?} of the module is no sha256: expected 64 hexadecimal digits")]
    NotAChecksum { text: String },
    #[error("pull secret cannot be used: {problem}; expected a dockerconfigjson")]
    Secret { problem: &'static str },

    // The way to the server.
    #[error("resolve {host}")]
    Resolve { host: String, source: io::Error },
    #[error("{host} is not dialled: {address} is {what}")]
    Guarded { host: String, address: IpAddr, what: String },
    #[error("connect to {host} at {address}")]
    Connect { host: String, address: IpAddr, source: io::Error },
    #[error("TLS with {host}")]
    Tls { host: String, source: io::Error },
    #[error("{host} speaks HTTP without TLS")]
    NotTls { host: String },
    #[error("set up TLS")]
    TlsSettings { source: rustls::Error },
    #[error(
        "{host} is asked for with a password but speaks HTTP without TLS: list it among the \
         insecure registries if the password may go in clear text"
    )]
    ClearText { host: String },
    #[error("ask for {url}")]
    Http { url: String, source: hyper::Error },
    #[error("{url} has not answered within {after:?}")]
    Silent { url: String, after: Duration },
    #[error("{url} has not been fetched within {after:?}")]
    Late { url: String, after: Duration },
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} is redirected {problem}")]
    Redirect { url: String, problem: &'static str },

    // What came.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("{url} was cut off")]
    Cut { url: String },
    #[error("module from {url} has checksum {found}, but {wanted} was asked for")]
    Checksum { url: String, found: String, wanted: String },
    #[error("no Wasm module is in what came from {url}")]
    Unbox { url: String, source: io::Error },
    #[error("registry answers for {url} with something that cannot be used: {problem}")]
    Registry { url: String, problem: &'static str },
    #[error("registry of {url} sends for a token to {realm:?}, which is not asked: {problem}")]
    Realm { url: String, realm: String, problem: &'static str },
    #[error("registry of {url} wants to know who is asking: {problem}")]
    Unauthorized { url: String, problem: &'static str },

    // The disk.
    #[error("keep module in {}", path.display())]
    Keep { path: PathBuf, source: io::Error },
    #[error("note module in {}", path.display())]
    Note { path: PathBuf, source: hawser_state::Error },
    #[error("no room for a module of {bytes} bytes: {held} of {room} bytes are in use by Envoy")]
    NoRoom { bytes: u64, held: u64, room: u64 },
    #[error("what was kept of {url} was damaged at once: check the disk")]
    Damaged { url: String },
    #[error("work on {} was abandoned", path.display())]
    Abandoned { path: PathBuf },
}

impl Error {
    /// Whether it is this machine's disk that is in the way.
    pub(crate) fn is_of_this_machine(&self) -> bool {
        matches!(
            self,
            Self::Keep { .. }
                | Self::Note { .. }
                | Self::NoRoom { .. }
                | Self::Damaged { .. }
                | Self::Abandoned { .. }
        )
    }

    /// Whether asking again soon may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Http { .. }
            | Self::Silent { .. }
            | Self::Cut { .. } => true,
            // What TLS itself objects to is there to stay: a certificate, a version.
            Self::Tls { source, .. } => {
                !source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
            }
            // Not implemented, wrong version, wants a login: those stay.
            Self::Status { status, .. } => {
                (500..600).contains(status) && !matches!(status, 501 | 505 | 511)
                    || matches!(status, 408 | 429)
            }
            _ => false,
        }
    }
}
