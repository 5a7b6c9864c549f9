//! The metadata server of a Google machine.

use std::time::{Duration, SystemTime};

use hawser_harness::http1::{Reply, call};
use hawser_harness::metadata::{FLAVOUR, FakeMetadata, Manner, PATH};
use hawser_harness::token::{LIFETIME, TokenSigner};
use http::Method;
use tokio::time::timeout;

const MOMENT: Duration = Duration::from_millis(200);

async fn ask(server: &FakeMetadata, query: &str) -> anyhow::Result<Reply> {
    let path = format!("{PATH}?{query}");
    call(server.addr(), &Method::GET, &path, &[FLAVOUR]).await
}

#[tokio::test]
async fn it_gives_tokens_for_the_audience_that_is_asked_for() {
    let tokens = TokenSigner::new().unwrap();
    let server = FakeMetadata::start(&tokens, "vms", "web").await.unwrap();
    let now = SystemTime::now();

    let reply = ask(&server, "audience=istio-ca&format=full").await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers[FLAVOUR.0], FLAVOUR.1);
    let account = tokens.verify(&reply.body, now).unwrap();
    assert_eq!(account, ("vms".to_owned(), "web".to_owned()));

    server.lifetime(2 * LIFETIME);
    let reply = ask(&server, "audience=istio-ca").await.unwrap();
    tokens.verify(&reply.body, now + LIFETIME + LIFETIME / 2).unwrap();
    let other = ask(&server, "audience=https%3A%2F%2Felsewhere").await.unwrap();
    assert!(tokens.verify(&other.body, now).is_err());

    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|one| one.flavour && one.status == 200));
    assert_eq!(asked[0].format.as_deref(), Some("full"));
    assert_eq!(asked[2].audience.as_deref(), Some("https://elsewhere"));
}

#[tokio::test]
async fn without_the_header_or_an_audience_it_gives_none() {
    let server = FakeMetadata::start(&TokenSigner::new().unwrap(), "vms", "web").await.unwrap();
    let path = format!("{PATH}?audience=istio-ca");
    let bare = call(server.addr(), &Method::GET, &path, &[]).await.unwrap();
    assert_eq!(bare.status, 403);
    let forwarded = [FLAVOUR, ("x-forwarded-for", "192.0.2.1")];
    let forwarded = call(server.addr(), &Method::GET, &path, &forwarded).await.unwrap();
    assert_eq!(forwarded.status, 403);
    assert_eq!(ask(&server, "format=full").await.unwrap().status, 400);
    let elsewhere = call(server.addr(), &Method::GET, "/", &[FLAVOUR]).await.unwrap();
    assert_eq!(elsewhere.status, 404);
    let flavours: Vec<_> = server.asked().iter().map(|one| (one.flavour, one.status)).collect();
    assert_eq!(flavours, [(false, 403), (true, 403), (true, 400), (true, 404)]);
}

#[tokio::test]
async fn it_fails_in_the_ways_it_is_told_to() {
    let server = FakeMetadata::start(&TokenSigner::new().unwrap(), "vms", "web").await.unwrap();
    let good = "audience=istio-ca&format=full";

    server.manner(Manner::NotFound);
    assert_eq!(ask(&server, good).await.unwrap().status, 404);
    server.manner(Manner::Huge(1 << 20));
    assert_eq!(ask(&server, good).await.unwrap().body.len(), 1 << 20);
    server.manner(Manner::NoHeader);
    let reply = ask(&server, good).await.unwrap();
    assert!(reply.status == 200 && !reply.headers.contains_key(FLAVOUR.0));
    server.manner(Manner::Says("<html>".to_owned()));
    assert_eq!(ask(&server, good).await.unwrap().body, "<html>");
    for late in [Manner::Silent, Manner::Slow(100 * MOMENT)] {
        server.manner(late);
        assert!(timeout(MOMENT, ask(&server, good)).await.is_err());
    }
    let asked = server.until("six requests", |asked| asked.len() == 6).await.unwrap();
    assert_eq!(asked[4].status, 0);
    server.manner(Manner::Serves);
    assert_eq!(ask(&server, good).await.unwrap().status, 200);
}
