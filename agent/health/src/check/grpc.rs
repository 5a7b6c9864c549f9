//! A gRPC server that has to say that it serves.

use std::io;

use hawser_rt::Chain;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tonic::{Code, Request, Status, client::Grpc as Client, transport::Endpoint};
use tonic_prost::ProstCodec;

use super::{AGENT, connect::Target};
use crate::Grpc;

pub(super) async fn check(grpc: &Grpc, target: &Target) -> Result<(), String> {
    let answer = ask(grpc, target).await?;
    match answer.map(|answer| answer.status) {
        Ok(SERVING) => Ok(()),
        Ok(status) => Err(format!("{target} answers {}{}", name(status), about(grpc))),
        Err(status) => Err(match status.code() {
            Code::Unimplemented => format!("{target} does not speak grpc.health.v1.Health"),
            Code::NotFound => format!("{target} answers NOT_FOUND{}", about(grpc)),
            code => format!("{target} answers {code:?}: {}", status.message()),
        }),
    }
}

/// The answer, or the status that came instead.
async fn ask(grpc: &Grpc, target: &Target) -> Result<Result<HealthAnswer, Status>, String> {
    let failed = |error: tonic::transport::Error| format!("{target}: {}", Chain(&error));
    let endpoint = Endpoint::from_shared(format!("http://{target}")).map_err(failed)?;
    let endpoint = endpoint.user_agent(AGENT).map_err(failed)?;
    let mut stream = Some(target.connect().await?);
    let connect = tower::service_fn(move |_uri| {
        let stream = stream.take().map(TokioIo::new);
        async { stream.ok_or_else(|| io::Error::other("the connection has ended")) }
    });
    let channel = endpoint.connect_with_connector(connect).await.map_err(failed)?;
    let mut client = Client::new(channel).max_decoding_message_size(MOST_ANSWER);
    client.ready().await.map_err(failed)?;
    let question = Request::new(HealthQuestion { service: grpc.service.clone() });
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<HealthQuestion, HealthAnswer>::default();
    let answer = client.unary(question, path, codec).await;
    Ok(answer.map(tonic::Response::into_inner))
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthQuestion {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthAnswer {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

fn name(status: i32) -> String {
    let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
    let name = usize::try_from(status).ok().and_then(|status| names.get(status));
    name.map_or_else(|| status.to_string(), |name| (*name).to_owned())
}

/// Which service is meant, if it is one.
fn about(grpc: &Grpc) -> String {
    if grpc.service.is_empty() { String::new() } else { format!(" for {:?}", grpc.service) }
}

const SERVING: i32 = 1;
const MOST_ANSWER: usize = 64 << 10;
