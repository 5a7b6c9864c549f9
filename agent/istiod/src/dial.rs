//! From an address to a connection: resolve, connect, TLS, HTTP/2, first answer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_pki::Identity;
use hawser_rt::{Chain, Throttle};
use hyper_util::rt::TokioIo;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::{
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::{Channel, Uri},
};
use tracing::{debug, warn};

use crate::{
    Connection, Endpoint, Error, Hosts, Roots, Shown, credential,
    error::Attempts,
    heard::Heard,
    tls::{self, Handshake},
};

/// Where istiod is and how we come to trust each other.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What its certificate must chain to.
    pub roots: Roots,
    /// Addresses known without DNS.
    pub hosts: Hosts,
    /// The token file, read at each dial; it may be missing.
    pub token: Option<PathBuf>,
    /// Headers of every call, as `clusterid`. Names are lowered.
    pub headers: Vec<(String, String)>,
    /// For each step of each address: resolve, connect, handshake, first answer.
    pub connect_timeout: Duration,
}

/// The way to istiod. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Istiod(Arc<Way>);

#[derive(Debug)]
struct Way {
    options: Options,
    headers: MetadataMap,
    server_name: ServerName<'static>,
    provider: Arc<CryptoProvider>,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    fell_back: Throttle,
}

impl Istiod {
    /// Checks the options; nothing is dialled yet. The identity is looked at on each dial.
    pub fn new(
        options: Options,
        identity: watch::Receiver<Option<Arc<Identity>>>,
    ) -> Result<Self, Error> {
        let headers = credential::headers(&options.headers)?;
        let name = options.endpoint.verified_name();
        let server_name = ServerName::try_from(name.to_owned())
            .ok()
            .ok_or_else(|| Error::ServerName { name: name.to_owned() })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let fell_back = Throttle::new(Duration::from_secs(600));
        Ok(Self(Arc::new(Way { options, headers, server_name, provider, identity, fell_back })))
    }

    /// The configured address, `host:port`.
    pub fn address(&self) -> String {
        self.0.options.endpoint.to_string()
    }

    /// Dials until istiod has answered. Every address of the name is tried in turn.
    ///
    /// A client certificate that istiod refuses is left out at once if there is a token: the
    /// token may obtain a better one.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let way = &self.0;
        let token = credential::bearer(way.options.token.as_deref()).await;
        let identity = way.identity.borrow().clone();
        let identity = identity.filter(|identity| identity.valid_at(SystemTime::now()));
        match way.dial(identity.as_deref(), token.clone()).await {
            Err(error) if error.is_rejected_certificate() && token.is_some() => {
                if way.fell_back.allow().is_some() {
                    warn!(error = %Chain(&error), "certificate rejected, going on with the token");
                }
                way.dial(None, token).await
            }
            outcome => outcome,
        }
    }
}

