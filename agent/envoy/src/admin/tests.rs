//! The client against a server of a few lines that says what it is told to say.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Answers one request with `answer`; gives the request's first line.
async fn answering(answer: Vec<u8>) -> (Admin, impl Future<Output = String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = Admin::new(listener.local_addr().unwrap());
    let served = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // The client may have hung up on an answer that is too long.
        stream.write_all(&answer).await.ok();
        String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
    };
    (admin, served)
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn ready_tells_the_state_with_any_status() {
    let cases = [
        ("200 OK", "LIVE\n", ServerState::Live),
        ("503 Service Unavailable", "PRE_INITIALIZING\n", ServerState::PreInitializing),
        ("503 Service Unavailable", "INITIALIZING\n", ServerState::Initializing),
        ("503 Service Unavailable", "DRAINING\n", ServerState::Draining),
    ];

    for (status, body, expected) in cases {
        let (admin, served) = answering(answer(status, body)).await;
        let (state, request) = tokio::join!(admin.ready(), served);
        assert_eq!(state.unwrap(), expected);
        assert_eq!(request, "GET /ready HTTP/1.1");
    }
}

#[tokio::test]
async fn server_info_is_version_and_state() {
    let body = r#"{"version": "abc/1.40.0/Clean/RELEASE/BoringSSL", "state": "LIVE", "more": {}}"#;
    let (admin, served) = answering(answer("200 OK", body)).await;

    let (info, _) = tokio::join!(admin.server_info(), served);

    let version = "abc/1.40.0/Clean/RELEASE/BoringSSL".to_owned();
    assert_eq!(info.unwrap(), ServerInfo { version, state: ServerState::Live });
}

#[tokio::test]
async fn readiness_asks_for_the_statistics_it_judges_by() {
    let (admin, served) = answering(answer("200 OK", "server.state: 0\n")).await;

    let (verdict, request) = tokio::join!(admin.readiness(), served);

    assert!(matches!(verdict.unwrap(), Verdict::NotReady(_)));
    assert_eq!(
        request,
        "GET /stats?usedonly&filter=%5E%28cluster_manager%5C.cds%7Clistener_manager%5C.lds%29%5C.\
         %28update_success%7Cupdate_rejected%29%24%7C%5E%28server%5C.state%7Clistener_manager%5C.\
         workers_started%29%24 HTTP/1.1"
    );
}

#[tokio::test]
async fn drain_is_a_graceful_post() {
    let (admin, served) = answering(answer("200 OK", "OK\n")).await;

    let (drained, request) = tokio::join!(admin.drain(), served);

    drained.unwrap();
    assert_eq!(request, "POST /drain_listeners?graceful HTTP/1.1");
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let (admin, served) = answering(b"HTTP/1.1 200 OK\r\n\r\n{\"certificates\": []}".into()).await;

    let (certs, _) = tokio::join!(admin.certs(), served);

    assert_eq!(certs.unwrap(), serde_json::json!({"certificates": []}));
}

#[tokio::test]
async fn a_bad_answer_is_an_error_that_names_the_question() {
    let cases = [
        (answer("404 Not Found", "no"), "Envoy answered 404 at http://"),
        (answer("200 OK", "no json"), "unreadable answer of Envoy at http://"),
        (b"garbage\r\n\r\n".to_vec(), "ask Envoy at http://"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec(), "ask Envoy at http://"),
        (answer("200 OK", &" ".repeat(MAX_ANSWER + 1)), "ask Envoy at http://"),
    ];

    for (answer, expected) in cases {
        let (admin, served) = answering(answer).await;
        let (certs, _) = tokio::join!(admin.certs(), served);
        let error = certs.unwrap_err().to_string();
        assert!(error.starts_with(expected) && error.contains("/certs"), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_that_names_the_address() {
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = nobody.local_addr().unwrap();

    let error = Admin::new(address).ready().await.unwrap_err();

    assert_eq!(error.to_string(), format!("connect to Envoy's admin interface at {address}"));
}

#[tokio::test]
async fn a_hung_envoy_costs_no_more_than_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limit = Duration::from_millis(10);
    let admin = Admin::new(listener.local_addr().unwrap()).with_limit(limit);

    let error = admin.ready().await.unwrap_err();

    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}
