//! A bundle from the web: over TLS alone, because it says whom to trust and holds a token.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_rt::{BoxError, Chain};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroize::Zeroizing;

use super::{Bundle, MAX_ARCHIVE, clock, origin::Brought};
use crate::config::problem::{Problem, Problems};

/// An address of a file behind TLS.
#[derive(Clone)]
pub(crate) struct Url {
    host: String,
    port: u16,
    /// Path and query; the query may be a secret.
    target: String,
}

/// Whether a word is meant as an address, and not as a path.
pub(super) fn is_address(word: &str) -> bool {
    word.contains("://")
}

impl Url {
    /// Reads `https://host[:port]/path[?query]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !is_address(text) {
            return Err(format!("{text}: only several https addresses stand beside each other"));
        }
        let shown = text.split(['?', '#', '@']).next().unwrap_or_default();
        let uri: Uri = text.parse().map_err(|_invalid| format!("{shown}: not an address"))?;
        if uri.scheme_str().is_none_or(|scheme| !scheme.eq_ignore_ascii_case("https")) {
            let scheme = text.split("://").next().unwrap_or_default();
            return Err(format!(
                "{scheme}://…: a bundle says whom to trust and holds a token, so it is taken over \
                 https alone, from a file, or from standard input"
            ));
        }
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty())
        else {
            return Err(format!("{shown}: no host in it"));
        };
        if authority.as_str().contains('@') {
            return Err(format!("{}: expected an address without a user", authority.host()));
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            host: bare.unwrap_or(host).to_owned(),
            port: authority.port_u16().unwrap_or(HTTPS),
            target: if target.starts_with('/') { target.to_owned() } else { format!("/{target}") },
        })
    }

    /// Where a redirect leads: to a whole address, or a path on the same host.
    fn join(&self, location: &str) -> Result<Self, String> {
        match location.starts_with('/') && !location.starts_with("//") {
            true => Ok(Self { target: location.to_owned(), ..self.clone() }),
            false => Self::parse(location),
        }
    }

    fn authority(&self) -> String {
        let v6 = self.host.contains(':');
        let host = if v6 { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == HTTPS { host } else { format!("{host}:{}", self.port) }
    }
}

/// Without the query: it can be a secret.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "https://{}{path}", self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// Why an address has given nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {}; expected roots in PEM", path.display())]
    Roots { path: PathBuf, source: io::Error },
    #[error("the system has no roots to check it by; install ca-certificates, or say --ca FILE")]
    NoRoots,
    #[error("set up TLS")]
    Settings { source: rustls::Error },
    #[error("cannot resolve {host}; check this machine's DNS")]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {host}; is the way there open?")]
    Connect { host: String, source: io::Error },
    #[error("its certificate is not of a root that is trusted here; --ca FILE says another")]
    Untrusted,
    #[error("{0}")]
    Clock(String),
    #[error("TLS with {host} failed")]
    Tls { host: String, source: io::Error },
    #[error("HTTP with {host} failed")]
    Http { host: String, source: BoxError },
    #[error("answered {0}; expected the tar of a bundle")]
    Status(StatusCode),
    #[error("leads on {0}")]
    Redirect(String),
    #[error("larger than 16 MiB; this is no bundle")]
    TooLarge,
    #[error("broken off in the middle")]
    Cut,
    #[error("not there within {} s", WITHIN.as_secs())]
    Late,
}

/// What an address has given.
struct Given {
    body: Zeroizing<Vec<u8>>,
    date: Option<SystemTime>,
}

enum Answer {
    Here(Given),
    Elsewhere(String),
}

/// The bundle of the first address that gives one.
pub(super) fn first(urls: &[Url], ca: Option<&Path>) -> Result<Brought, Problems> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Problems(vec![Problem::with("hawser", format!("cannot start a runtime: {error}"))])
    })?;
    let brought = runtime.block_on(tried(urls, ca));
    // A name that is being looked up may take its time; nobody waits for it.
    runtime.shutdown_background();
    brought
}

async fn tried(urls: &[Url], ca: Option<&Path>) -> Result<Brought, Problems> {
    let mut passed_over = Vec::new();
    for url in urls {
        let given = timeout(WITHIN, get(url, ca)).await.unwrap_or(Err(Error::Late));
        let bundle = match given {
            Ok(given) => {
                let date = given.date.map(|date| (date, url.host.clone()));
                let place = PathBuf::from(url.to_string());
                Bundle::unpacked(&place, &given.body).map(|bundle| (bundle, date))
            }
            Err(error) => {
                let told = Chain(&error).to_string();
                Err(Problems(vec![Problem::with(url.to_string(), told)]))
            }
        };
        match bundle {
            Ok((bundle, date)) => return Ok(Brought { bundle, date, passed_over }),
            Err(problems) => passed_over.extend(problems.0),
        }
    }
    Err(Problems(passed_over))
}

