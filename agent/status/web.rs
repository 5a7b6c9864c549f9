//! What both doors have in common: a conversation over HTTP/1.1 within limits, and answers that
//! are written while they are sent.

use std::{
    convert::Infallible,
    io::{self, Write},
    mem,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::spawn_blocking,
};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tracing::debug;

/// An answer, whole or as it comes.
pub(super) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Answers what is asked on one connection.
pub(super) async fn converse<S, F, A>(stream: S, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Reply>,
{
    let answer = service_fn(|request| {
        let reply = answer(request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let mut http = http1::Builder::new();
    // One request, so that its time is the connection's.
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(LARGEST_HEAD);
    http.keep_alive(false);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
        debug!(%error, "connection ended");
    }
}

/// Tells one who has come, by what writes without waiting, that there is no place for it.
pub(super) fn turn_away(write: impl FnOnce(&[u8]) -> io::Result<usize>) {
    // Whom it does not reach learns it by the end of the connection.
    write(BUSY).ok();
}

/// What is said where the method is wrong, or nothing is there. A path may have a query that says
/// what may be asked.
pub(super) fn nowhere(path: &str, reads: &[&str], changes: &[&str]) -> Reply {
    let among = |paths: &[&str]| paths.iter().any(|known| known.split('?').next() == Some(path));
    let expected = match (among(reads), among(changes)) {
        (true, true) => "GET, POST",
        (true, false) => "GET",
        (false, true) => "POST",
        (false, false) => {
            let (reads, changes) = (reads.join(", "), changes.join(", "));
            let there_are = format!("there are GET {reads}; POST {changes}\n");
            return whole(StatusCode::NOT_FOUND, TEXT, there_are);
        }
    };
    let mut reply = whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("expected {expected}\n"));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(expected));
    reply
}

/// An answer that is there.
pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    reply(status, kind, Full::new(body.into()).boxed_unsync())
}

/// An answer of whatever length, written beside the threads that answer others, and no faster than
/// it is read: little of it is in memory.
pub(super) fn written(
    kind: &'static str,
    write: impl FnOnce(&mut Outlet) -> io::Result<()> + Send + 'static,
) -> Reply {
    let (send, pages) = mpsc::channel(PAGES);
    spawn_blocking(move || {
        let mut outlet = Outlet { send, page: Vec::new() };
        // It fails when nobody reads on, and nobody is left to be told.
        drop(write(&mut outlet).and_then(|()| outlet.flush()));
    });
    streamed(kind, ReceiverStream::new(pages))
}

/// An answer that comes in pieces.
pub(super) fn streamed(
    kind: &'static str,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
) -> Reply {
    let pieces = pieces.map(|piece| Ok(Frame::data(piece)));
    reply(StatusCode::OK, kind, StreamBody::new(pieces).boxed_unsync())
}

fn reply(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Reply {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    *response.status_mut() = status;
    response
}

/// Where an answer is written to. Blocks while nobody reads.
#[derive(Debug)]
pub(super) struct Outlet {
    send: mpsc::Sender<Bytes>,
    page: Vec<u8>,
}

impl Write for Outlet {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.page.extend_from_slice(text);
        if self.page.len() >= PAGE {
            self.flush()?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.page.is_empty() {
            return Ok(());
        }
        let page = mem::take(&mut self.page).into();
        self.send.blocking_send(page).map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }
}

/// The value of a parameter behind the `?` of an address.
pub(super) fn parameter(query: Option<&str>, wanted: &str) -> Option<String> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(name, _)| *name == wanted)?;
    unescaped(value)
}

/// Without `%41` and `+`; none if that is no text.
fn unescaped(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            b'+' => b' ',
            plain => plain,
        });
    }
    String::from_utf8(octets).ok()
}

fn digit(symbol: u8) -> Option<u8> {
    char::from(symbol).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";
/// Time for a request to be said.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Time for a connection to be done with.
pub(super) const LIFE: Duration = Duration::from_secs(30);
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 37\r\n\r\n\
    too many connections; try again soon\n";
const LARGEST_HEAD: usize = 16 * 1024;
const PAGE: usize = 32 * 1024;
/// Pages that are written ahead.
const PAGES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_name_and_unescaped() {
        let query = Some("name=a.b%2Ec&type=A&filter=x+%c3%bc&empty");
        let table = [
            ("name", Some("a.b.c")),
            ("type", Some("A")),
            ("filter", Some("x ü")),
            ("empty", Some("")),
            ("nam", None),
        ];
        for (name, value) in table {
            assert_eq!(parameter(query, name).as_deref(), value, "{name}");
        }
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(parameter(Some(bad), "a"), None, "{bad}");
        }
        assert_eq!(parameter(None, "a"), None);
    }
}
