//! A page that has to be there.

mod tls;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
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

/// Whether the page is there.
pub(super) async fn check(http: &Http, target: &Target) -> Result<(), String> {
    let asking = Asking { http, target, patience: POLITENESS };
    let (path, status, _rest) = asking.last().await?;
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(format!("{} answers {status}", asking.place(&path)))
}

/// The same page, for somebody who wants to see it, and who waits so long for what follows its head.
pub(super) async fn page(
    http: &Http,
    target: &Target,
    patience: Duration,
) -> Result<Answer, String> {
    let (_, status, body) = Asking { http, target, patience }.last().await?;
    if status.is_redirection() {
        return Ok(Answer { status: StatusCode::OK, body: Bytes::new() });
    }
    Ok(Answer { status, body })
}

/// What a page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Never a redirection.
    pub status: StatusCode,
    /// Its beginning, 10 KiB at most, or what of that came in time.
    pub body: Bytes,
}

struct Asking<'a> {
    http: &'a Http,
    target: &'a Target,
    /// How long what follows a head is waited for.
    patience: Duration,
}

/// One answer: its status, where it says to ask instead, and the beginning of the rest.
type Said = (StatusCode, Option<HeaderValue>, Bytes);

impl Asking<'_> {
    /// Follows redirections as long as they stay where they are. One that leads elsewhere is an
    /// answer of the workload's too.
    async fn last(&self) -> Result<(PathAndQuery, StatusCode, Bytes), String> {
        let mut path = self.http.path.clone();
        for _ in 0..=MOST_REDIRECTIONS {
            let said = self.ask(&path).await;
            let (status, location, body) =
                said.map_err(|reason| format!("{}: {reason}", self.place(&path)))?;
            let further = location.filter(|_| status.is_redirection());
            match further.and_then(|location| self.further(&location)) {
                Some(further) => path = further,
                None => return Ok((path, status, body)),
            }
        }
        let place = self.place(&self.http.path);
        Err(format!("{place} redirects more than {MOST_REDIRECTIONS} times"))
    }

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

    async fn ask(&self, path: &PathAndQuery) -> Result<Said, String> {
        let request = self.request(path).map_err(|error| error.to_string())?;
        let stream = self.target.connect().await?;
        match self.http.scheme {
            Scheme::Http => {
                exchange(stream, request, self.patience).await.map_err(|error| error.to_string())
            }
            Scheme::Https => {
                let stream = tls::shake_hands(stream, &self.target.host).await?;
                exchange(stream, request, self.patience).await.map_err(|error| error.to_string())
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
    patience: Duration,
) -> Result<Said, hyper::Error> {
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        // The answer has been given by its head, and what follows may take for ever.
        let mut beginning = BytesMut::new();
        timeout(patience, take(body, &mut beginning)).await.ok();
        Ok((head.status, head.headers.get(LOCATION).cloned(), beginning.freeze()))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // An answer may be whole before its connection ends; if not, it knows by itself.
        _ = connection => answer.await,
    }
}

/// Takes the beginning of a page.
async fn take(mut body: Incoming, beginning: &mut BytesMut) {
    while beginning.len() < MOST_BODY
        && let Some(Ok(frame)) = body.frame().await
    {
        beginning.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    beginning.truncate(MOST_BODY);
}

const MOST_REDIRECTIONS: usize = 10;
const MOST_HEAD: usize = 64 << 10;
/// As much as Istio's agent passes on.
const MOST_BODY: usize = 10 << 10;
/// Whoever only asks whether a page is there takes what comes at once.
const POLITENESS: Duration = Duration::from_millis(100);
