//! An agent on a socket of its own, and clients that speak as Envoy does.

use std::{path::PathBuf, sync::Arc, time::Duration, time::SystemTime};

use hawser_pki::{Bundle, Chain, Crl, Identity, KeyKind, PrivateKey, SpiffeId};
use hawser_proto::envoy::envoy::{
    config::core::v3::{DataSource, Node, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, Secret, TlsCertificate, secret,
    },
    service::{
        discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        },
        secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient,
    },
};
use hyper_util::rt::TokioIo;
use prost::Message;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams,
    CertificateSigningRequestParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint, Uri},
};

use crate::{Counts, Options, serve};

/// A root of trust that gives out identities.
pub(crate) struct Mesh(CertifiedIssuer<'static, rcgen::KeyPair>);

impl Mesh {
    pub(crate) fn new() -> Self {
        Self::named("the root")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = rcgen::KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A list that takes the certificate with this serial number back.
    pub(crate) fn crl(&self, serial: u64) -> String {
        let now = SystemTime::now();
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(3600)).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(&self.0).unwrap().pem().unwrap();
        // As it is served: one form, whatever the file looks like.
        Crl::from_pem(&pem).unwrap().pem().to_owned()
    }

    pub(crate) fn roots(&self) -> Bundle {
        Bundle::from_pem(&self.0.pem()).unwrap()
    }

    pub(crate) fn root_pem(&self) -> String {
        self.roots().pem().to_owned()
    }

    pub(crate) fn identity(&self) -> Identity {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        let id = SpiffeId::new("cluster.local", "vms", "vm").unwrap();
        let csr = hawser_pki::csr(&key, &id).unwrap();
        let mut request = CertificateSigningRequestParams::from_pem(&csr).unwrap();
        let now = SystemTime::now();
        request.params.not_before = (now - Duration::from_secs(60)).into();
        request.params.not_after = (now + Duration::from_secs(3600)).into();
        let leaf = request.signed_by(&self.0).unwrap().pem();
        Identity::new(key, Chain::from_pem(&leaf).unwrap(), self.roots()).unwrap()
    }
}

/// The server under test.
pub(crate) struct Agent {
    pub(crate) counts: Arc<Counts>,
    path: PathBuf,
    identity: watch::Sender<Option<Arc<Identity>>>,
    trusted: watch::Sender<Option<Arc<Bundle>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sds.sock");
        let listener = hawser_rt::uds::bind(&path, 0o660).unwrap();
        let ((identity, seen), (trusted, believed)) = (watch::channel(None), watch::channel(None));
        let stop = CancellationToken::new();
        let (counts, mut tasks) = (options.counts.clone(), JoinSet::new());
        let stopped = stop.clone();
        tasks
            .spawn(async move { serve(listener, options, seen, believed, stopped).await.unwrap() });
        Self { counts, path, identity, trusted, stop, tasks, _folder: folder }
    }

    /// Publishes an identity, and its roots as those to trust.
    pub(crate) fn publish(&self, identity: Identity) -> Arc<Identity> {
        let roots = Some(Arc::new(identity.roots.clone()));
        self.trusted.send_if_modified(|trusted| {
            let changed = *trusted != roots;
            *trusted = roots;
            changed
        });
        self.publish_alone(identity)
    }

    /// Publishes an identity, and leaves the trusted roots as they are.
    pub(crate) fn publish_alone(&self, identity: Identity) -> Arc<Identity> {
        let identity = Arc::new(identity);
        self.identity.send_replace(Some(identity.clone()));
        identity
    }

    pub(crate) fn trust(&self, roots: Bundle) {
        self.trusted.send_replace(Some(Arc::new(roots)));
    }

    /// Waits until the counters say so.
    pub(crate) async fn until(&self, reached: impl Fn(&Counts) -> bool) {
        while !reached(&self.counts) {
            tokio::task::yield_now().await;
        }
    }

    /// Tells the server to stop; done when it has.
    pub(crate) fn stop(mut self) -> impl Future<Output = ()> {
        self.stop.cancel();
        async move {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap();
            }
        }
    }

    async fn client(&self) -> SecretDiscoveryServiceClient<Channel> {
        let path = self.path.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://sds-grpc");
        SecretDiscoveryServiceClient::new(endpoint.connect_with_connector(connect).await.unwrap())
    }

    pub(crate) async fn sotw(&self) -> Stream<DiscoveryRequest, DiscoveryResponse> {
        let (send, requests) = mpsc::channel(8);
        let requests = ReceiverStream::new(requests);
        let responses = self.client().await.stream_secrets(requests).await.unwrap();
        Stream { send, responses: responses.into_inner() }
    }

    pub(crate) async fn delta(&self) -> Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
        let (send, requests) = mpsc::channel(8);
        let requests = ReceiverStream::new(requests);
        let responses = self.client().await.delta_secrets(requests).await.unwrap();
        Stream { send, responses: responses.into_inner() }
    }

    pub(crate) async fn fetch(&self) -> Result<(), Status> {
        self.client().await.fetch_secrets(sotw("default", "")).await.map(drop)
    }
}

