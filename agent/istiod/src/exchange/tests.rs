//! Streams against a far end whose every frame the test decides.

use std::error::Error as _;

use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::tests::{
    far::{Call, Far, Frames, data, plain, trailers},
    mesh::{Answer, Server},
};

const PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/Delta";

/// What a call comes to when the far end answers so.
async fn answered(answer: impl FnOnce(Call) -> Option<Frames>) -> Result<Exchange, Status> {
    let mut far = Far::start().await;
    let connection = far.connection().await;
    let silent = tokio_stream::pending();
    let (exchange, _frames) =
        tokio::join!(connection.exchange(PathAndQuery::from_static(PATH), silent), async {
            answer(far.call().await)
        });
    exchange
}

/// A stream that the far end has begun to answer.
async fn begun() -> (Far, Frames, Exchange) {
    let mut far = Far::start().await;
    let connection = far.connection().await;
    let silent = tokio_stream::pending();
    let (exchange, frames) =
        tokio::join!(connection.exchange(PathAndQuery::from_static(PATH), silent), async {
            far.call().await.begin()
        });
    (far, frames, exchange.unwrap())
}

#[tokio::test]
async fn requests_go_out_framed_and_with_what_every_call_carries() {
    let mut far = Far::start().await;
    let connection = far.connection().await;
    let messages = tokio_stream::iter(["first", "", "third"].map(Bytes::from));
    let opening = connection.exchange(PathAndQuery::from_static(PATH), messages);

    let (_exchange, (parts, body)) = tokio::join!(opening, async {
        let mut call = far.call().await;
        let body = call.request.body_mut().take().unwrap().collect().await.unwrap().to_bytes();
        let parts = std::mem::take(call.request.headers_mut());
        let target = call.request.uri().clone();
        drop(call.begin());
        ((parts, target), body)
    });

    assert_eq!(&body[..], b"\0\0\0\0\x05first\0\0\0\0\0\0\0\0\0\x05third");
    let (headers, target) = parts;
    assert_eq!(target.to_string(), format!("http://{}{PATH}", far.address));
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("clusterid", "Kubernetes"),
        ("user-agent", concat!("hawser/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(headers.get(name).unwrap(), value, "{name}");
    }
}

#[tokio::test]
async fn pieces_come_as_they_are_sent_and_the_end_is_told_again_and_again() {
    let (_far, frames, mut exchange) = begun().await;

    // The beginning of a message, long before its end.
    data(&frames, b"\0\0\x10\0\0begin").await;
    assert_eq!(exchange.chunk().await.unwrap().unwrap(), "\0\0\x10\0\0begin");
    data(&frames, b"").await;
    data(&frames, b"more").await;
    assert_eq!(exchange.chunk().await.unwrap().unwrap(), "more");
    trailers(&frames, &[("grpc-status", "0")]).await;
    for _ in 0..3 {
        assert_eq!(exchange.chunk().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_status_in_the_trailers_is_what_istiod_has_said() {
    let table = [
        ("7", Some("no%20right%2C%0Anone"), Code::PermissionDenied, "no right,\nnone"),
        ("16", None, Code::Unauthenticated, ""),
        ("14", Some("100% plain"), Code::Unavailable, "100% plain"),
        ("99", Some("x"), Code::Unknown, "x"),
        ("nonsense", None, Code::Unknown, ""),
    ];
    for (code, message, expected, text) in table {
        let (_far, frames, mut exchange) = begun().await;
        data(&frames, b"data").await;
        let message = message.map(|message| ("grpc-message", message));
        let said: Vec<_> = [("grpc-status", code)].into_iter().chain(message).collect();
        trailers(&frames, &said).await;

        assert_eq!(exchange.chunk().await.unwrap().unwrap(), "data");
        let status = exchange.chunk().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (expected, text));
        assert!(status.source().is_none(), "{status:?}");
        assert_eq!(exchange.chunk().await.unwrap(), None, "told once");
    }
}

#[tokio::test]
async fn what_is_here_is_had_without_waiting_and_the_end_is_left_to_be_told() {
    let (_far, frames, mut exchange) = begun().await;
    assert_eq!(exchange.more(), None);
    data(&frames, b"data").await;
    let here = loop {
        match exchange.more() {
            Some(here) => break here,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(here, "data");
    trailers(&frames, &[("grpc-status", "7")]).await;
    while !exchange.over {
        assert_eq!(exchange.more(), None);
        tokio::task::yield_now().await;
    }
    assert_eq!(exchange.more(), None, "not told to who does not ask");
    assert_eq!(exchange.chunk().await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(exchange.chunk().await.unwrap(), None, "told once");
}

#[tokio::test]
async fn a_status_that_comes_at_once_is_no_stream() {
    let refused = answered(|call| {
        let said = [("grpc-status", "16"), ("grpc-message", "who%20are%20you")];
        drop(call.answer(200, &said));
        None
    });
    let status = refused.await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "who are you"));
    assert!(status.source().is_none());

    let done = answered(|call| {
        drop(call.answer(200, &[("grpc-status", "0")]));
        None
    });
    assert_eq!(done.await.unwrap().chunk().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_answer_of_grpc_is_told_by_its_http_status_or_content_type() {
    let table = [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
    ];
    for (http, expected) in table {
        let status = answered(|call| Some(call.answer(http, &[]))).await.unwrap_err();
        assert_eq!(status.code(), expected, "{http}");
        assert!(status.message().contains(&http.to_string()), "{}", status.message());
        assert!(status.source().is_none());
    }
    // gRPC's own word counts for more.
    let both = answered(|call| Some(call.answer(503, &[("grpc-status", "7")])));
    assert_eq!(both.await.unwrap_err().code(), Code::PermissionDenied);

    for (kind, shown) in [("text/html", "\"text/html\""), ("", "\"\"")] {
        let status = answered(|call| Some(call.answer(200, &[("content-type", kind)])));
        let status = status.await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        assert!(status.message().contains(shown), "{}", status.message());
    }
}

#[tokio::test]
async fn an_end_without_a_status_is_no_word_of_istiods() {
    let (_far, frames, mut exchange) = begun().await;
    data(&frames, b"data").await;
    drop(frames);

    assert_eq!(exchange.chunk().await.unwrap().unwrap(), "data");
    let status = exchange.chunk().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the stream ended without a status");
    assert!(status.source().is_some());
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_with_its_cause() {
    let (mut far, frames, mut exchange) = begun().await;
    data(&frames, b"\0\0\0\0\x09half").await;
    assert!(exchange.chunk().await.unwrap().is_some());

    far.cut().await;

    let status = exchange.chunk().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.source().is_some(), "{status:?}");
    let connection = exchange._connection.clone();
    let silent = tokio_stream::pending();
    let again = connection.exchange(PathAndQuery::from_static(PATH), silent).await.unwrap_err();
    assert!(again.source().is_some(), "and it does not come back: {again:?}");
}

#[tokio::test]
async fn a_stream_that_is_reset_is_told_with_its_cause() {
    let (_far, frames, mut exchange) = begun().await;
    frames.send(Err(io::Error::other("reset"))).await.unwrap();

    let status = exchange.chunk().await.unwrap_err();
    assert!(status.source().is_some(), "{status:?}");
}

#[tokio::test]
async fn a_far_end_that_is_silent_for_good_is_given_up() {
    let silent = Server::start_plain(Answer::Settings).await;
    let connection = plain(silent.address).connect().await.unwrap();

    // From here on time passes as fast as nobody does anything.
    tokio::time::pause();
    let requests = tokio_stream::pending();
    let status = connection.exchange(PathAndQuery::from_static(PATH), requests).await.unwrap_err();

    assert_eq!(status.code(), Code::Unavailable);
    let cause = status.source().unwrap().source().map(ToString::to_string);
    assert!(cause.is_some_and(|cause| cause.contains("keep-alive")), "{status:?}");
}

#[tokio::test]
async fn what_is_not_taken_holds_the_far_end_up() {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 256;
    // Our window, and what the far end's own HTTP/2 takes off its hands.
    const MOST_AHEAD: usize = (1 << 20) + (512 << 10) + 2 * PIECE;
    let (_far, frames, mut exchange) = begun().await;
    let (count, mut sent) = mpsc::channel(PIECES);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        for _ in 0..PIECES {
            let piece = Bytes::from(vec![0; PIECE]);
            frames.send(Ok(Frame::data(piece))).await.unwrap();
            count.send(()).await.unwrap();
        }
        trailers(&frames, &[("grpc-status", "0")]).await;
    });

    let (mut given, mut taken) = (0, 0);
    while let Some(chunk) = exchange.chunk().await.unwrap() {
        while sent.try_recv().is_ok() {
            given += PIECE;
        }
        assert!(given - taken.min(given) <= MOST_AHEAD, "{given} sent, {taken} taken");
        taken += chunk.len();
        // The far end has every chance to run ahead.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(taken, PIECE * PIECES);
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_cancelled() {
    let (far, frames, exchange) = begun().await;
    drop(exchange);
    frames.closed().await;
    drop(far);
}

#[tokio::test]
async fn requests_that_end_leave_the_answer_open() {
    let mut far = Far::start().await;
    let connection = far.connection().await;
    let (requests, outgoing) = mpsc::channel(1);
    let opening =
        connection.exchange(PathAndQuery::from_static(PATH), ReceiverStream::new(outgoing));
    let (exchange, (mut body, frames)) = tokio::join!(opening, async {
        let mut call = far.call().await;
        (call.request.body_mut().take().unwrap(), call.begin())
    });
    let mut exchange = exchange.unwrap();
    requests.send(Bytes::from_static(b"x")).await.unwrap();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "\0\0\0\0\x01x");
    drop(requests);
    assert!(body.collect().await.unwrap().to_bytes().is_empty());

    data(&frames, b"yet").await;
    assert_eq!(exchange.chunk().await.unwrap().unwrap(), "yet");
}
