//! A page that has to be there.

mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode, Uri,
    header::{HOST, LOCATION, USER_AGENT},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{AGENT, connect::Target};
use crate::{Http, Scheme};

/// Follows redirections as long as they stay where they are. One that leads elsewhere is an
/// answer of the workload's too.
pub(super) async fn check(http: &Http, target: &Target) -> Result<(), String> {
    let page = Page { http, target };
    let mut path = http.path.clone();
    for _ in 0..=MOST_REDIRECTIONS {
        let answer = page.ask(&path).await;
        let (status, location) =
            answer.map_err(|reason| format!("{}: {reason}", page.place(&path)))?;
        let further = location.filter(|_| status.is_redirection());
        match further.and_then(|location| page.further(&location)) {
            Some(further) => path = further,
            None if status.is_success() || status.is_redirection() => return Ok(()),
            None => return Err(format!("{} answers {status}", page.place(&path))),
        }
    }
    Err(format!("{} redirects more than {MOST_REDIRECTIONS} times", page.place(&http.path)))
}

struct Page<'a> {
    http: &'a Http,
    target: &'a Target,
}

impl Page<'_> {
    /// Where it is, without a query, which may hold a secret.
    fn place(&self, path: &PathAndQuery) -> String {
        format!("{}://{}{}", self.scheme(), self.target, path.path())
    }

    fn scheme(&self) -> &'static str {
        match self.http.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// Status, and where it says to ask instead.
    async fn ask(&self, path: &PathAndQuery) -> Result<(StatusCode, Option<HeaderValue>), String> {
        let request = self.request(path).map_err(|error| error.to_string())?;
        let stream = self.target.connect().await?;
        match self.http.scheme {
            Scheme::Http => exchange(stream, request).await.map_err(|error| error.to_string()),
            Scheme::Https => {
                let stream = tls::shake_hands(stream, &self.target.host).await?;
                exchange(stream, request).await.map_err(|error| error.to_string())
            }
        }
    }

    fn request(&self, path: &PathAndQuery) -> Result<Request<Empty<Bytes>>, http::Error> {
        let mut request = Request::get(path.as_str()).body(Empty::new())?;
        let headers = request.headers_mut();
        *headers = self.http.headers.clone();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        if !headers.contains_key(HOST) {
            headers.insert(HOST, HeaderValue::try_from(self.target.to_string())?);
        }
        Ok(request)
    }

    /// The path at the same place that a redirection leads to, if it does.
    fn further(&self, location: &HeaderValue) -> Option<PathAndQuery> {
        let uri: Uri = location.to_str().ok()?.parse().ok()?;
        let path = uri.path_and_query()?.clone();
        let Some(host) = uri.host() else {
            // Two slashes begin another host, which is not understood here.
            return (!path.as_str().starts_with("//")).then_some(path);
        };
        let port = uri.port_u16().unwrap_or(match self.http.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        });
        let host = host.trim_matches(['[', ']']);
        let same = uri.scheme_str() == Some(self.scheme())
            && host.eq_ignore_ascii_case(&self.target.host)
            && port == self.target.port;
        same.then_some(path)
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, Option<HeaderValue>), hyper::Error> {
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        // The answer has been given; this is politeness to one who is still writing.
        timeout(POLITENESS, take(body)).await.ok();
        Ok((head.status, head.headers.get(LOCATION).cloned()))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // An answer may be whole before its connection ends; if not, it knows by itself.
        _ = connection => answer.await,
    }
}

/// Takes the beginning of a page.
async fn take(mut body: Incoming) {
    let mut taken = 0;
    while taken < MOST_BODY
        && let Some(Ok(frame)) = body.frame().await
    {
        taken += frame.data_ref().map_or(0, Bytes::len);
    }
}

const MOST_REDIRECTIONS: usize = 10;
const MOST_HEAD: usize = 64 << 10;
const MOST_BODY: usize = 16 << 10;
const POLITENESS: Duration = Duration::from_millis(100);
