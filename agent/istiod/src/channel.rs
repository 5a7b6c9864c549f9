//! What carries the calls of one connection: HTTP/2, and the target that each request names.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT, uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
    rt::Executor as _,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tower::Service;
use tracing::debug;

use crate::Endpoint;

/// Carries calls until the connection is lost; it does not come back. Cheap to clone. The
/// connection is closed with the last clone and the last stream.
#[derive(Clone, Debug)]
pub struct Channel {
    calls: SendRequest<Body>,
    scheme: uri::Scheme,
    authority: uri::Authority,
}

impl Channel {
    /// HTTP/2 on a stream. Nothing has been heard yet when this is done.
    pub(crate) async fn open<S>(stream: S, endpoint: &Endpoint) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let authority = endpoint.to_string().parse().map_err(io::Error::other)?;
        let scheme = if endpoint.tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP };
        let settings = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(LARGEST_FRAME)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWERED_WITHIN)
            .clone();
        let (calls, connection) =
            settings.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // It ends with the last of those who use it, and they are told what it ends with.
        TokioExecutor::new().execute(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection to istiod ended");
            }
        });
        Ok(Self { calls, scheme, authority })
    }

    /// The same path at the far end of this connection.
    fn target(&self, uri: Uri) -> Uri {
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        Uri::from_parts(parts).unwrap_or(uri)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.calls.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let uri = std::mem::take(request.uri_mut());
        *request.uri_mut() = self.target(uri);
        request.headers_mut().insert(USER_AGENT, AGENT);
        Box::pin(self.calls.send_request(request))
    }
}

const AGENT: HeaderValue = HeaderValue::from_static(concat!("hawser/", env!("CARGO_PKG_VERSION")));
/// For each stream and for all of them: this much may wait for a slow reader.
const WINDOW: u32 = 512 << 10;
/// Of what istiod sends. Larger ones than the usual 16 KiB cost less, and are held whole.
const LARGEST_FRAME: u32 = 64 << 10;
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(10);
