//! From an address to a connection: resolve, connect, TLS, HTTP/2, first answer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hawser_rt::Chain;
use hyper_util::rt::TokioIo;
use rustls::sign::CertifiedKey;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Uri};
use tracing::debug;

use crate::{
    Endpoint, Error, Options, Shown,
    error::Attempts,
    heard::Heard,
    istiod::Way,
    roots::Believed,
    tls::{self, Handshake},
};

impl Way {
    /// Dials the addresses one after the other until one has answered. Without roots there is no
    /// TLS.
    pub(crate) async fn dial(
        &self,
        shown: Shown,
        roots: Option<&Believed>,
        key: Option<Arc<CertifiedKey>>,
    ) -> Result<(Channel, SocketAddr), Error> {
        let Options { endpoint, connect_timeout, .. } = &self.options;
        let tls = match roots {
            Some(roots) => {
                let config =
                    tls::config(Arc::clone(&self.provider), roots, self.clock.clone(), key)?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            None => None,
        };
        let believed = roots.map_or_else(String::new, ToString::to_string);

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
            let handshake = Handshake { endpoint, peer, roots: &believed, shown };
            match self.speak(stream, tls.as_ref(), &handshake).await {
                Ok(channel) => return Ok((channel, peer)),
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
        let lost = |source| match self.options.endpoint.tls {
            true => handshake.failed(source),
            false => handshake.broken(source),
        };
        let endpoint = self.http2_settings().map_err(|error| broken(io::Error::other(error)))?;
        let connected = timeout(limit, endpoint.connect_with_connector(once)).await;
        let unheard = match timeout(limit, heard).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(source))) => Some(lost(source)),
            Ok(Err(_)) => Some(lost(io::ErrorKind::ConnectionAborted.into())),
            Err(_) => Some(handshake.silent(limit)),
        };
        // What the stream has met says more than what HTTP/2 makes of it.
        match (connected, unheard) {
            (Err(_elapsed), _) => Err(handshake.silent(limit)),
            (_, Some(error)) => Err(error),
            (Ok(Err(error)), None) => Err(broken(io::Error::other(error))),
            (Ok(Ok(channel)), None) => Ok(channel),
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
