//! The server as a client sees it.

use http::Method;

use super::*;
use crate::http1::call;

#[tokio::test]
async fn files_are_served_counted_and_gone_when_it_is_down() {
    let mut server = FakeModules::start().await.unwrap();
    server.serve("/a.wasm", TINY);
    let ask = async |path: &str| call(server.addr(), &Method::GET, path, &[]).await;

    assert_eq!(ask("/a.wasm?x=1").await.unwrap().body.as_bytes(), TINY);
    assert_eq!(ask("/b.wasm").await.unwrap().status, 404);
    assert_eq!((server.count("/a.wasm"), server.asked().len()), (1, 2));
    server.faults(|faults| faults.cut = true);
    assert!(ask("/a.wasm").await.is_err());
    server.faults(|faults| *faults = Faults { statuses: [503].into(), ..Faults::default() });
    assert_eq!(ask("/a.wasm").await.unwrap().status, 503);

    let addr = server.addr();
    server.down().await;
    assert!(call(addr, &Method::GET, "/a.wasm", &[]).await.is_err());
    server.up().await.unwrap();
    assert!(call(addr, &Method::GET, "/a.wasm", &[]).await.is_ok());
}

#[tokio::test]
async fn an_image_is_had_by_tag_and_digest_with_a_token_only() {
    let server = FakeModules::start().await.unwrap();
    let digest = server.push("a/b", "v1", Packing::Docker, TINY);
    server.demand("me", "pw");
    let ask = async |path: &str, shown: &str| {
        call(server.addr(), &Method::GET, path, &[("authorization", shown)]).await.unwrap()
    };

    let refused = ask("/v2/a/b/manifests/v1", "").await;
    let token = ask("/token?service=modules", "Basic bWU6cHc=").await;
    let by_tag = ask("/v2/a/b/manifests/v1", "Bearer good").await;
    let by_digest = ask(&format!("/v2/a/b/manifests/{digest}"), "Bearer good").await;

    assert_eq!(refused.status, 401);
    assert!(refused.headers["www-authenticate"].starts_with("Bearer realm="));
    assert!(token.body.contains("good"));
    assert_eq!((by_tag.status, by_tag.body), (200, by_digest.body));
}
