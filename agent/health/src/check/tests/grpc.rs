//! gRPC servers that say how they are.

use std::convert::Infallible;

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;

use super::*;
use crate::{
    Grpc,
    check::grpc::{HealthAnswer, HealthQuestion},
};

/// A server that gives one answer: a message, or the code of a status. What it was asked comes out
/// of the channel: source, program and service.
async fn server(
    answer: Result<i32, i32>,
) -> (u16, mpsc::Receiver<(SocketAddr, String, String)>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = mpsc::channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, from) = listener.accept().await.unwrap();
            let tell = tell.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let tell = tell.clone();
                async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let program = request.headers()["user-agent"].to_str().unwrap().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let question = HealthQuestion::decode(&body[5..]).unwrap();
                    tell.send((from, program, question.service)).await.unwrap();
                    Ok::<_, Infallible>(response(answer))
                }
            });
            let server = http2::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        }
    });
    (port, asked, tasks)
}

fn response(
    answer: Result<i32, i32>,
) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>> {
    let mut frame = Vec::new();
    if let Ok(status) = answer {
        let message = HealthAnswer { status }.encode_to_vec();
        frame = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], &*message].concat();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", answer.err().unwrap_or_default().into());
    trailers.insert("grpc-message", "in%20words".parse().unwrap());
    let body = Full::new(Bytes::from(frame));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn at(port: u16, service: &str) -> Method {
    Method::Grpc(Grpc { port, service: service.to_owned() })
}

#[tokio::test]
async fn a_server_that_serves_is_well() {
    let (port, mut asked, _tasks) = server(Ok(1)).await;

    assert_eq!(ask(at(port, "")).await, Ok(()));
    assert_eq!(ask(at(port, "shop.Cart")).await, Ok(()));

    for expected in ["", "shop.Cart"] {
        let (from, program, service) = asked.recv().await.unwrap();
        assert_eq!(from.ip().to_string(), "127.0.0.6", "interception lets it alone");
        assert!(program.starts_with("istio-probe/1.0"), "{program}");
        assert_eq!(service, expected);
    }
}

#[tokio::test]
async fn a_server_that_does_not_serve_is_not_and_the_reason_is_what_it_says() {
    let cases = [
        (Ok(2), "", "answers NOT_SERVING"),
        (Ok(0), "", "answers UNKNOWN"),
        (Ok(3), "shop.Cart", r#"answers SERVICE_UNKNOWN for "shop.Cart""#),
        (Ok(77), "", "answers 77"),
        (Ok(-1), "", "answers -1"),
        (Err(5), "shop.Cart", r#"answers NOT_FOUND for "shop.Cart""#),
        (Err(12), "", "does not speak grpc.health.v1.Health"),
        (Err(14), "", "answers Unavailable: in words"),
    ];
    for (answer, service, expected) in cases {
        let (port, _asked, _tasks) = server(answer).await;
        let reason = ask(at(port, service)).await.unwrap_err();
        assert_eq!(reason, format!("127.0.0.1:{port} {expected}"));
    }
}

#[tokio::test]
async fn what_is_no_grpc_server_is_not_well() {
    let (_taken, nobody) = nobody();
    let reason = ask(at(nobody.port(), "")).await.unwrap_err();
    assert!(reason.starts_with(&format!("cannot connect to {nobody}: ")), "{reason}");

    let page = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned();
    let workload = Workload::says(vec![page]).await;
    let reason = ask(at(workload.address.port(), "")).await.unwrap_err();
    assert!(reason.starts_with(&workload.address.to_string()), "{reason}");
}
