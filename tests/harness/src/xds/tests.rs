//! The client against a server that says what it is told to.

use std::convert::Infallible;

use bytes::BufMut as _;
use hawser_proto::{
    envoy::envoy::{config::cluster::v3::Cluster, service::discovery::v3::DiscoveryResponse},
    envoy::google::protobuf::Any,
    type_url::CLUSTER,
};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{DuplexStream, duplex};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::*;

const ROUNDS: usize = 64;

/// A response with one cluster, in its gRPC frame.
fn response(nonce: usize) -> Bytes {
    let value = Cluster { name: "a".to_owned(), ..Cluster::default() }.encode_to_vec();
    let response = DiscoveryResponse {
        type_url: CLUSTER.to_owned(),
        nonce: nonce.to_string(),
        resources: vec![Any { type_url: CLUSTER.to_owned(), value }],
        ..DiscoveryResponse::default()
    };
    let mut frame = vec![0];
    frame.put_u32(u32::try_from(response.encoded_len()).unwrap());
    frame.extend(response.encode_to_vec());
    frame.into()
}

/// Serves one stream, on which this is said.
async fn serve(socket: DuplexStream, said: mpsc::Receiver<Bytes>) {
    let said = Mutex::new(Some(said));
    let service = service_fn(|_: Request<Incoming>| {
        let said = said.lock().take().unwrap();
        let frames = ReceiverStream::new(said).map(|it| Ok::<_, Infallible>(Frame::data(it)));
        std::future::ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames))))
    });
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service);
    // It ends with the client.
    connection.await.ok();
}

/// It rests while both come, so both are there when it looks.
#[tokio::test(start_paused = true)]
async fn what_it_is_told_before_a_response_comes_is_how_it_answers_that_response() {
    let (near, far) = duplex(1 << 16);
    let (say, said) = mpsc::channel(1);
    let mut server = JoinSet::new();
    server.spawn(serve(far, said));
    let client = XdsClient::on(near, Options::grpc()).await.unwrap();
    client.pace(Some(Pace { bytes: 1, pause: Duration::from_millis(1) })).unwrap();
    for round in 0..ROUNDS {
        let answer = if round % 2 == 0 { Answer::Judge } else { Answer::Nack("no".to_owned()) };
        client.answers(CLUSTER, answer).unwrap();
        say.send(response(round)).await.unwrap();
        let held = client.until("it", |held| held.responses(CLUSTER) > round).await.unwrap();
        assert_eq!(held.types[CLUSTER].refused, round.div_ceil(2), "after round {round}");
    }
}
