//! A connection that istiod has answered.

use std::{fmt, net::SocketAddr};

use tonic::{
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::Channel,
};

/// What was shown to istiod on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The client certificate.
    Certificate,
    /// The token.
    Token,
    /// The client certificate and the token.
    Both,
    /// Neither.
    Nothing,
}

impl Shown {
    pub(crate) fn of(certificate: bool, token: bool) -> Self {
        match (certificate, token) {
            (true, true) => Self::Both,
            (true, false) => Self::Certificate,
            (false, true) => Self::Token,
            (false, false) => Self::Nothing,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::Both => "certificate and token",
            Self::Nothing => "nothing",
        })
    }
}

/// One connection to istiod. It ends when the last clone of its channel and the last stream on it
/// are gone; once lost, it does not come back.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Carries the calls.
    pub channel: Channel,
    /// The address that answered.
    pub peer: SocketAddr,
    /// What istiod may know us by.
    pub shown: Shown,
    pub(crate) headers: MetadataMap,
    pub(crate) authorization: Option<AsciiMetadataValue>,
}

impl Connection {
    /// A request with the configured headers and the token.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}