impl Way {
    async fn dial(
        &self,
        identity: Option<&Identity>,
        token: Option<AsciiMetadataValue>,
    ) -> Result<Connection, Error> {
        let Options { endpoint, roots, connect_timeout, .. } = &self.options;
        let identity = identity.filter(|_| endpoint.tls);
        let shown = Shown::of(identity.is_some(), token.is_some());
        let tls = match endpoint.tls {
            true => {
                let config = tls::config(self.provider.clone(), roots.load().await?, identity)?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            false => None,
        };

        let mut unreachable = Vec::new();
        let mut broken = None;
        for peer in self.addresses().await? {
            let stream = match within(*connect_timeout, TcpStream::connect(peer)).await {
                Ok(stream) => stream,
                Err(error) => {
                    unreachable.push((peer, error));
                    continue;
                }
            };
            let handshake = Handshake { endpoint, peer, roots, shown };
            match self.speak(stream, tls.as_ref(), &handshake).await {
                Ok(channel) => {
                    debug!(%endpoint, %peer, %shown, "connected to istiod");
                    let headers = self.headers.clone();
                    return Ok(Connection { channel, peer, shown, headers, authorization: token });
                }
                // The first address that spoke says more than a later one that does not.
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        Err(broken.unwrap_or_else(|| Error::Connect {
            endpoint: endpoint.to_string(),
            attempts: Attempts(unreachable),
        }))
    }

    /// The addresses to try: the address itself, the hosts given, else what DNS says.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let Endpoint { host, port, .. } = &self.options.endpoint;
        let with_port = |address: &IpAddr| SocketAddr::new(*address, *port);
        if let Ok(address) = host.parse() {
            return Ok(vec![with_port(&address)]);
        }
        let known = self.options.hosts.addresses(host);
        if !known.is_empty() {
            return Ok(known.iter().take(MOST_ADDRESSES).map(with_port).collect());
        }
        let found = within(self.options.connect_timeout, lookup_host((host.as_str(), *port))).await;
        match found {
            Ok(found) => Ok(found.take(MOST_ADDRESSES).collect()),
            Err(source) => Err(Error::Resolve { host: host.clone(), source }),
        }
    }

    async fn speak(
        &self,
        stream: TcpStream,
        tls: Option<&TlsConnector>,
        handshake: &Handshake<'_>,
    ) -> Result<Channel, Error> {
        let limit = self.options.connect_timeout;
        // Requests are small and answered one by one: waiting to fill a segment only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(error = %Chain(&error), "TCP_NODELAY not set");
        }
        match tls {
            Some(tls) => {
                let encrypted = tls.connect(self.server_name.clone(), stream);
                match timeout(limit, encrypted).await {
                    Ok(Ok(encrypted)) => self.http2(encrypted, handshake).await,
                    Ok(Err(source)) => Err(handshake.failed(source)),
                    Err(_) => Err(handshake.silent(limit)),
                }
            }
            None => self.http2(stream, handshake).await,
        }
    }

    /// HTTP/2 on the stream; done when istiod has sent its first bytes.
    async fn http2<S>(&self, stream: S, handshake: &Handshake<'_>) -> Result<Channel, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limit = self.options.connect_timeout;
        let (stream, heard) = Heard::new(stream);
        let mut stream = Some(TokioIo::new(stream));
        // Asked a second time, the connection has been lost; whoever holds it dials anew.
        let once = tower::service_fn(move |_: Uri| {
            let lost = || io::Error::new(io::ErrorKind::NotConnected, "connection to istiod lost");
            std::future::ready(stream.take().ok_or_else(lost))
        });
        let broken = |source| handshake.broken(source);
        let endpoint = self.http2_settings().map_err(|error| broken(io::Error::other(error)))?;
        let channel = endpoint
            .connect_with_connector(once)
            .await
            .map_err(|error| broken(io::Error::other(error)))?;
        match timeout(limit, heard).await {
            Ok(Ok(Ok(()))) => Ok(channel),
            Ok(Ok(Err(source))) if self.options.endpoint.tls => Err(handshake.failed(source)),
            Ok(Ok(Err(source))) => Err(broken(source)),
            Ok(Err(_)) => Err(broken(io::ErrorKind::ConnectionAborted.into())),
            Err(_) => Err(handshake.silent(limit)),
        }
    }

    fn http2_settings(&self) -> Result<tonic::transport::Endpoint, tonic::transport::Error> {
        let endpoint = &self.options.endpoint;
        // The scheme tonic dials with must be plain http, TLS being ours; what is sent is `origin`.
        let settings = tonic::transport::Endpoint::from_shared(format!("http://{endpoint}"))?
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWERED_WITHIN);
        let origin = format!("https://{endpoint}").parse::<Uri>().ok().filter(|_| endpoint.tls);
        Ok(match origin {
            Some(origin) => settings.origin(origin),
            None => settings,
        })
    }
}

impl Handshake<'_> {
    fn silent(&self, after: Duration) -> Error {
        Error::Silent { endpoint: self.endpoint.to_string(), peer: self.peer, after }
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Http2 { endpoint: self.endpoint.to_string(), peer: self.peer, source }
    }
}

async fn within<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A name with more addresses than this is not istiod's.
const MOST_ADDRESSES: usize = 8;
const WINDOW: u32 = 1 << 20;
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(10);
