//! A client of istiod, as simple as can be.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use hawser_harness::ca::{Certified, Shape, TestCa};
use hawser_harness::istiod::{FakeIstiod, SERVER_NAME};
use hawser_harness::token::TokenSigner;
use hawser_harness::wait::PATIENCE;
use hawser_proto::envoy::envoy::config::core::v3::Node;
use hawser_proto::envoy::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use hawser_proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use hawser_proto::envoy::google::protobuf::{ListValue, Struct, Value, value::Kind};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status, Streaming};
use tower::service_fn;

pub(crate) async fn istiod() -> FakeIstiod {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    FakeIstiod::start(&ca, &TokenSigner::new().unwrap()).await.unwrap()
}

/// A connection with TLS, with or without a certificate.
pub(crate) async fn dial(istiod: &FakeIstiod, own: Option<&Certified>) -> Result<Channel> {
    let (provider, time) = (aws_lc_rs::default_provider(), istiod.ca().time().clone());
    let builder = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(time))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(istiod.ca().roots()?);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes())?;
            builder.with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, addr) = (TlsConnector::from(Arc::new(config)), istiod.addr());
    let connect = service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(addr).await?;
            let stream = connector.connect(ServerName::try_from(SERVER_NAME)?, stream).await?;
            anyhow::Ok(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://istiod");
    timeout(PATIENCE, endpoint.connect_with_connector(connect)).await?.context("dial")
}

pub(crate) async fn dial_plaintext(addr: SocketAddr) -> Result<Channel> {
    Ok(Endpoint::new(format!("http://{addr}"))?.connect().await?)
}

pub(crate) fn token(istiod: &FakeIstiod, namespace: &str, account: &str) -> String {
    istiod.tokens().mint(&istiod.tokens().claims(namespace, account)).unwrap()
}

pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request.metadata_mut().insert("clusterid", "Kubernetes".parse().unwrap());
    request
}

/// A sidecar's node; `metadata` comes on top and wins.
pub(crate) fn node(metadata: &serde_json::Value) -> Node {
    let mut all = json!({
        "NAMESPACE": "vms", "SERVICE_ACCOUNT": "web", "INSTANCE_IPS": "10.0.0.9", "NAME": "vm-1",
        "CLUSTER_ID": "Kubernetes", "DNS_CAPTURE": "true", "ENVOY_STATUS_PORT": 15021,
    });
    for (key, value) in metadata.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    let Some(Kind::StructValue(metadata)) = to_value(&all).kind else { panic!("{all}") };
    Node {
        id: "sidecar~10.0.0.9~vm-1.vms~vms.svc.cluster.local".to_owned(),
        metadata: Some(metadata),
        ..Node::default()
    }
}

fn to_value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap()),
        Json::String(value) => Kind::StringValue(value.clone()),
        Json::Array(list) => {
            Kind::ListValue(ListValue { values: list.iter().map(to_value).collect() })
        }
        Json::Object(map) => {
            let fields = map.iter().map(|(key, value)| (key.clone(), to_value(value))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}

/// A stream in state-of-the-world form.
pub(crate) struct Sotw {
    pub(crate) asks: mpsc::Sender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
}

impl Sotw {
    /// Opens the stream; `first` brings the node.
    pub(crate) async fn open(
        channel: Channel,
        token: &str,
        first: DiscoveryRequest,
    ) -> Result<Self, Status> {
        let (asks, requests) = mpsc::channel(16);
        asks.send(first).await.unwrap();
        let request = with_token(ReceiverStream::new(requests), token);
        let mut client = client(channel);
        let answers = client.stream_aggregated_resources(request).await?.into_inner();
        Ok(Self { asks, answers })
    }

    pub(crate) async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        let next = timeout(PATIENCE, self.answers.message()).await.expect("a response in time");
        next?.ok_or_else(|| Status::ok("end"))
    }

    /// Sends an ACK, or a NACK with a message.
    pub(crate) async fn answer(&self, response: &DiscoveryResponse, refusal: Option<&str>) {
        use hawser_proto::envoy::google::rpc::Status as Detail;
        let detail = |text: &str| Detail { code: 13, message: text.to_owned(), details: vec![] };
        let ask = DiscoveryRequest {
            type_url: response.type_url.clone(),
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: refusal.map(detail),
            ..DiscoveryRequest::default()
        };
        self.asks.send(ask).await.unwrap();
    }
}

/// A stream in delta form.
pub(crate) struct Delta {
    pub(crate) asks: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
}

impl Delta {
    pub(crate) async fn open(
        channel: Channel,
        token: &str,
        first: DeltaDiscoveryRequest,
    ) -> Result<Self, Status> {
        let (asks, requests) = mpsc::channel(16);
        asks.send(first).await.unwrap();
        let request = with_token(ReceiverStream::new(requests), token);
        let mut client = client(channel);
        let answers = client.delta_aggregated_resources(request).await?.into_inner();
        Ok(Self { asks, answers })
    }

    pub(crate) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let next = timeout(PATIENCE, self.answers.message()).await.expect("a response in time");
        next?.ok_or_else(|| Status::ok("end"))
    }
}

fn client(channel: Channel) -> AggregatedDiscoveryServiceClient<Channel> {
    AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(usize::MAX)
}

pub(crate) fn first(type_url: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        node: Some(node(&json!({}))),
        type_url: type_url.to_owned(),
        ..DiscoveryRequest::default()
    }
}

pub(crate) fn first_delta(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node(&json!({}))),
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}
