//! A gRPC service of the mesh, `shop.Cart`, with what is needed to call it and to transcode to it.
//!
//! ```proto
//! package shop;
//! message Wanted { string item = 1; }
//! message Found  { string item = 1; string caller = 2; string workload = 3; }
//! service Cart {
//!   rpc Find(Wanted) returns (Found) { option (google.api.http) = { get: "/v1/carts/{item}" }; }
//! }
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context as Turn, Poll};

use anyhow::{Context, Result};
use hawser_proto::envoy::google::protobuf::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MethodDescriptorProto,
    field_descriptor_proto,
};
use http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::server::{NamedService, UnaryService};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::programs::{WORKLOAD, caller, text};

/// The name of the service.
pub const SERVICE: &str = "shop.Cart";
/// The path of its only method.
pub const METHOD: &str = "/shop.Cart/Find";
/// An item for which there is an error, `NOT_FOUND`.
pub const NOTHING: &str = "nothing";

/// What is looked for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Wanted {
    /// Its name.
    #[prost(string, tag = "1")]
    pub item: String,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Found {
    /// Its name.
    #[prost(string, tag = "1")]
    pub item: String,
    /// The SPIFFE id of who has asked.
    #[prost(string, tag = "2")]
    pub caller: String,
    /// The SPIFFE id of who has answered.
    #[prost(string, tag = "3")]
    pub workload: String,
}

/// Asks, in plaintext, whoever listens there for a host.
///
/// # Errors
/// When there is no connection, or the answer is an error.
pub async fn find(at: SocketAddr, host: &str, item: &str) -> Result<Found> {
    let endpoint = Endpoint::from_shared(format!("http://{at}")).context("read an address")?;
    let endpoint = endpoint.origin(format!("http://{host}").parse().context("read a host")?);
    let endpoint = endpoint.timeout(std::time::Duration::from_secs(10));
    let channel = endpoint.connect().await.with_context(|| format!("connect to {at}"))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.context("wait for the connection")?;
    let wanted = Request::new(Wanted { item: item.to_owned() });
    let path = PathAndQuery::from_static(METHOD);
    let codec = ProstCodec::<Wanted, Found>::default();
    Ok(client.unary(wanted, path, codec).await.context("call Find")?.into_inner())
}

/// Its `FileDescriptorSet`, as `protoc --descriptor_set_out` writes it.
#[must_use]
pub fn descriptor() -> Vec<u8> {
    let field = |name: &str, number| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(field_descriptor_proto::Label::Optional.into()),
        r#type: Some(field_descriptor_proto::Type::String.into()),
        json_name: Some(name.to_owned()),
        ..FieldDescriptorProto::default()
    };
    let message = |name: &str, fields: &[&str]| DescriptorProto {
        name: Some(name.to_owned()),
        field: fields.iter().zip(1..).map(|(name, number)| field(name, number)).collect(),
        ..DescriptorProto::default()
    };
    let method = MethodDescriptorProto {
        name: Some("Find".to_owned()),
        input_type: Some(".shop.Wanted".to_owned()),
        output_type: Some(".shop.Found".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("shop.proto".to_owned()),
        package: Some("shop".to_owned()),
        message_type: vec![
            message("Wanted", &["item"]),
            message("Found", &["item", "caller", "workload"]),
        ],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    // The options have an extension, which the generated types cannot hold: `google.api.http`.
    let rule = octets(2, b"/v1/carts/{item}");
    let options = octets(4, &octets(HTTP_RULE, &rule));
    let method = octets(2, &[method.encode_to_vec(), options].concat());
    let service = octets(6, &[octets(1, b"Cart"), method].concat());
    octets(1, &[file.encode_to_vec(), service].concat())
}

/// Serves on a listener, without end.
pub(super) async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(async move {
            let service = TowerToHyperService::new(Cart);
            let server = auto::Builder::new(TokioExecutor::new()).http2_only();
            // How a connection ends is the client's business.
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

#[derive(Debug, Clone, Copy)]
struct Cart;

impl NamedService for Cart {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<hyper::body::Incoming>> for Cart {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Turn<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut server = tonic::server::Grpc::new(ProstCodec::<Found, Wanted>::default());
            Ok(server.unary(Find, request).await)
        })
    }
}

struct Find;

impl UnaryService<Wanted> for Find {
    type Response = Found;
    type Future = std::future::Ready<Result<Response<Found>, Status>>;

    fn call(&mut self, request: Request<Wanted>) -> Self::Future {
        let headers = request.metadata().clone().into_headers();
        let item = request.into_inner().item;
        if item == NOTHING {
            return std::future::ready(Err(Status::not_found("there is no such item")));
        }
        let (caller, workload) = (caller(&headers), text(&headers, WORKLOAD));
        std::future::ready(Ok(Response::new(Found { item, caller, workload })))
    }
}

/// A field of octets in protobuf.
fn octets(number: u32, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut field);
    prost::encoding::encode_varint(value.len().try_into().unwrap_or_default(), &mut field);
    field.extend_from_slice(value);
    field
}

/// `google.api.http` among the options of a method.
const HTTP_RULE: u32 = 72_295_728;
