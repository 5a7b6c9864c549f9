//! Sources of all kinds: those that say it all, that hang, die, mumble, or say too much.

use std::{
    future::ready,
    net::{IpAddr, Ipv4Addr},
};

use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_stream::StreamExt as _;

use super::*;

/// A program that answers what it is asked by the head of the request, and then goes, or stays.
struct Program {
    port: u16,
    _serving: JoinSet<()>,
}

#[derive(Clone, Copy)]
enum Then {
    Goes,
    Stays,
}

impl Program {
    async fn new(answer: impl Fn(&str) -> String + Send + 'static, then: Then) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut head, mut octet) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut octet).await.unwrap() > 0 {
                    head.extend(octet);
                }
                let text = answer(&String::from_utf8(head).unwrap().to_ascii_lowercase());
                stream.write_all(text.as_bytes()).await.ok();
                if let Then::Stays = then {
                    open.push(stream);
                }
            }
        });
        Self { port, _serving: serving }
    }

    async fn saying(kind: &'static str, body: &'static str) -> Self {
        Self::new(move |_| said(kind, body), Then::Goes).await
    }

    fn source(&self, kind: Kind) -> Source {
        Source::new(kind, vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], self.port, "/metrics")
    }
}

fn said(kind: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}")
}

const TEXT: &str = "text/plain; version=0.0.4";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is scraped of programs, and the counts of failures after it.
struct Scraped {
    kind: &'static str,
    /// Without the agent's own.
    body: String,
    failures: [u64; 2],
}

async fn scrape(
    envoy: Option<&Program>,
    programs: &[&Program],
    headers: &[(&str, &str)],
) -> Scraped {
    let mut sources: Vec<_> = envoy.iter().map(|envoy| envoy.source(Kind::Envoy)).collect();
    sources.extend(programs.iter().map(|program| program.source(Kind::Application)));
    let own = Registry::default();
    let options = Options { sources, patience: Duration::from_secs(20), most: 1 << 20 };
    let scraper = Scraper::new(options, &own);
    let mut told = HeaderMap::new();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        told.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let mut merged = scraper.gather(&told, Some("filter=x"), async { own.render() }).await.unwrap();
    let kind = merged.content_type();
    let mut body = Vec::new();
    while let Some(piece) = merged.next().await {
        body.extend_from_slice(&piece);
    }
    while merged.passing().join_next().await.is_some() {}
    let body = String::from_utf8(body).unwrap();
    let others = body.lines().filter(|line| !line.contains("istio_agent_"));
    let body = others.map(|line| format!("{line}\n")).collect();
    let failures = [scraper.counts.envoy.value(), scraper.counts.application.value()];
    assert_eq!(scraper.counts.scrapes.value(), 1);
    assert!(own.render().contains("istio_agent_scrape_failures_total{type=\"agent\"} 0\n"));
    Scraped { kind, body, failures }
}

#[tokio::test]
async fn all_are_put_together_in_order_with_one_end() {
    let envoy = Program::saying(TEXT, "# TYPE e counter\ne 1\n").await;
    let one = Program::saying(OPEN, "a 1\n# EOF\n").await;
    let other = Program::saying(OPEN, "b 1\n# EOF").await;
    let scraped = scrape(Some(&envoy), &[&one, &other], &[("accept", "*/*")]).await;
    assert_eq!(scraped.kind, OPEN);
    assert_eq!(scraped.body, "# TYPE e counter\ne 1\na 1\nb 1\n# EOF\n");
    assert_eq!(scraped.failures, [0, 0]);
}

#[tokio::test]
async fn without_programs_it_is_text_and_has_no_end() {
    let envoy = Program::saying(TEXT, "e 1").await;
    let scraped = scrape(Some(&envoy), &[], &[("accept", "application/openmetrics-text")]).await;
    assert_eq!((scraped.kind, scraped.body.as_str()), (Form::Text.content_type(), "e 1\n"));
}

#[tokio::test]
async fn where_only_some_have_openmetrics_they_are_asked_for_text() {
    let either = |head: &str| {
        if head.contains("openmetrics") {
            said(OPEN, "o 1 # {trace_id=\"x\"} 1\n# EOF\n")
        } else {
            said(TEXT, "o 1\n")
        }
    };
    let open = Program::new(either, Then::Goes).await;
    let plain = Program::saying(TEXT, "p 1\n").await;
    let stubborn = Program::saying(OPEN, "s 1\n# EOF\n").await;
    let accept = [("accept", "application/openmetrics-text,text/plain;q=0.5")];
    let scraped = scrape(None, &[&open, &plain, &stubborn], &accept).await;
    assert_eq!(scraped.kind, Form::Text.content_type());
    assert_eq!(scraped.body, "o 1\np 1\n");
    assert_eq!(scraped.failures, [0, 1]);
}