/// What the address has, through a few redirects.
async fn get(url: &Url, ca: Option<&Path>) -> Result<Given, Error> {
    let tls = TlsConnector::from(Arc::new(config(ca)?));
    let mut at = url.clone();
    for _ in 0..MOST_REDIRECTS {
        let stream = dial(&at, &tls).await?;
        match asked(&at, stream).await? {
            Answer::Here(given) => return Ok(given),
            Answer::Elsewhere(location) => at = at.join(&location).map_err(Error::Redirect)?,
        }
    }
    Err(Error::Redirect("too often".to_owned()))
}

/// What is there, or where else it is.
async fn asked(at: &Url, stream: TlsStream<TcpStream>) -> Result<Answer, Error> {
    let mut http = http1::Builder::new();
    http.max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) =
        http.handshake(TokioIo::new(stream)).await.map_err(|error| broken(at, error.into()))?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = at.target.parse().unwrap_or_default();
    let host = HeaderValue::try_from(at.authority());
    let headers = request.headers_mut();
    headers.insert(header::HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(OURSELVES));
    let mut moving = JoinSet::new();
    moving.spawn(async move { drop(connection.await) });
    let reply = sender.send_request(request).await.map_err(|error| broken(at, error.into()))?;
    let (head, body) = reply.into_parts();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    if head.status.is_redirection() {
        let location = text(header::LOCATION).ok_or(Error::Status(head.status))?;
        return Ok(Answer::Elsewhere(location.to_owned()));
    }
    if head.status != StatusCode::OK {
        return Err(Error::Status(head.status));
    }
    let date = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let largest = usize::try_from(MAX_ARCHIVE).unwrap_or(usize::MAX);
    let body = Limited::new(body, largest).collect().await.map_err(|source| match source
        .is::<LengthLimitError>(
    ) {
        true => Error::TooLarge,
        false => broken(at, source),
    })?;
    let body = Zeroizing::new(body.to_bytes().to_vec());
    Ok(Answer::Here(Given { body, date }))
}

/// An exchange that failed: by an end in the middle, which TLS and HTTP tell each in its own way.
fn broken(at: &Url, source: BoxError) -> Error {
    let mut causes =
        std::iter::successors(Some(&*source as &(dyn std::error::Error + 'static)), |error| {
            error.source()
        });
    let cut = causes.any(|cause| {
        let ended = cause.downcast_ref::<io::Error>();
        let ended = ended.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        ended
            || cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
    });
    if cut { Error::Cut } else { Error::Http { host: at.host.clone(), source } }
}

async fn dial(url: &Url, tls: &TlsConnector) -> Result<TlsStream<TcpStream>, Error> {
    let host = || url.host.clone();
    let addresses = match url.host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, url.port)],
        Err(_) => {
            let found = lookup_host((url.host.as_str(), url.port)).await;
            found.map_err(|source| Error::Resolve { host: host(), source })?.collect()
        }
    };
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let connected = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let name = ServerName::try_from(host()).map_err(|_invalid| Error::Resolve {
                    host: host(),
                    source: io::ErrorKind::InvalidInput.into(),
                })?;
                return tls.connect(name, stream).await.map_err(|error| refused(url, error));
            }
            Err(error) => failed = error,
        }
    }
    Err(Error::Connect { host: host(), source: failed })
}

/// What a handshake that failed means to whoever wants to join.
fn refused(url: &Url, source: io::Error) -> Error {
    let cause = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Error::Untrusted
        }
        Some(error) => match clock::ahead_or_behind(error) {
            Some(told) => Error::Clock(told),
            None => Error::Tls { host: url.host.clone(), source },
        },
        None => Error::Tls { host: url.host.clone(), source },
    }
}

fn config(ca: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let failed = |error: rustls_pki_types::pem::Error| Error::Roots {
                path: path.to_owned(),
                source: io::Error::other(error),
            };
            let read = CertificateDer::pem_file_iter(path).map_err(failed)?;
            roots.add_parsable_certificates(read.collect::<Result<Vec<_>, _>>().map_err(failed)?);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(Error::NoRoots);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|source| Error::Settings { source })?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

const OURSELVES: &str = concat!("hawser/", env!("CARGO_PKG_VERSION"));
const HTTPS: u16 = 443;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// For all of one address.
const WITHIN: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 4;
const LARGEST_HEAD: usize = 64 * 1024;
