//! One source, asked: its head first, then its body piece by piece, no faster than it is taken.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, USER_AGENT},
};
use http_body_util::Empty;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1::{self, Connection},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{Error, Source, form::Form};

/// What a source answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) form: Form,
    body: Incoming,
    /// What moves the body; none when it has ended.
    connection: Option<Pin<Box<Moves>>>,
}

type Moves = Connection<TokioIo<TcpStream>, Empty<Bytes>>;

/// Asks for metrics in a form that `accept` has. `told` is what whoever scrapes has said.
pub(crate) async fn ask(
    source: &Source,
    accept: &str,
    told: &HeaderMap,
    query: Option<&str>,
) -> Result<Answer, Error> {
    let mut path = match query {
        Some(query) if !source.path.contains('?') => format!("{}?{query}", source.path),
        Some(query) => format!("{}&{query}", source.path),
        None => source.path.clone(),
    };
    for _ in 0..=MOST_TURNS {
        let stream = connect(source).await?;
        let (response, connection) =
            exchange(stream, request(source, &path, accept, told)?).await?;
        if response.status().is_redirection() {
            path = elsewhere(source, response.headers())?;
            continue;
        }
        return answer(response, connection);
    }
    Err(Error::Elsewhere { to: path })
}

impl Answer {
    /// More of the body; none at its end.
    ///
    /// Cancel safe: what has not been returned is still to come.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|context| self.poll_piece(context)).await
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            // The body knows how it ended.
            self.connection = None;
        }
        loop {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(data))),
                    // What may follow a body says nothing here.
                    Err(_trailers) => {}
                },
                Poll::Ready(Some(Err(source))) => {
                    return Poll::Ready(Some(Err(Error::Speak { source })));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

async fn connect(source: &Source) -> Result<TcpStream, Error> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in source.addresses() {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(Error::Connect { source: last })
}

fn request(
    source: &Source,
    path: &str,
    accept: &str,
    told: &HeaderMap,
) -> Result<Request<Empty<Bytes>>, Error> {
    let mut request = Request::builder()
        .uri(path)
        .header(HOST, format!("localhost:{}", source.port))
        .header(ACCEPT, accept);
    for name in [USER_AGENT.as_str(), TIMEOUT] {
        if let Some(value) = told.get(name) {
            request = request.header(name, value);
        }
    }
    request.body(Empty::new()).map_err(|source| Error::Path { source })
}

async fn exchange(
    stream: TcpStream,
    request: Request<Empty<Bytes>>,
) -> Result<(Response<Incoming>, Option<Pin<Box<Moves>>>), Error> {
    let speak = |source| Error::Speak { source };
    let mut http = http1::Builder::new();
    http.max_buf_size(LARGEST_PIECE);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(speak)?;
    let mut connection = Box::pin(connection);
    let mut response = std::pin::pin!(sender.send_request(request));
    // An answer may be there before its connection ends; if not, it knows by itself.
    tokio::select! {
        biased;
        response = &mut response => Ok((response.map_err(speak)?, Some(connection))),
        _ = &mut connection => Ok((response.await.map_err(speak)?, None)),
    }
}

fn answer(
    response: Response<Incoming>,
    connection: Option<Pin<Box<Moves>>>,
) -> Result<Answer, Error> {
    if response.status() != StatusCode::OK {
        return Err(Error::Status { status: response.status().as_u16() });
    }
    let said =
        |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let packed = said(CONTENT_ENCODING).filter(|how| !how.eq_ignore_ascii_case("identity"));
    let form = Form::of(said(CONTENT_TYPE)).filter(|_| packed.is_none());
    let kind = || packed.or(said(CONTENT_TYPE)).unwrap_or_default().to_owned();
    let form = form.ok_or_else(|| Error::Kind { kind: kind() })?;
    Ok(Answer { form, body: response.into_body(), connection })
}

/// Another path of the same port, where the source says that its metrics are.
fn elsewhere(source: &Source, headers: &HeaderMap) -> Result<String, Error> {
    let to = headers.get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
    let to = to.unwrap_or_default();
    let followed = to.parse::<Uri>().ok().and_then(|uri| {
        let port = uri.port_u16().or_else(|| uri.scheme_str().map(|_| 80));
        let here = uri.scheme_str().is_none_or(|scheme| scheme == "http")
            && uri.host().is_none_or(|host| HERE.contains(&host))
            && port.is_none_or(|port| port == source.port);
        let path = uri.path_and_query()?.as_str();
        (here && path.starts_with('/')).then(|| path.to_owned())
    });
    followed.ok_or(Error::Elsewhere { to })
}

pub(crate) const TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// What a source may call itself.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const MOST_TURNS: usize = 3;
const LARGEST_PIECE: usize = 64 * 1024;
