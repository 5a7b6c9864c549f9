//! Every address of istiod, looked at step by step: for whoever wants to know which step fails, and
//! what is there instead of what was expected.
//!
//! Nothing is shown to anybody and nothing is asked for, so whatever answers is heard out, believed
//! or not.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hawser_pki::{Described, Unjudged};
use rustls::{
    ClientConfig, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::Instant,
};
use tokio_rustls::TlsConnector;

use crate::{
    Endpoint, Error, Istiod,
    istiod::Way,
    race::{MOST_ADDRESSES, connect, known, within},
};

/// What was seen of istiod.
#[derive(Debug)]
pub struct Survey {
    /// Where the roots are from that it is judged by; none without TLS.
    pub roots: Result<Option<String>, Error>,
    /// Every endpoint, in the order of the settings.
    pub endpoints: Vec<Surveyed>,
}

/// What was seen of an endpoint.
#[derive(Debug)]
pub struct Surveyed {
    /// Which one.
    pub endpoint: Endpoint,
    /// Whether its addresses are known without DNS.
    pub listed: bool,
    /// Its addresses, or why there are none.
    pub addresses: io::Result<Vec<SocketAddr>>,
    /// Each of them.
    pub sights: Vec<Sight>,
}

/// What was seen at an address.
#[derive(Debug)]
pub struct Sight {
    /// Which one.
    pub peer: SocketAddr,
    /// How long it took to connect, or why it could not be.
    pub connected: io::Result<Duration>,
    /// What it shows of itself, or why there is no TLS with it. None if it is not to be tried.
    pub tls: Option<io::Result<Shows>>,
}

/// What somebody shows of itself, and what is to be thought of it.
#[derive(Debug)]
pub struct Shows {
    /// The certificate.
    pub leaf: Described,
    /// The last that it shows on the way to a root; the certificate itself if there is no other.
    pub top: Described,
    /// Whether signatures hold up to a root that is believed, at a time when the certificate is
    /// valid. None if there are no roots to try.
    pub trusted: Option<Result<(), rustls::Error>>,
    /// Whether it is for the name that was expected.
    pub named: Result<(), rustls::Error>,
}

/// What a look needs besides the address.
struct Look {
    way: Arc<Way>,
    name: ServerName<'static>,
    roots: Option<Arc<RootCertStore>>,
    now: SystemTime,
}

impl Istiod {
    /// Looks at every address, all of them beside each other; within the time for a connection for
    /// each step.
    pub async fn survey(&self) -> Survey {
        let way = &self.0;
        let roots = way.roots().await;
        let believed = roots.as_ref().ok().and_then(Option::as_ref);
        let store = believed.map(|believed| believed.store());
        let mut looks = JoinSet::new();
        for (place, name) in way.server_names.iter().enumerate() {
            let look = Look {
                way: Arc::clone(way),
                name: name.clone(),
                roots: store.clone(),
                now: way.clock.now(),
            };
            looks.spawn(async move { (place, look.at(place).await) });
        }
        let mut all = looks.join_all().await;
        all.sort_unstable_by_key(|(place, _)| *place);
        let endpoints = all.into_iter().filter_map(|(_, surveyed)| surveyed).collect();
        Survey { roots: roots.map(|roots| roots.map(|roots| roots.to_string())), endpoints }
    }
}

impl Look {
    async fn at(self, place: usize) -> Option<Surveyed> {
        let endpoint = self.way.options.endpoints.get(place)?.clone();
        let limit = self.limit();
        let known = known(&self.way, &endpoint);
        let listed = known.is_some();
        let addresses = match known {
            Some(known) => Ok(known),
            None => {
                let found = within(limit, lookup_host((&*endpoint.host, endpoint.port))).await;
                found.map(|found| found.take(MOST_ADDRESSES).collect())
            }
        };
        let look = Arc::new(self);
        let mut looks = JoinSet::new();
        for peer in addresses.as_deref().unwrap_or_default() {
            let (look, peer, tls) = (Arc::clone(&look), *peer, endpoint.tls);
            looks.spawn(async move { look.sight(peer, tls).await });
        }
        let mut sights = looks.join_all().await;
        sights.sort_unstable_by_key(|sight| sight.peer);
        Some(Surveyed { endpoint, listed, addresses, sights })
    }

    fn limit(&self) -> Duration {
        self.way.options.connect_timeout
    }

    async fn sight(&self, peer: SocketAddr, tls: bool) -> Sight {
        let begun = Instant::now();
        match connect(peer, self.limit()).await {
            Err(error) => Sight { peer, connected: Err(error), tls: None },
            Ok(stream) => {
                let connected = Ok(begun.elapsed());
                let tls = if tls { Some(self.shows(stream).await) } else { None };
                Sight { peer, connected, tls }
            }
        }
    }

    async fn shows(&self, stream: TcpStream) -> io::Result<Shows> {
        let provider = Arc::clone(&self.way.provider);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            // It is judged afterwards, and nothing is said on the connection.
            .with_custom_certificate_verifier(Arc::new(Unjudged(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let stream = within(self.limit(), connector.connect(self.name.clone(), stream)).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        self.judged(chain)
    }

    fn judged(&self, chain: &[CertificateDer<'static>]) -> io::Result<Shows> {
        let (Some((first, issuers)), Some(last)) = (chain.split_first(), chain.last()) else {
            return Err(io::Error::other("it shows no certificate"));
        };
        let leaf = Described::of(first).map_err(io::Error::other)?;
        let top = Described::of(last).map_err(io::Error::other)?;
        let parsed = ParsedCertificate::try_from(first).map_err(io::Error::other)?;
        // Its dates are another question.
        let at = self.now.clamp(leaf.not_before, leaf.not_after.max(leaf.not_before));
        let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
        let algorithms = self.way.provider.signature_verification_algorithms.all;
        let trusted = self.roots.as_ref().map(|roots| {
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, issuers, at, algorithms)
        });
        let named = verify_server_name(&parsed, &self.name);
        Ok(Shows { leaf, top, trusted, named })
    }
}
