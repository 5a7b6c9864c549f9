//! The identity token of a machine on Google Compute Engine, asked of its metadata server.
//!
//! The server is a link-local address that anybody on the wrong network could answer at, so its
//! answer is taken only with the header that it must carry.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use bytes::Bytes;
use hawser_rt::BoxError;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use zeroize::Zeroizing;

use super::{
    token_source::{LARGEST_TOKEN, plain},
    unusable::Unusable,
};

/// Asks the metadata server at `metadata` (`host:port`) for a token for `audience`.
pub(crate) async fn ask(metadata: &str, audience: &str) -> Result<Zeroizing<String>, Unusable> {
    let answer = timeout(LIMIT, exchange(metadata, audience)).await;
    let failed = |source| Unusable::Metadata { metadata: metadata.to_owned(), source };
    let silent =
        |_elapsed| Unusable::MetadataSilent { metadata: metadata.to_owned(), after: LIMIT };
    let answer = answer.map_err(silent)?.map_err(failed)?;
    answered(metadata, &answer)
}

/// What came back.
pub struct Answer {
    /// 200 if all is well.
    pub status: u16,
    /// The header `Metadata-Flavor`.
    pub flavour: Option<Vec<u8>>,
    /// The token, hopefully.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The token in an answer of the metadata server at `metadata`.
pub fn answered(metadata: &str, answer: &Answer) -> Result<Zeroizing<String>, Unusable> {
    let (metadata, status) = (metadata.to_owned(), answer.status);
    if answer.flavour.as_deref() != Some(GOOGLE.as_bytes()) {
        return Err(Unusable::NotMetadata { metadata });
    }
    if status != 200 {
        return Err(Unusable::MetadataStatus { metadata, status });
    }
    let text = str::from_utf8(&answer.body).ok().ok_or(Unusable::NotText)?;
    plain(text)?.ok_or(Unusable::NoBody { metadata })
}

async fn exchange(metadata: &str, audience: &str) -> Result<Answer, BoxError> {
    let request = Request::get(path(audience))
        .header(header::HOST, metadata)
        .header(header::CONNECTION, "close")
        .header(FLAVOUR, GOOGLE)
        .body(Empty::<Bytes>::new())?;
    let stream = TcpStream::connect(metadata).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST_TOKEN).collect().await?.to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            flavour: head.headers.get(FLAVOUR).map(|flavour| flavour.as_bytes().to_vec()),
            body: Zeroizing::new(body.to_vec()),
        })
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // If it has failed, what waits for it has too.
        _ended = connection => answer.await,
    }
}

fn path(audience: &str) -> String {
    let mut path = PATH.to_owned();
    for byte in audience.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(byte.into());
        } else {
            // Writing to a String does not fail.
            write!(path, "%{byte:02X}").ok();
        }
    }
    path.push_str("&format=full");
    path
}

const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/identity?audience=";
const FLAVOUR: &str = "metadata-flavor";
const GOOGLE: &str = "Google";
/// The server is on this machine's own host.
const LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