#[tokio::test]
async fn who_fails_breaks_nothing_that_others_say() {
    let half =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 99\r\n\r\nh 1\nh_b{l=\"";
    let dies = Program::new(move |_| half.to_owned(), Then::Goes).await;
    let hangs = Program::new(move |_| half.to_owned(), Then::Stays).await;
    let mute = Program::new(|_| String::new(), Then::Stays).await;
    let missing =
        Program::new(|_| "HTTP/1.1 404 Not Found\r\n\r\nm 1\n".to_owned(), Then::Goes).await;
    let page = Program::saying("text/html", "<html>\n").await;
    let packed = Program::saying("text/plain\r\ncontent-encoding: gzip", "\u{1}\u{2}").await;
    let gone = Program { port: 1, _serving: JoinSet::new() };
    let good = Program::saying(TEXT, "g 1\n").await;
    let programs = [&dies, &hangs, &mute, &missing, &page, &packed, &gone, &good];
    let timeout = [("x-prometheus-scrape-timeout-seconds", "1")];
    let scraped = scrape(Some(&dies), &programs, &timeout).await;
    assert_eq!(scraped.body, "h 1\nh 1\nh 1\ng 1\n");
    assert_eq!(scraped.failures, [1, 7]);
}

#[tokio::test]
async fn who_says_too_much_is_cut_off_after_a_line() {
    let much = |_: &str| said(TEXT, &"l 1\n".repeat((1 << 18) + 1000));
    let much = Program::new(much, Then::Goes).await;
    let good = Program::saying(TEXT, "g 1\n").await;
    let scraped = scrape(None, &[&much, &good], &[]).await;
    assert!(scraped.body.len() <= (1 << 20) + 4, "{}", scraped.body.len());
    assert!(scraped.body.ends_with("l 1\ng 1\n"));
    assert_eq!(scraped.failures, [0, 1]);
}

#[tokio::test]
async fn a_slow_reader_is_no_failure_of_who_waits_for_its_turn() {
    let first = Program::saying(TEXT, "f 1\n").await;
    let second = Program::new(|_| said(TEXT, &"l 1\n".repeat(1 << 17)), Then::Goes).await;
    let scraped = scrape(Some(&first), &[&second], &[]).await;
    assert_eq!(scraped.body.len(), 4 + (4 << 17));
    assert_eq!(scraped.failures, [0, 0]);
}

#[tokio::test]
async fn turns_within_the_port_are_followed_and_no_others() {
    let turn = |to: &'static str| {
        let turn = move |head: &str| match head.starts_with("get /metrics/ ") {
            true => said(TEXT, "t 1\n"),
            false => format!("HTTP/1.1 301 Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"),
        };
        Program::new(turn, Then::Goes)
    };
    let here = turn("/metrics/").await;
    let elsewhere = turn("http://192.0.2.1:80/metrics/").await;
    let port = turn("http://localhost:1/metrics/").await;
    let circle = turn("/metrics").await;
    let scraped = scrape(None, &[&here, &elsewhere, &port, &circle], &[]).await;
    assert_eq!(scraped.body, "t 1\n");
    assert_eq!(scraped.failures, [0, 3]);
}

#[tokio::test]
async fn sources_are_told_who_asks_and_envoy_alone_what_for() {
    let echo = |head: &str| {
        let (line, rest) = head.split_once("\r\n").unwrap();
        let known = ["host", "accept", "user-agent", "x-prometheus-scrape-timeout-seconds"];
        let mut lines: Vec<_> = rest.lines().filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        assert!(lines.iter().all(|line| known.iter().any(|name| line.starts_with(name))), "{rest}");
        let lines = lines.into_iter().filter(|line| !line.starts_with("host"));
        said(TEXT, &format!("{line}; {}\n", lines.collect::<Vec<_>>().join("; ")))
    };
    let (envoy, program) =
        (Program::new(echo, Then::Goes).await, Program::new(echo, Then::Goes).await);
    let headers = [
        ("user-agent", "someone/1"),
        ("x-prometheus-scrape-timeout-seconds", "9"),
        ("accept", "application/openmetrics-text"),
        ("cookie", "secret"),
    ];
    let scraped = scrape(Some(&envoy), &[&program], &headers).await;
    let both = "user-agent: someone/1; x-prometheus-scrape-timeout-seconds: 9\n";
    assert_eq!(
        scraped.body,
        format!(
            "get /metrics?filter=x http/1.1; accept: text/plain;version=0.0.4; {both}\
             get /metrics http/1.1; accept: application/openmetrics-text;q=0.9; {both}"
        )
    );
}

#[tokio::test]
async fn only_so_many_scrape_at_a_time() {
    let options = Options { sources: Vec::new(), patience: Duration::from_secs(1), most: 1 };
    let scraper = Scraper::new(options, &Registry::default());
    let mut all = Vec::new();
    for _ in 0..PLACES {
        all.push(scraper.gather(&HeaderMap::new(), None, ready(String::new())).await.unwrap());
    }
    assert!(scraper.gather(&HeaderMap::new(), None, ready(String::new())).await.is_none());
    all.pop();
    assert!(scraper.gather(&HeaderMap::new(), None, ready(String::new())).await.is_some());
}