/// A stream as Envoy holds it.
pub(crate) struct Stream<Q, R> {
    send: mpsc::Sender<Q>,
    responses: Streaming<R>,
}

impl<Q, R> Stream<Q, R> {
    pub(crate) async fn send(&self, request: Q) {
        self.send.send(request).await.expect("the stream is open");
    }

    pub(crate) async fn receive(&mut self) -> R {
        self.responses.message().await.unwrap().expect("an answer")
    }

    /// How the stream ends: with a status, or as it should.
    pub(crate) async fn end(&mut self) -> Option<Status> {
        match self.responses.message().await {
            Ok(None) => None,
            Ok(Some(_)) => panic!("an answer where the end was expected"),
            Err(status) => Some(status),
        }
    }
}

pub(crate) fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.to_owned(), ..Node::default() })
}

pub(crate) fn sotw(names: &str, nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        node: node("sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local"),
        resource_names: names.split_whitespace().map(str::to_owned).collect(),
        response_nonce: nonce.to_owned(),
        ..DiscoveryRequest::default()
    }
}

pub(crate) fn delta(names: &str, nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node("sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local"),
        resource_names_subscribe: names.split_whitespace().map(str::to_owned).collect(),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

pub(crate) fn unpack(response: &DiscoveryResponse) -> Vec<Secret> {
    response.resources.iter().map(|any| Secret::decode(any.value.as_slice()).unwrap()).collect()
}

pub(crate) fn unpack_delta(response: &DeltaDiscoveryResponse) -> Vec<Secret> {
    let secret = |any: &hawser_proto::envoy::google::protobuf::Any| {
        Secret::decode(any.value.as_slice()).unwrap()
    };
    response.resources.iter().map(|resource| secret(resource.resource.as_ref().unwrap())).collect()
}

pub(crate) fn names(secrets: &[Secret]) -> Vec<&str> {
    secrets.iter().map(|secret| secret.name.as_str()).collect()
}

fn pair(secret: &Secret) -> &TlsCertificate {
    match secret.r#type.as_ref().unwrap() {
        secret::Type::TlsCertificate(pair) => pair,
        other => panic!("no pair: {other:?}"),
    }
}

fn context(secret: &Secret) -> &CertificateValidationContext {
    match secret.r#type.as_ref().unwrap() {
        secret::Type::ValidationContext(context) => context,
        other => panic!("no roots: {other:?}"),
    }
}

pub(crate) fn chain(secret: &Secret) -> Vec<u8> {
    bytes(pair(secret).certificate_chain.as_ref())
}

pub(crate) fn key(secret: &Secret) -> Vec<u8> {
    bytes(pair(secret).private_key.as_ref())
}

pub(crate) fn roots(secret: &Secret) -> Vec<u8> {
    bytes(context(secret).trusted_ca.as_ref())
}

pub(crate) fn crl(secret: &Secret) -> Option<Vec<u8>> {
    let crl = context(secret).crl.as_ref();
    crl.map(|crl| bytes(Some(crl)))
}

fn bytes(source: Option<&DataSource>) -> Vec<u8> {
    match source.unwrap().specifier.as_ref().unwrap() {
        Specifier::InlineBytes(bytes) => bytes.clone(),
        other => panic!("not inline: {other:?}"),
    }
}
