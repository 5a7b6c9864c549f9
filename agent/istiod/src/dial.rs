//! From a connection to one that istiod has answered: TLS, HTTP/2, first answer.

use std::{io, sync::Arc, time::Duration};

use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    Channel, Endpoint, Error, Shown,
    error::{Attempt, Attempts, Verdict},
    health::Spot,
    heard::Heard,
    istiod::{Target, Way},
    race::Race,
    roots::Believed,
    tls::{self, Handshake},
};

/// What is shown on a dial.
#[derive(Debug)]
pub(crate) struct Show {
    pub(crate) key: Option<Arc<CertifiedKey>>,
    pub(crate) token: bool,
}

/// Somebody has answered.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) channel: Channel,
    pub(crate) spot: Spot,
    pub(crate) endpoint: Endpoint,
}

impl Way {
    /// Dials one address after the other until one has answered. Without roots there is no TLS.
    pub(crate) async fn dial(
        &self,
        show: Show,
        roots: Option<&Believed>,
    ) -> Result<Dialled, Error> {
        let with_certificate = show.key.is_some();
        let tls = match roots {
            Some(roots) => {
                let provider = Arc::clone(&self.provider);
                let config = tls::config(provider, roots, self.clock.clone(), show.key)?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            None => None,
        };
        let believed = roots.map_or_else(String::new, ToString::to_string);

        let (mut race, mut broken, mut attempts) = (Race::new(self), None, Vec::new());
        while let Some((spot, stream)) = race.next().await {
            let Some(Target { endpoint, server_name }) = self.target(spot) else { continue };
            let tls = tls.as_ref().filter(|_| endpoint.tls).map(|tls| (tls, server_name));
            let shown = Shown::of(with_certificate && endpoint.tls, show.token);
            let handshake = Handshake { endpoint, peer: spot.address, roots: &believed, shown };
            match self.speak(stream, tls, &handshake).await {
                Ok(channel) => {
                    let endpoint = endpoint.clone();
                    return Ok(Dialled { channel, spot, endpoint });
                }
                Err(error) => {
                    if error.verdict() != Some(Verdict::Rejected) {
                        self.unwell(spot);
                    }
                    // The first that spoke says more than a later one that does not.
                    match &broken {
                        None => broken = Some(error),
                        Some(_) => attempts.push(Attempt::said(endpoint, spot, &error)),
                    }
                }
            }
        }
        for failure in race.failures() {
            let endpoint = self.options.endpoints.get(failure.endpoint);
            attempts.extend(endpoint.map(|endpoint| Attempt::failed(endpoint, failure)));
        }
        Err(self.unanswered(broken, attempts))
    }

    /// Nobody has answered as istiod does.
    fn unanswered(&self, broken: Option<Error>, mut attempts: Vec<Attempt>) -> Error {
        let several = self.options.endpoints.len() > 1;
        if let Some(first) = broken {
            return match attempts.is_empty() {
                true => first,
                false => {
                    let attempts = Attempts::new(attempts, several);
                    Error::Elsewhere { first: Box::new(first), attempts }
                }
            };
        }
        if attempts.len() == 1
            && let Some(unresolved) = attempts.pop_if(|attempt| attempt.address.is_none())
        {
            return Error::Resolve { host: unresolved.host, source: unresolved.error };
        }
        let endpoint = if several { "istiod".to_owned() } else { self.address() };
        Error::Connect { endpoint, attempts: Attempts::new(attempts, several) }
    }

    /// An address has led to nothing.
    pub(crate) fn unwell(&self, spot: Spot) {
        self.health.lock().failed(spot, Instant::now(), fastrand::f64());
    }

    async fn speak(
        &self,
        stream: TcpStream,
        tls: Option<(&TlsConnector, &ServerName<'static>)>,
        handshake: &Handshake<'_>,
    ) -> Result<Channel, Error> {
        let limit = self.options.connect_timeout;
        // TLS and HTTP/2 read a few thousand bytes at a time.
        let stream = BufReader::with_capacity(AT_ONCE, stream);
        match tls {
            Some((tls, name)) => match timeout(limit, tls.connect(name.clone(), stream)).await {
                Ok(Ok(encrypted)) => http2(encrypted, handshake, limit).await,
                Ok(Err(source)) => Err(handshake.failed(source)),
                Err(_) => Err(handshake.silent(limit)),
            },
            None => http2(stream, handshake, limit).await,
        }
    }
}

/// HTTP/2 on the stream; done when istiod has sent its first bytes.
async fn http2<S>(stream: S, handshake: &Handshake<'_>, limit: Duration) -> Result<Channel, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stream, heard) = Heard::new(stream);
    let lost = |source| match handshake.endpoint.tls {
        true => handshake.failed(source),
        false => handshake.broken(source),
    };
    let opened = timeout(limit, Channel::open(stream, handshake.endpoint)).await;
    let unheard = match timeout(limit, heard).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(source))) => Some(lost(source)),
        Ok(Err(_)) => Some(lost(io::ErrorKind::ConnectionAborted.into())),
        Err(_) => Some(handshake.silent(limit)),
    };
    // What the stream has met says more than what HTTP/2 makes of it.
    match (opened, unheard) {
        (Err(_elapsed), _) => Err(handshake.silent(limit)),
        (_, Some(error)) => Err(error),
        (Ok(Err(error)), None) => Err(handshake.broken(error)),
        (Ok(Ok(channel)), None) => Ok(channel),
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

/// What is read at one stroke.
const AT_ONCE: usize = 64 << 10;
