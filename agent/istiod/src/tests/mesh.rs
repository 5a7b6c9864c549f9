//! A root, what it signs, and a server that does just enough of TLS and HTTP/2 to be dialled.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use hawser_pki::{Bundle, Chain, Identity, KeyKind, PrivateKey, SpiffeId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair,
};
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A root of trust and its key.
pub(crate) struct Mesh(CertifiedIssuer<'static, KeyPair>);

impl Mesh {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn root_pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn root_der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// The certificate of a server called `name`.
    pub(crate) fn server(&self, name: &str) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }

    /// The same as PEM: chain and key.
    pub(crate) fn server_pem(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A workload whose certificate has begun an hour ago and has `left` to live.
    pub(crate) fn identity(&self, left: Duration) -> Identity {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        let id = SpiffeId::new("cluster.local", "vms", "vm").unwrap();
        let csr = hawser_pki::csr(&key, &id).unwrap();
        let mut request = CertificateSigningRequestParams::from_pem(&csr).unwrap();
        let now = SystemTime::now();
        request.params.not_before = (now - Duration::from_secs(3600)).into();
        request.params.not_after = (now + left - Duration::from_secs(2)).into();
        let leaf = request.signed_by(&self.0).unwrap();
        let roots = Bundle::from_pem(&self.root_pem()).unwrap();
        Identity::new(key, Chain::from_pem(&leaf.pem()).unwrap(), roots).unwrap()
    }
}

/// Which client certificate a server asks for.
pub(crate) enum Asks {
    Nothing,
    Client(CertificateDer<'static>),
    ClientIfAny(CertificateDer<'static>),
}

/// What a server does once it has a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Settings,
    Nothing,
    Close,
    /// Hangs up on whoever shows a certificate, without a word.
    CloseOnCertificate,
}

impl Answer {
    fn to(self, certificate: bool) -> Self {
        match (self, certificate) {
            (Self::CloseOnCertificate, true) => Self::Close,
            (Self::CloseOnCertificate, false) => Self::Settings,
            (answer, _) => answer,
        }
    }
}

/// A server that is gone when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// How many connections have been made on which a certificate was shown.
    pub(crate) certificates: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(
        (certificate, key): (CertificateDer<'static>, KeyPair),
        asks: Asks,
        answer: Answer,
    ) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let verifier = |root, optional: bool| {
            let mut roots = RootCertStore::empty();
            roots.add(root).unwrap();
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            if optional { builder.allow_unauthenticated() } else { builder }.build().unwrap()
        };
        let builder = match asks {
            Asks::Nothing => builder.with_no_client_auth(),
            Asks::Client(root) => builder.with_client_cert_verifier(verifier(root, false)),
            Asks::ClientIfAny(root) => builder.with_client_cert_verifier(verifier(root, true)),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::accept(Some(TlsAcceptor::from(Arc::new(config))), answer).await
    }

    pub(crate) async fn start_plain(answer: Answer) -> Self {
        Self::accept(None, answer).await
    }

    async fn accept(tls: Option<TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let certificates = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&certificates);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, count) = (tls.clone(), Arc::clone(&count));
                connections.spawn(async move {
                    let Some(tls) = tls else { return converse(stream, answer).await };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let shown = stream.get_ref().1.peer_certificates().is_some();
                    count.fetch_add(usize::from(shown), Ordering::SeqCst);
                    converse(stream, answer.to(shown)).await;
                });
            }
        });
        Self { address, certificates, _tasks: tasks }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: Answer) {
    match answer {
        // An empty SETTINGS frame: how every HTTP/2 server begins.
        Answer::Settings => stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap(),
        Answer::Nothing => {}
        Answer::Close | Answer::CloseOnCertificate => return,
    }
    // Reads until the client is gone; its end is no concern of the server's.
    let mut read = [0; 1024];
    while stream.read(&mut read).await.is_ok_and(|length| length > 0) {}
}
