//! A stream of gRPC messages in both directions, raw: nothing is decoded, and no message is held
//! whole.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, TE},
    uri::PathAndQuery,
};
use hyper::body::{Body as _, Frame, Incoming};
use tokio::sync::oneshot;
use tokio_stream::Stream;
use tonic::{Code, Status, body::Body};
use tower::Service as _;

use crate::Connection;

/// A call that istiod has begun to answer. Dropped, it is cancelled.
#[derive(Debug)]
pub struct Exchange {
    body: Incoming,
    over: bool,
    /// How it broke, if that is not told yet.
    broken: Option<Status>,
    /// Dropped, the requests end: they would keep the call open.
    _open: oneshot::Sender<()>,
    /// Kept for as long as the stream lives.
    _connection: Connection,
}

impl Exchange {
    /// The next piece of the answer as it came: gRPC frames, cut anywhere. None when istiod has
    /// ended the call as it should. What is not taken holds istiod up. Cancel safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Status> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The next piece if it is here already. How the call ended is left for [`Self::chunk`] to tell.
    pub fn more(&mut self) -> Option<Bytes> {
        match self.poll_chunk(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(more)) => more,
            Poll::Ready(Err(broken)) => {
                self.broken = Some(broken);
                None
            }
            Poll::Pending => None,
        }
    }

    /// As [`Self::chunk`], for a poll.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Err(broken));
        }
        while !self.over {
            // What is handed out here is what istiod may send more of.
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(self.end(Err(unfinished()))),
                Some(Err(error)) => return Poll::Ready(self.end(Err(broken(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Poll::Ready(Ok(Some(data))),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let outcome = said(&trailers).unwrap_or_else(|| Err(unfinished()));
                        return Poll::Ready(self.end(outcome));
                    }
                },
            }
        }
        Poll::Ready(Ok(None))
    }

    fn end(&mut self, outcome: Result<(), Status>) -> Result<Option<Bytes>, Status> {
        self.over = true;
        outcome.map(|()| None)
    }
}

impl Connection {
    /// Opens a stream; done when istiod begins to answer, for which most calls want a request
    /// first. Each item of `requests` is one whole message.
    ///
    /// A status without a source is what istiod has said; one with a source was made here, of a
    /// connection that broke.
    pub async fn exchange(
        &self,
        path: PathAndQuery,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Exchange, Status> {
        let metadata = std::mem::take(self.request(()).metadata_mut());
        let (open, given_up) = oneshot::channel();
        let requests = Requests { messages: Box::pin(requests), given_up };
        let mut request = Request::new(Body::new(requests));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.into();
        *request.headers_mut() = metadata.into_headers();
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        let response = self.channel.clone().call(request).await.map_err(broken)?;
        self.answered(response, open)
    }

    fn answered(
        &self,
        response: Response<Incoming>,
        open: oneshot::Sender<()>,
    ) -> Result<Exchange, Status> {
        let (parts, body) = response.into_parts();
        let over = match said(&parts.headers) {
            Some(outcome) => outcome.map(|()| true)?,
            None => understood(parts.status, &parts.headers).map(|()| false)?,
        };
        Ok(Exchange { body, over, broken: None, _open: open, _connection: self.clone() })
    }
}

/// Messages on their way to istiod.
struct Requests<S> {
    messages: Pin<Box<S>>,
    given_up: oneshot::Receiver<()>,
}

impl<S: Stream<Item = Bytes>> hyper::body::Body for Requests<S> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if Pin::new(&mut self.given_up).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let message = ready!(self.messages.as_mut().poll_next(cx));
        Poll::Ready(message.map(|message| framed(&message).map(Frame::data)))
    }
}

/// A message in its gRPC frame: not compressed, its length, itself.
fn framed(message: &[u8]) -> io::Result<Bytes> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Ok(frame.freeze())
}

/// The status in these headers or trailers, if there is one.
fn said(headers: &HeaderMap) -> Option<Result<(), Status>> {
    let status = Status::from_header_map(headers)?;
    Some(if status.code() == Code::Ok { Ok(()) } else { Err(status) })
}

/// Whether what begins without a status is an answer of gRPC at all.
fn understood(status: StatusCode, headers: &HeaderMap) -> Result<(), Status> {
    if status != StatusCode::OK {
        return Err(Status::new(code(status), format!("answered with HTTP status {status}")));
    }
    let kind = headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    if kind.starts_with(GRPC.as_bytes()) {
        return Ok(());
    }
    let kind = kind.escape_ascii().to_string();
    let text = format!("answered with content type {kind:?}; is this istiod's gRPC port?");
    Err(Status::unknown(text))
}

/// What gRPC makes of an answer that is not its own.
fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

fn broken(error: hyper::Error) -> Status {
    made_here("the connection broke", Arc::new(error))
}

fn unfinished() -> Status {
    made_here("the stream ended without a status", Arc::new(Unfinished))
}

fn made_here(text: &str, source: Arc<dyn std::error::Error + Send + Sync>) -> Status {
    let mut status = Status::unavailable(text);
    status.set_source(source);
    status
}

/// gRPC ends a stream with a status; a far end that goes down may not.
#[derive(Debug, thiserror::Error)]
#[error("the stream ended without a status")]
struct Unfinished;

const GRPC: &str = "application/grpc";
const PREFIX: usize = 5;

#[cfg(test)]
mod tests;
