//! One call of a gateway for one service: how far it comes, and what is shown on the way.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hawser_pki::{Described, Identity, Unjudged};
use hawser_services::model::{Gateway, Protocol, Service};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor, crypto::aws_lc_rs,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::status::services::sni;

/// What came of it.
#[derive(Debug)]
pub(super) enum Came {
    /// Nobody takes the connection, for this reason.
    Unreached(String),
    /// The connection ends before anybody shows a certificate.
    Closed(String),
    /// This machine's certificate is refused before the handshake is done, as TLS 1.2 does it.
    Refused(AlertDescription),
    /// Somebody shows one.
    Shown(Box<Shown>),
}

/// Whoever answers, and what it says to this machine.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) leaf: Described,
    /// The last that it shows on the way to a root; the certificate itself if there is no other.
    pub(super) top: Described,
    /// Whether it leads to a root of this machine; none if no roots are known here, or those between
    /// are out of time.
    pub(super) trusted: Option<Result<(), rustls::Error>>,
    pub(super) then: Then,
}

/// What happens when the handshake is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// This machine's certificate is refused, in a word of TLS.
    Refused(AlertDescription),
    /// It answers in HTTP, with this status.
    Answered { status: u16, by_policy: bool },
    /// The connection ends.
    Ended(String),
    /// It waits to be spoken to, as it should.
    Quiet,
}

/// What a call is made with.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    config: Arc<ClientConfig>,
    roots: Option<Arc<RootCertStore>>,
    now: SystemTime,
}

impl Caller {
    /// One who shows this pair, and judges by its roots.
    pub(super) fn new(own: Option<&Identity>, now: SystemTime) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            // It is judged afterwards, and nothing that matters is said on the connection.
            .with_custom_certificate_verifier(Arc::new(Unjudged(provider)));
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(own.chain.ders().to_vec(), own.key.der())?,
        };
        let roots = own.map(|own| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(own.roots.ders().iter().cloned());
            Arc::new(roots)
        });
        Ok(Self { config: Arc::new(config), roots, now })
    }

    /// Calls a gateway for a service.
    pub(super) async fn call(&self, gateway: &Gateway, service: &Service) -> Came {
        let stream = match timeout(CONNECT, connected(&gateway.host, gateway.port.get())).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Came::Unreached(error.to_string()),
            Err(_) => return Came::Unreached("no answer".to_owned()),
        };
        match timeout(HANDSHAKE, self.greeted(stream, service)).await {
            Ok(Ok(stream)) => self.heard(stream, service).await,
            Ok(Err(error)) => match alert(&error).filter(|alert| OF_OURS.contains(alert)) {
                Some(alert) => Came::Refused(alert),
                None => Came::Closed(why(&error)),
            },
            Err(_) => Came::Closed("no answer in TLS".to_owned()),
        }
    }

    async fn greeted(&self, on: TcpStream, service: &Service) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(sni(service)).map_err(io::Error::other)?;
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = alpn(service.protocol).iter().map(|own| own.to_vec()).collect();
        TlsConnector::from(Arc::new(config)).connect(name, on).await
    }

    async fn heard(&self, mut stream: TlsStream<TcpStream>, service: &Service) -> Came {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
            return Came::Closed("nobody shows a certificate".to_owned());
        };
        let described = Described::of(first).and_then(|leaf| Ok((leaf, Described::of(last)?)));
        let (leaf, top) = match described {
            Ok(described) => described,
            Err(error) => return Came::Closed(hawser_rt::Chain(&error).to_string()),
        };
        let trusted = self.roots.as_ref().map(|roots| self.judged(&chain, &leaf, roots));
        let trusted = trusted.filter(|trusted| !is_of_dates(trusted));
        let then = if service.protocol == Protocol::Tcp {
            told(timeout(WAIT, stream.read(&mut [0; 1])).await.map(|read| read.map(|_| None)))
        } else {
            told(timeout(ANSWER, asked(&mut stream, service)).await.map(|read| read.map(Some)))
        };
        Came::Shown(Box::new(Shown { leaf, top, trusted, then }))
    }

    fn judged(
        &self,
        chain: &[CertificateDer<'static>],
        leaf: &Described,
        roots: &RootCertStore,
    ) -> Result<(), rustls::Error> {
        let Some((first, issuers)) = chain.split_first() else { return Ok(()) };
        let parsed = ParsedCertificate::try_from(first)?;
        // Its dates are another question.
        let at = self.now.clamp(leaf.not_before, leaf.not_after.max(leaf.not_before));
        let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, issuers, at, algorithms)
    }
}

/// Whether it is about nothing but time.
fn is_of_dates(judged: &Result<(), rustls::Error>) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let dates = |error: &CertificateError| {
        matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
    };
    matches!(judged, Err(rustls::Error::InvalidCertificate(error)) if dates(error))
}

