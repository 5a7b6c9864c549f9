//! What istiod refuses is followed by what else there is.

use std::sync::atomic::Ordering;

use super::{
    Answer, Asks, Chain, Clock, Credentials, Error, HOUR, Mesh, NAME, Server, Setup, Shown,
    SystemTime, credential, nobody, own, watch, way,
};
use crate::{Prospect, token::tests::jwt};

#[tokio::test]
async fn a_rejected_certificate_is_an_error_and_with_a_token_is_left_out() {
    let setup = Setup::new();
    let asks = Asks::ClientIfAny(Mesh::new().root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::Settings).await;
    let istiod = setup.istiod(&server, own(setup.mesh.identity(HOUR)));

    let error = istiod.connect().await.unwrap_err();
    assert!(matches!(error, Error::Rejected { shown: Shown::Certificate, .. }), "{error:?}");
    assert!(error.to_string().contains("write a fresh token"), "{error}");

    setup.write("istio-token", "a.b.c");
    let connection = istiod.connect().await.unwrap();
    assert_eq!(connection.shown, Shown::Token);
    assert_eq!(connection.what(), format!("token file {}", setup.path("istio-token").display()));
}

#[tokio::test]
async fn a_rejected_certificate_is_followed_by_the_provisioned_one() {
    let (setup, other) = (Setup::new(), Mesh::new());
    let asks = Asks::ClientIfAny(other.root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::Settings).await;
    let sources = credential::Options {
        provisioned: Some(setup.folder.path().to_owned()),
        ..setup.sources()
    };
    let identity = own(setup.mesh.identity(HOUR));
    let credentials = Credentials::new(sources, identity, Clock::default());
    let istiod = way(setup.options(&[server.address]), credentials);

    setup.provision(&other.identity(HOUR));
    let connection = istiod.connect().await.unwrap();
    assert_eq!(connection.shown, Shown::Certificate);
    let expected = format!("provisioned certificate in {}", setup.folder.path().display());
    assert_eq!(connection.what(), expected);

    setup.provision(&setup.mesh.identity(HOUR));
    let error = istiod.connect().await.unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "the own one is remembered: {error:?}");
    let text = istiod.connect().await.unwrap_err().to_string();
    assert!(text.contains("rejects what we show (certificate; alert "), "{text}");
    assert!(text.contains(&format!("; tried as well: {expected}: alert ")), "{text}");
}

#[tokio::test]
async fn a_provisioned_pair_is_read_at_each_dial_and_passed_over_while_it_cannot_be_used() {
    let setup = Setup::new();
    let asks = Asks::ClientIfAny(setup.mesh.root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::Settings).await;
    let sources = credential::Options {
        provisioned: Some(setup.folder.path().to_owned()),
        ..credential::Options::default()
    };
    let credentials = Credentials::new(sources, nobody(), Clock::default());
    let istiod = way(setup.options(&[server.address]), credentials);
    let shown = async || istiod.connect().await.unwrap().shown;

    assert_eq!(shown().await, Shown::Nothing, "there is none");
    setup.provision(&setup.mesh.identity(HOUR));
    assert_eq!(shown().await, Shown::Certificate);
    setup.write("key.pem", setup.mesh.identity(HOUR).key.pem());
    assert_eq!(shown().await, Shown::Nothing, "its halves do not fit");
    setup.write("key.pem", "garbage");
    assert_eq!(shown().await, Shown::Nothing, "it has no key");
    setup.provision(&setup.mesh.identity(std::time::Duration::ZERO));
    assert_eq!(shown().await, Shown::Nothing, "it has expired");
    // Its form is no matter: here a certificate with a DNS name alone.
    let (chain, key) = setup.mesh.server_pem("vm.example");
    setup.write("key.pem", &key);
    setup.write("cert-chain.pem", &chain);
    assert_eq!(shown().await, Shown::Certificate);
}

#[tokio::test]
async fn a_far_end_that_hangs_up_on_the_certificate_is_tried_without_it() {
    let setup = Setup::new();
    let asks = Asks::ClientIfAny(setup.mesh.root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::CloseOnCertificate).await;
    let istiod = setup.istiod(&server, own(setup.mesh.identity(HOUR)));
    let certificates = || server.certificates.load(Ordering::SeqCst);

    let error = istiod.connect().await.unwrap_err();
    assert!(matches!(error, Error::HungUp { .. }), "nobody has rejected anything: {error:?}");

    setup.write("istio-token", "a.b.c");
    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Token);
    let connection = istiod.connect().await.unwrap();
    assert_eq!(certificates(), 6, "twice each time, and only a suspicion");
    connection.accepted();
    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Token);
    assert_eq!(certificates(), 6, "a certainty");
}

#[tokio::test]
async fn an_istiod_that_is_going_down_rejects_nothing() {
    let setup = Setup::new();
    setup.write("istio-token", "a.b.c");
    let asks = || Asks::ClientIfAny(setup.mesh.root_der());
    let closing = Server::start(setup.mesh.server(NAME), asks(), Answer::Close).await;
    let istiod = setup.istiod(&closing, own(setup.mesh.identity(HOUR)));

    for attempt in 1..3 {
        let error = istiod.connect().await.unwrap_err();
        assert!(matches!(error, Error::HungUp { .. }), "{error:?}");
        let shown = closing.certificates.load(Ordering::SeqCst);
        assert_eq!(
            shown,
            2 * attempt,
            "the certificate has its chance each time, and a second one"
        );
    }
}

