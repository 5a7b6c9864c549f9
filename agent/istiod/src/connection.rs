//! A connection that istiod has answered.

use std::{fmt, net::SocketAddr, sync::Arc};

use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use crate::{
    Channel, Endpoint,
    health::Spot,
    istiod::Way,
    presentation::{Mark, Marks, Offer},
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
///
/// Whoever calls on it says how that went, [`accepted`](Self::accepted),
/// [`refused`](Self::refused) or [`failed`](Self::failed): that decides what the next connection
/// shows, and where.
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
    pub(crate) presented: Arc<Presented>,
}

/// What was shown, what else there was to show, and to whom it is told how it went.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) way: Arc<Way>,
    pub(crate) what: String,
    pub(crate) marks: Marks,
    pub(crate) offer: Offer,
    /// Certificates that were shown before, on connections that broke.
    pub(crate) suspects: Vec<Mark>,
    /// Where it was shown.
    pub(crate) spot: Spot,
    pub(crate) endpoint: Endpoint,
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

    /// What istiod may know us by, in words: which certificate, which token.
    pub fn what(&self) -> String {
        self.presented.what.clone()
    }

    /// Which of the endpoints it is that answered.
    pub fn endpoint(&self) -> &Endpoint {
        &self.presented.endpoint
    }

    /// This address has led to nothing: others are tried before it for a while, longer each time.
    /// Not for an answer that one does not like.
    pub fn failed(&self) {
        self.presented.way.unwell(self.presented.spot);
    }

    /// istiod has answered a call: it believes what was shown, and the address is a good one.
    pub fn accepted(&self) {
        self.presented.way.accepted(&self.presented);
    }

    /// istiod has answered a call as if we were somebody else: what was shown belongs to another.
    /// True: there is something else to show. False: nothing is left.
    pub fn mistaken(&self) -> bool {
        self.presented.way.mistaken(&self.presented)
    }

    /// istiod has answered a call with UNAUTHENTICATED. True: there is something else to show,
    /// connect again at once. False: nothing is left, connect again after a pause, and all of it
    /// will be tried once more.
    pub fn refused(&self) -> bool {
        self.presented.way.refused(&self.presented)
    }
}
