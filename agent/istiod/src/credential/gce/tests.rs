//! Metadata servers of one answer.

use hawser_rt::Chain;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Asks a server that gives `reply`; what it was asked, and what came of it.
async fn exchanged(reply: &[u8]) -> (String, Result<String, String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metadata = listener.local_addr().unwrap().to_string();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // Whoever has read enough hangs up.
        stream.write_all(reply).await.ok();
        String::from_utf8(request).unwrap()
    };
    let (request, answer) = tokio::join!(serve, ask(&metadata, "a b/ü"));
    let answer = answer.map(|token| token.to_string());
    (request, answer.map_err(|error| Chain(&error).to_string()))
}

#[tokio::test]
async fn the_token_is_asked_for_as_the_metadata_server_wants_it() {
    let reply = b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Length: 6\r\n\r\na.b.c\n";
    let (request, answer) = exchanged(reply).await;

    assert_eq!(answer.unwrap(), "a.b.c");
    let mut lines = request.split("\r\n");
    let expected = "GET /computeMetadata/v1/instance/service-accounts/default/identity\
                    ?audience=a%20b%2F%C3%BC&format=full HTTP/1.1";
    assert_eq!(lines.next(), Some(expected));
    assert!(lines.any(|line| line.eq_ignore_ascii_case("metadata-flavor: google")), "{request}");
}

#[tokio::test]
async fn a_body_comes_in_chunks_or_until_the_end_as_well() {
    let chunked =
        b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\na.b\r\n2\r\n.c\r\n0\r\n\r\n";
    assert_eq!(exchanged(chunked).await.1.unwrap(), "a.b.c");
    let to_the_end = b"HTTP/1.0 200 OK\r\nMetadata-Flavor: Google\r\n\r\na.b.c";
    assert_eq!(exchanged(to_the_end).await.1.unwrap(), "a.b.c");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_no_answer() {
    let cut = b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Length: 60\r\n\r\na.b.c";
    let text = exchanged(cut).await.1.unwrap_err();
    assert!(text.starts_with("ask the metadata server 127.0.0.1:"), "{text}");
    let text = exchanged(b"SSH-2.0-x\r\n").await.1.unwrap_err();
    assert!(text.contains("is this machine on Google Compute Engine?"), "{text}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused() {
    let mut long = b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\n\r\n".to_vec();
    long.extend([b'a'; 70_000]);
    let text = exchanged(&long).await.1.unwrap_err();
    assert!(text.contains("length limit exceeded"), "{text}");
}

#[tokio::test]
async fn nobody_at_that_address_is_an_error() {
    let error = ask("127.9.9.9:1", "x").await.unwrap_err();
    assert!(Chain(&error).to_string().contains("Connection refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_given_three_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metadata = listener.local_addr().unwrap().to_string();
    let error = ask(&metadata, "x").await.unwrap_err();
    assert!(error.to_string().ends_with("gave no answer within 3 s"), "{error}");
}

#[test]
fn an_answer_is_judged_by_header_status_and_body() {
    let table = [
        (200, Some("Google"), &b" a.b.c\r\n"[..], Ok("a.b.c")),
        (200, None, b"a.b.c", Err("m:80 is no metadata server")),
        (200, Some("Amazon"), b"a.b.c", Err("m:80 is no metadata server")),
        (404, Some("Google"), b"", Err("the metadata server m:80 answered with status 404")),
        (200, Some("Google"), b"", Err("the metadata server m:80 answered with no token in it")),
        (200, Some("Google"), b"<html> </html>", Err("it holds characters that no token has")),
        (200, Some("Google"), b"\xff", Err("it holds characters")),
    ];
    for (status, flavour, body, expected) in table {
        let flavour = flavour.map(|flavour| flavour.as_bytes().to_vec());
        let answer = Answer { status, flavour, body: Zeroizing::new(body.to_vec()) };
        match (answered("m:80", &answer), expected) {
            (Ok(token), Ok(expected)) => assert_eq!(token.as_str(), expected),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().starts_with(expected), "{error}");
            }
            (outcome, _) => panic!("{outcome:?}"),
        }
    }
    let answer = Answer { status: 200, flavour: None, body: Zeroizing::new(b"secret".to_vec()) };
    assert!(!format!("{answer:?}").contains("secret"));
}
