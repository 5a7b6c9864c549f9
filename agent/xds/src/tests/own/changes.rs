//! What changes while the agent's own stream lives: the node, names that go, an istiod that says
//! nothing or too much.

use std::time::Duration;

use super::*;

/// Only over this step: sockets have a time of their own.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_node_that_has_moved_introduces_itself_anew_at_once() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let mut agent = istiod.follow(seen.clone(), false);
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    let body = table("a").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v1", body))).await.unwrap();
    heard(&mut stream).await;

    agent.node.send_replace(Arc::new(node().with_ips(&["10.0.0.2".parse().unwrap()]).unwrap()));

    let mut moved = istiod.accept().await;
    let asks = heard(&mut moved).await;
    let introduced = asks.node.unwrap();
    assert_eq!(introduced.id, "sidecar~10.0.0.2~vm.vms~vms.svc.cluster.local");
    let metadata = introduced.metadata.unwrap().fields;
    assert!(format!("{:?}", metadata["INSTANCE_IPS"]).contains("10.0.0.2"), "{metadata:?}");
    assert!(!metadata.contains_key("AUTO_REGISTER_GROUP"), "Envoy's stream registers");
    assert!(has(&agent.names, "a"), "names outlive the move");
    assert!(stream.requests.message().await.is_ok_and(|message| message.is_none()));
    assert_eq!(seen.standing().names.failure, None, "nothing has failed");
    assert!(agent.goes_on().await);
}

#[tokio::test]
async fn a_node_that_moves_while_istiod_is_away_tries_again() {
    let nobody = FakeIstiod::nobody().await;
    let seen = Seen::default();
    let agent = nobody.follow(seen.clone(), false);
    for _ in 0..3 {
        let failed = |seen: &Seen| seen.standing().names.failure.map(|failure| failure.at);
        until(&seen, |standing| standing.names.failure.is_some()).await;
        let before = failed(&seen);
        agent.node.send_modify(|_| {});
        until(&seen, |standing| {
            standing.names.failure.as_ref().map(|failure| failure.at) != before
        })
        .await;
    }
}

#[tokio::test]
async fn an_empty_table_is_acknowledged_at_once_and_believed_after_a_while() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let mut agent = istiod.follow(seen.clone(), false);
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    for (version, table) in [("v1", table("a")), ("v2", NameTable::default())] {
        let body = table.encode_to_vec();
        stream.responses.send(Ok(sends(type_url::NAME_TABLE, version, body))).await.unwrap();
        assert_eq!(heard(&mut stream).await.version_info, version);
        assert!(has(&agent.names, "a"), "after {version}");
    }
    assert_eq!(seen.standing().names.table.unwrap().version, "v1", "what is in use");

    pass(60).await;

    let gone = |names: &Option<Names>| names.as_ref().unwrap().is_empty();
    agent.names.wait_for(gone).await.unwrap();
    until(&seen, |standing| standing.names.table.as_ref().unwrap().version == "v2").await;
}

#[tokio::test]
async fn an_empty_table_of_an_istiod_that_is_lost_is_forgotten() {
    let mut istiod = FakeIstiod::start().await;
    let agent = istiod.follow(Seen::default(), false);
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    for (version, table) in [("v1", table("a")), ("v2", NameTable::default())] {
        let body = table.encode_to_vec();
        stream.responses.send(Ok(sends(type_url::NAME_TABLE, version, body))).await.unwrap();
        heard(&mut stream).await;
    }
    drop(stream);

    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    // It answers, but not that.
    stream.responses.send(Ok(empty(type_url::NAME_TABLE, "v2"))).await.unwrap();
    heard(&mut stream).await;
    pass(61).await;
    assert!(has(&agent.names, "a"), "nobody says otherwise");
    let body = NameTable::default().encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v3", body))).await.unwrap();
    heard(&mut stream).await;
    assert!(!has(&agent.names, "a"), "it has been said for long enough");
}

#[tokio::test]
async fn an_istiod_that_stays_silent_is_given_up() {
    let mut istiod = FakeIstiod::start().await;
    let seen = Seen::default();
    let _agent = istiod.follow(seen.clone(), false);
    for waits in [30, 60] {
        let mut stream = istiod.accept().await;
        heard(&mut stream).await;
        pass(waits).await;
        let expected = format!("istiod has not answered within {waits}s");
        until(&seen, |standing| {
            standing.names.failure.as_ref().is_some_and(|failure| failure.error == expected)
        })
        .await;
    }
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    let body = table("a").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v1", body))).await.unwrap();
    heard(&mut stream).await;
    pass(1000).await;
    let body = table("b").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v2", body))).await.unwrap();
    assert_eq!(heard(&mut stream).await.version_info, "v2", "silence after an answer is none");
}

#[tokio::test]
async fn a_table_that_is_too_large_to_be_held_is_refused_and_the_stream_goes_on() {
    let mut istiod = FakeIstiod::start().await;
    let agent = istiod.follow(Seen::default(), true);
    let mut stream = istiod.accept().await;
    heard(&mut stream).await;
    heard(&mut stream).await;
    let good = table("a").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v1", good))).await.unwrap();
    heard(&mut stream).await;

    for type_url in [type_url::NAME_TABLE, type_url::PROXY_CONFIG] {
        let body = vec![0; 33 << 20];
        stream.responses.send(Ok(sends(type_url, "v2", body))).await.unwrap();
        let reply = heard(&mut stream).await;
        assert_eq!((&*reply.type_url, &*reply.response_nonce), (type_url, "n-v2"));
        let error = reply.error_detail.unwrap().message;
        assert!(error.contains(" bytes is too large, at most "), "{error}");
    }
    let body = table("b").encode_to_vec();
    stream.responses.send(Ok(sends(type_url::NAME_TABLE, "v3", body))).await.unwrap();
    assert_eq!(heard(&mut stream).await.version_info, "v3");
    assert!(has(&agent.names, "b"));
}