/// The first address of a gateway that takes the connection.
async fn connected(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.take(MOST).collect();
    let mut last = io::Error::other("its name leads to no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The answer to a question that changes nothing (RFC 9110, section 9.2.1): whoever guards the service
/// sees who asks. `OPTIONS *` would be for nobody, and is answered before anybody is guarded.
async fn asked(stream: &mut TlsStream<TcpStream>, service: &Service) -> io::Result<Vec<u8>> {
    let (host, port, version) = (&service.host, service.port, crate::VERSION);
    let question = format!(
        "OPTIONS / HTTP/1.1\r\nhost: {host}:{port}\r\nuser-agent: hawser-doctor/{version}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).await.or_else(|error| {
            // An end without a word of TLS, after an answer, is one.
            if answer.is_empty() { Err(error) } else { Ok(0) }
        })?;
        answer.extend_from_slice(piece.get(..length).unwrap_or_default());
        if length == 0 || answer.len() >= LONGEST {
            return Ok(answer);
        }
    }
}

/// What a reading comes to.
fn told(read: Result<io::Result<Option<Vec<u8>>>, tokio::time::error::Elapsed>) -> Then {
    match read {
        Err(_elapsed) => Then::Quiet,
        Ok(Err(error)) => match alert(&error) {
            Some(alert) => Then::Refused(alert),
            None => Then::Ended(why(&error)),
        },
        Ok(Ok(None)) => Then::Quiet,
        Ok(Ok(Some(answer))) => answered(&answer),
    }
}

fn answered(answer: &[u8]) -> Then {
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    match status {
        Some(status) => {
            let by_policy = status == 403 && text.contains("RBAC: access denied");
            Then::Answered { status, by_policy }
        }
        None if answer.is_empty() => Then::Ended("without an answer".to_owned()),
        None => Then::Ended("with an answer that is no HTTP".to_owned()),
    }
}

/// A word of TLS in what went wrong.
fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

fn why(error: &io::Error) -> String {
    match (alert(error), error.kind()) {
        (Some(alert), _) => format!("refused with {}", word(alert)),
        (None, io::ErrorKind::UnexpectedEof) => "closed without a word".to_owned(),
        (None, io::ErrorKind::ConnectionReset) => "reset without a word".to_owned(),
        (None, _) => error.to_string(),
    }
}

/// A word of TLS as RFC 8446 writes it: `unknown_ca`.
pub(super) fn word(alert: AlertDescription) -> String {
    let mut text = String::new();
    let mut before = None;
    for c in format!("{alert:?}").chars() {
        let begins = c.is_ascii_uppercase() && before.is_some_and(|c: char| c.is_ascii_lowercase());
        text.push_str(if begins { "_" } else { "" });
        text.push(c.to_ascii_lowercase());
        before = Some(c);
    }
    text
}

/// What Istio's gateways know their own by; of HTTP the oldest, which everybody here can speak.
const fn alpn(protocol: Protocol) -> &'static [&'static [u8]] {
    match protocol {
        // Whoever takes `istio-peer-exchange` writes a word of its own first.
        Protocol::Tcp => &[b"istio"],
        _ => &[b"istio-http/1.1", b"istio", b"http/1.1"],
    }
}

/// Words about the certificate that was shown.
const OF_OURS: [AlertDescription; 9] = [
    AlertDescription::AccessDenied,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::DecryptError,
    AlertDescription::UnknownCA,
    AlertDescription::UnsupportedCertificate,
];
const CONNECT: Duration = Duration::from_secs(3);
const HANDSHAKE: Duration = Duration::from_secs(3);
/// What is wrong with this machine's certificate is told after the handshake, at once.
const WAIT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(2);
const MOST: usize = 4;
const LONGEST: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_tls_are_written_as_its_standard_writes_them() {
        let table = [
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::BadCertificate, "bad_certificate"),
            (AlertDescription::CertificateExpired, "certificate_expired"),
            (AlertDescription::CertificateRequired, "certificate_required"),
        ];
        for (alert, expected) in table {
            assert_eq!(word(alert), expected);
        }
    }

    #[test]
    fn an_answer_is_told_from_a_policy_that_refuses_and_from_noise() {
        let refused = b"HTTP/1.1 403 Forbidden\r\nserver: istio-envoy\r\n\r\nRBAC: access denied";
        assert_eq!(answered(refused), Then::Answered { status: 403, by_policy: true });
        let own = b"HTTP/1.1 403 Forbidden\r\n\r\nnot today";
        assert_eq!(answered(own), Then::Answered { status: 403, by_policy: false });
        assert_eq!(
            answered(b"HTTP/1.1 404 Not Found\r\n\r\n"),
            Then::Answered { status: 404, by_policy: false }
        );
        assert!(matches!(answered(b""), Then::Ended(_)));
        assert!(matches!(answered(b"\x00\x01HTTP/"), Then::Ended(_)));
    }
}
