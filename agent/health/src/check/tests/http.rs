//! Pages, in clear text and not.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, uri::PathAndQuery};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{Http, Scheme};

fn page(address: SocketAddr, path: &str) -> Http {
    Http {
        scheme: Scheme::Http,
        host: Some(address.ip().to_string()),
        port: address.port(),
        path: PathAndQuery::try_from(path).unwrap(),
        headers: HeaderMap::new(),
    }
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n")
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn a_page_is_well_with_a_status_of_success_or_redirection() {
    for line in ["200 OK", "204 No Content", "299 x", "301 x", "304 Not Modified", "399 x"] {
        let workload = Workload::says(vec![status(line)]).await;
        assert_eq!(ask(Method::Http(page(workload.address, "/"))).await, Ok(()), "{line}");
    }
    for code in ["400", "404", "503", "600"] {
        let workload = Workload::says(vec![status(&format!("{code} x"))]).await;
        let reason = ask(Method::Http(page(workload.address, "/a?token=s"))).await.unwrap_err();
        let expected = format!("http://{}/a answers {code}", workload.address);
        assert!(reason.starts_with(&expected), "{reason}");
    }
}

#[tokio::test]
async fn a_page_is_asked_for_from_the_source_that_interception_lets_alone() {
    let mut workload = Workload::says(vec![status("200 OK")]).await;
    let address = workload.address;

    ask(Method::Http(page(address, "/ready?full=1"))).await.unwrap();

    let Heard { from, request } = workload.heard().await;
    assert_eq!(from.ip().to_string(), "127.0.0.6");
    let lines: Vec<String> = request.lines().map(str::to_lowercase).collect();
    assert_eq!(lines[0], "get /ready?full=1 http/1.1");
    assert!(lines.contains(&format!("host: {address}")), "{request}");
    assert!(lines.contains(&"user-agent: istio-probe/1.0".to_owned()), "{request}");
}

#[tokio::test]
async fn headers_are_passed_on_and_may_name_another_host_and_program() {
    let mut workload = Workload::says(vec![status("200 OK")]).await;
    let mut http = page(workload.address, "/");
    for (name, value) in
        [("host", "shop.example"), ("user-agent", "me"), ("x-twice", "1"), ("x-twice", "2")]
    {
        http.headers.append(name, HeaderValue::from_static(value));
    }

    ask(Method::Http(http)).await.unwrap();

    let request = workload.heard().await.request.to_lowercase();
    for line in ["host: shop.example", "user-agent: me", "x-twice: 1", "x-twice: 2"] {
        assert_eq!(request.lines().filter(|said| *said == line).count(), 1, "{line}\n{request}");
    }
    assert_eq!(request.matches("host:").count(), 1, "{request}");
}

#[tokio::test]
async fn redirections_are_followed_as_long_as_they_stay_there() {
    let answers = vec![redirect("/b?x=1"), redirect("http://ADDRESS/c"), status("404 x")];
    let mut workload = Workload::says(answers).await;
    let address = workload.address;

    let reason = ask(Method::Http(page(address, "/a"))).await.unwrap_err();

    assert!(reason.starts_with(&format!("http://{address}/c answers 404")), "{reason}");
    for path in ["/a", "/b?x=1", "/c"] {
        assert!(workload.heard().await.request.starts_with(&format!("GET {path} ")));
    }
}

#[tokio::test]
async fn a_redirection_elsewhere_is_an_answer() {
    for elsewhere in ["http://127.0.0.1:1/", "https://login.example/", "//other/", "login", ""] {
        let mut workload = Workload::says(vec![redirect(elsewhere), status("500 x")]).await;
        assert_eq!(ask(Method::Http(page(workload.address, "/"))).await, Ok(()), "{elsewhere}");
        workload.heard().await;
        assert!(workload.heard.try_recv().is_err(), "{elsewhere} was followed");
    }
}

#[tokio::test]
async fn a_page_that_leads_to_itself_is_not_well() {
    let workload = Workload::says(vec![redirect("/")]).await;

    let reason = ask(Method::Http(page(workload.address, "/"))).await.unwrap_err();

    assert!(reason.ends_with("/ redirects more than 10 times"), "{reason}");
}

#[tokio::test]
async fn a_page_without_end_is_an_answer_by_its_head() {
    let endless = "HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\nthe beginning".to_owned();
    let workload = Workload::says(vec![endless]).await;

    assert_eq!(ask(Method::Http(page(workload.address, "/"))).await, Ok(()));

    let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1 << 20));
    let workload = Workload::says(vec![large]).await;
    assert_eq!(ask(Method::Http(page(workload.address, "/"))).await, Ok(()));
}

#[tokio::test]
async fn what_is_no_page_is_not_well() {
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", &head] {
        let workload = Workload::says(vec![answer.to_owned()]).await;
        let reason = ask(Method::Http(page(workload.address, "/x"))).await.unwrap_err();
        assert!(reason.starts_with(&format!("http://{}/x: ", workload.address)), "{reason}");
    }
}

#[tokio::test]
async fn a_workload_that_says_nothing_is_not_well_when_its_time_is_up() {
    let workload = Workload::says(vec![String::new()]).await;
    let method = Method::Http(page(workload.address, "/"));

    let reason = once(&method, None, Duration::from_millis(50)).await.unwrap_err();

    assert_eq!(reason, format!("{} has not answered within 50ms", workload.address));
}

#[tokio::test]
async fn a_certificate_may_be_anybodys() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["somebody.else".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        for line in ["200 OK", "500 x"] {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"GET ");
            stream.write_all(status(line).as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let http = Http { scheme: Scheme::Https, ..page(address, "/") };

    assert_eq!(ask(Method::Http(http.clone())).await, Ok(()));
    let reason = ask(Method::Http(http)).await.unwrap_err();
    assert!(reason.starts_with(&format!("https://{address}/ answers 500")), "{reason}");

    let workload = Workload::says(vec![status("200 OK")]).await;
    let nobody = Http { scheme: Scheme::Https, ..page(workload.address, "/") };
    // What it takes for a hello never comes to the end of a head.
    once(&Method::Http(nobody), None, Duration::from_millis(50)).await.unwrap_err();
}

#[tokio::test]
async fn a_page_is_shown_as_far_as_it_goes_and_never_as_a_redirection() {
    let long =
        format!("HTTP/1.1 503 Not now\r\ncontent-length: 99999\r\n\r\n{}", "x".repeat(99_999));
    let cases = [
        (
            vec![redirect("/b"), "HTTP/1.1 202 x\r\ncontent-length: 5\r\n\r\nhello".to_owned()],
            202,
            5,
        ),
        (vec![redirect("http://127.0.0.1:1/")], 200, 0),
        (vec![long], 503, 10 << 10),
    ];
    for (answers, status, length) in cases {
        let workload = Workload::says(answers).await;
        let answer = crate::page(&page(workload.address, "/a"), None, FOR_EVER).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (status, length));
    }
    let workload = Workload::says(vec![redirect("/")]).await;
    let reason = crate::page(&page(workload.address, "/"), None, FOR_EVER).await.unwrap_err();
    assert!(reason.ends_with("redirects more than 10 times"), "{reason}");
}