#[tokio::test]
async fn what_calls_refuse_is_shown_in_parts_and_an_authority_for_tokens_alone_is_named() {
    let setup = Setup::new();
    setup.write("istio-token", "a.b.c");
    let asks = Asks::ClientIfAny(setup.mesh.root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::Settings).await;
    let identity = own(setup.mesh.identity(HOUR));
    let credentials = Credentials::new(setup.sources(), identity, Clock::default());
    let istiod = way(setup.options(&[server.address]), credentials.clone());

    for (shown, more, ignores) in [
        (Shown::Both, true, false),
        (Shown::Certificate, true, true),
        (Shown::Token, false, true),
        (Shown::Both, true, true),
        (Shown::Certificate, true, true),
    ] {
        let connection = istiod.connect().await.unwrap();
        assert_eq!(connection.shown, shown);
        assert_eq!(connection.refused(), more, "{shown}");
        assert_eq!(istiod.ignores_certificates(), ignores, "{shown}");
    }

    let connection = istiod.connect().await.unwrap();
    connection.accepted();
    assert_eq!(credentials.last().unwrap().what, connection.what());
    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Token, "at once");
    let Prospect { usable, note, .. } = credentials.outlook().await.remove(0);
    let note = note.unwrap();
    assert!(usable && note.starts_with(&format!("ignored by {}, a token", istiod.address())));
    assert!(note.contains("istiod.token_command"), "{note}");
}

#[tokio::test]
async fn each_way_has_a_memory_of_its_own() {
    let setup = Setup::new();
    setup.write("istio-token", "a.b.c");
    let asks = Asks::ClientIfAny(setup.mesh.root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::Settings).await;
    let identity = own(setup.mesh.identity(HOUR));
    let credentials = Credentials::new(setup.sources(), identity, Clock::default());
    let one = way(setup.options(&[server.address]), credentials.clone());
    let other = way(setup.options(&[server.address]), credentials);

    assert!(one.connect().await.unwrap().refused());

    assert_eq!(one.connect().await.unwrap().shown, Shown::Certificate);
    assert_eq!(other.connect().await.unwrap().shown, Shown::Both);
}

#[tokio::test]
async fn an_expired_token_goes_alone_or_not_at_all() {
    let setup = Setup::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let asks = Asks::ClientIfAny(setup.mesh.root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::Settings).await;
    let (identity, seen) = watch::channel(None);
    let istiod = setup.istiod(&server, seen);
    let shown = async |ago: u64| {
        let claims = format!(r#"{{"aud":"istio-ca","exp":{}}}"#, now - ago);
        setup.write("istio-token", &jwt(&claims));
        istiod.connect().await.unwrap().shown
    };

    assert_eq!(shown(3600).await, Shown::Token, "the clock may be wrong");
    identity.send_replace(Some(std::sync::Arc::new(setup.mesh.identity(HOUR))));
    assert_eq!(shown(3600).await, Shown::Certificate);
    assert_eq!(shown(60).await, Shown::Both, "within the doubt");
}

#[tokio::test]
async fn when_everything_is_refused_the_error_names_it() {
    let setup = Setup::new();
    setup.write("istio-token", "a.b.c");
    let server = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Settings).await;
    // A program that gives what was refused already.
    let command = "/bin/sh -c \"echo a.b.c\"".parse().unwrap();
    let mut sources = setup.sources();
    sources.tokens.push(credential::TokenSource::Command(command));
    let credentials = Credentials::new(sources, nobody(), Clock::default());
    let istiod = way(setup.options(&[server.address]), credentials);

    assert!(istiod.connect().await.unwrap().refused(), "the program is yet to be asked");
    let second = istiod.connect().await.unwrap();
    assert!(second.what().starts_with("token of the program /bin/sh"), "{}", second.what());
    assert!(second.refused(), "and once more");
    let error = istiod.connect().await.unwrap_err();
    assert!(matches!(error, Error::NothingLeft { .. }), "{error:?}");
    let text = Chain(&error).to_string();
    assert!(text.contains("has refused all there is to show (token file "), "{text}");
    assert!(text.contains("istio-token, token of the program /bin/sh)"), "{text}");

    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Token, "all of it again");
}

#[tokio::test]
async fn an_own_certificate_that_is_rejected_is_told_once() {
    let (setup, other) = (Setup::new(), Mesh::new());
    let asks = Asks::ClientIfAny(other.root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::Settings).await;
    let identity = std::sync::Arc::new(setup.mesh.identity(HOUR));
    let own = watch::channel(Some(std::sync::Arc::clone(&identity))).1;
    let credentials = Credentials::new(setup.sources(), own, Clock::default());
    setup.write("istio-token", "a.b.c");
    let istiod = way(setup.options(&[server.address]), credentials.clone());
    assert!(!credentials.disowns(&identity));

    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Token);

    credentials.disowned().await;
    assert!(credentials.disowns(&identity));
    let another = way(setup.options(&[server.address]), credentials.clone());
    assert_eq!(another.connect().await.unwrap().shown, Shown::Token);
    tokio::select! {
        biased;
        () = credentials.disowned() => panic!("told twice"),
        () = std::future::ready(()) => {}
    }
}
