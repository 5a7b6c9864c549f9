//! Dials against servers on real sockets.

mod endpoints;
mod fallback;
pub(crate) mod far;
pub(crate) mod mesh;
mod trust;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_pki::Identity;
use hawser_rt::{Chain, Clock};
use tokio::sync::watch;

use self::mesh::{Answer, Asks, Mesh, Server};
use crate::{
    Connection, Credentials, Error, Hosts, Istiod, Options, Roots, Shown,
    credential::{self, TokenSource},
};

const NAME: &str = "istiod.istio-system.svc";

struct Setup {
    folder: tempfile::TempDir,
    mesh: Mesh,
}

impl Setup {
    fn new() -> Self {
        let setup = Self { folder: tempfile::tempdir().unwrap(), mesh: Mesh::new() };
        setup.write("root-cert.pem", &setup.mesh.root_pem());
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, body: &str) {
        hawser_state::write_file(&self.path(name), 0o600, body.as_bytes()).unwrap();
    }

    /// Puts a pair into the directory of provisioned ones.
    fn provision(&self, identity: &Identity) {
        self.write("key.pem", identity.key.pem());
        self.write("cert-chain.pem", identity.chain.pem());
    }

    /// Options that find [`NAME`] at the given addresses, all of the same port.
    fn options(&self, addresses: &[SocketAddr]) -> Options {
        let known = addresses.iter().map(|address| (NAME.to_owned(), address.ip()));
        Options {
            endpoints: vec![format!("{NAME}:{}", addresses[0].port()).parse().unwrap()],
            roots: Roots::File(self.path("root-cert.pem")),
            learned: false,
            hosts: known.collect(),
            headers: vec![("ClusterID".to_owned(), "Kubernetes".to_owned())],
            connect_timeout: Duration::from_secs(5),
        }
    }

    /// The token file, and no pair from elsewhere.
    fn sources(&self) -> credential::Options {
        let tokens = vec![TokenSource::File(self.path("istio-token"))];
        credential::Options { tokens, ..credential::Options::default() }
    }

    /// A way to the server with the token file and an identity that may come later.
    fn istiod(&self, server: &Server, identity: Own) -> Istiod {
        let credentials = Credentials::new(self.sources(), identity, Clock::default());
        way(self.options(&[server.address]), credentials)
    }
}

type Own = watch::Receiver<Option<Arc<Identity>>>;

fn nobody() -> Own {
    watch::channel(None).1
}

/// An identity that stays.
fn own(identity: Identity) -> Own {
    watch::channel(Some(Arc::new(identity))).1
}

fn way(options: Options, credentials: Credentials) -> Istiod {
    Istiod::new(options, credentials, watch::channel(None).1, Clock::default()).unwrap()
}

async fn connect(options: Options) -> Result<Connection, Error> {
    way(options, Credentials::none()).connect().await
}

async fn refusal(options: Options) -> String {
    Chain(&connect(options).await.unwrap_err()).to_string()
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn headers_and_the_token_of_the_moment_go_with_each_request() {
    let setup = Setup::new();
    let server = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Settings).await;
    let istiod = setup.istiod(&server, nobody());

    let bare = istiod.connect().await.unwrap();
    setup.write("istio-token", "a.b.c\n");
    let with_token = istiod.connect().await.unwrap();

    assert_eq!((bare.shown, with_token.shown), (Shown::Nothing, Shown::Token));
    assert_eq!(bare.peer, server.address);
    let metadata = bare.request(()).metadata().clone();
    assert_eq!(metadata.get("clusterid").unwrap(), "Kubernetes");
    assert!(metadata.get("authorization").is_none());
    let metadata = with_token.request(()).metadata().clone();
    let authorization = metadata.get("authorization").unwrap();
    assert_eq!(authorization, "Bearer a.b.c");
    assert!(authorization.is_sensitive());
    assert!(!format!("{with_token:?}").contains("a.b.c"), "a token is not printed");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let setup = Setup::new();
    let server = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Settings).await;
    // Nobody listens on the same port of another loopback address.
    let nobody = SocketAddr::new([127, 9, 9, 9].into(), server.address.port());

    let connection = connect(setup.options(&[nobody, server.address])).await.unwrap();

    assert_eq!(connection.peer, server.address);
}

#[tokio::test]
async fn an_unreachable_istiod_is_named_with_every_address() {
    let setup = Setup::new();
    let one: SocketAddr = "127.9.9.9:1".parse().unwrap();
    let two: SocketAddr = "127.9.9.10:1".parse().unwrap();

    let text = refusal(setup.options(&[one, two])).await;

    let expected = "cannot connect to istiod.istio-system.svc:1: \
                    127.9.9.9:1 refused, 127.9.9.10:1 refused";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_name_that_nobody_knows_points_at_the_hosts_file() {
    let setup = Setup::new();
    let mut options = setup.options(&["127.0.0.1:1".parse().unwrap()]);
    options.hosts = Hosts::default();
    options.endpoints[0].host = "istiod.invalid".to_owned();

    let text = refusal(options).await;

    assert!(text.starts_with("cannot resolve istiod.invalid; add its address to the hosts"));
}

#[tokio::test]
async fn a_certificate_from_another_root_names_the_root_file_until_it_is_replaced() {
    let setup = Setup::new();
    let rotated = Mesh::new();
    let server = Server::start(rotated.server(NAME), Asks::Nothing, Answer::Settings).await;
    let options = setup.options(&[server.address]);

    let text = refusal(options.clone()).await;
    assert!(text.contains("does not chain to") && text.contains("root-cert.pem"), "{text}");
    assert!(text.contains("may have rotated"), "{text}");

    let both = format!("no PEM\n{}{}", setup.mesh.root_pem(), rotated.root_pem());
    setup.write("root-cert.pem", &both);
    connect(options).await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_name_names_both_and_the_setting() {
    let setup = Setup::new();
    let server =
        Server::start(setup.mesh.server("istiod.other"), Asks::Nothing, Answer::Settings).await;
    let mut options = setup.options(&[server.address]);

    let text = refusal(options.clone()).await;
    assert!(text.contains("istiod.other"), "{text}");
    assert!(text.contains("not for istiod.istio-system.svc; set ISTIOD_SAN"), "{text}");

    options.endpoints[0].server_name = Some("istiod.other".to_owned());
    connect(options).await.unwrap();
}

#[tokio::test]
async fn root_files_that_cannot_be_used_are_named() {
    let setup = Setup::new();
    let options = setup.options(&["127.0.0.1:1".parse().unwrap()]);
    for (body, expected) in [("", "holds no certificate"), ("garbage", "holds no certificate")] {
        setup.write("root-cert.pem", body);
        let text = refusal(options.clone()).await;
        assert!(text.contains(expected) && text.contains("root-cert.pem"), "{text}");
    }
    std::fs::remove_file(setup.folder.path().join("root-cert.pem")).unwrap();
    assert!(refusal(options).await.contains("copy the mesh's root-cert.pem there"));
}

#[tokio::test]
async fn a_valid_identity_is_shown_and_an_expired_one_is_not() {
    let setup = Setup::new();
    let asks = Asks::Client(setup.mesh.root_der());
    let server = Server::start(setup.mesh.server(NAME), asks, Answer::Settings).await;
    let (identity, seen) = watch::channel(None);
    let istiod = setup.istiod(&server, seen);

    identity.send_replace(Some(Arc::new(setup.mesh.identity(HOUR))));
    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Certificate);

    setup.write("istio-token", "a.b.c");
    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Both);

    identity.send_replace(Some(Arc::new(setup.mesh.identity(Duration::ZERO))));
    let error = istiod.connect().await.unwrap_err();
    assert!(error.to_string().contains("demands a client certificate"), "{error}");
}

#[tokio::test]
async fn the_clock_that_was_given_judges_certificates_on_both_sides() {
    let setup = Setup::new();
    let server = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Settings).await;
    let (clock, hand) = Clock::manual(SystemTime::now());
    let identity = own(setup.mesh.identity(HOUR));
    let credentials = Credentials::new(setup.sources(), identity, clock.clone());
    let options = setup.options(&[server.address]);
    let istiod = Istiod::new(options, credentials, watch::channel(None).1, clock).unwrap();

    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Certificate);
    hand.advance(2 * HOUR);
    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Nothing);
    // What the server shows is valid from 1975 on.
    hand.set(SystemTime::UNIX_EPOCH + HOUR);
    let error = istiod.connect().await.unwrap_err();
    assert!(matches!(error, Error::NotValidNow { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_istiod_is_told_from_one_that_is_silent() {
    let setup = Setup::new();
    let silent = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Nothing).await;
    let mut options = setup.options(&[silent.address]);
    options.connect_timeout = Duration::from_millis(300);
    let error = connect(options).await.unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");

    let closing = Server::start(setup.mesh.server(NAME), Asks::Nothing, Answer::Close).await;
    let error = connect(setup.options(&[closing.address])).await.unwrap_err();
    assert!(matches!(error, Error::HungUp { .. }), "{error:?}");

    let plain = Server::start_plain(Answer::Settings).await;
    let error = connect(setup.options(&[plain.address])).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn without_tls_no_certificate_is_shown_and_the_token_is() {
    let setup = Setup::new();
    setup.write("istio-token", "a.b.c");
    let server = Server::start_plain(Answer::Settings).await;
    let mut options = setup.options(&[server.address]);
    options.endpoints[0].tls = false;
    let identity = own(setup.mesh.identity(HOUR));

    let istiod = way(options, Credentials::new(setup.sources(), identity, Clock::default()));

    assert_eq!(istiod.connect().await.unwrap().shown, Shown::Token);
}

#[test]
fn options_that_cannot_work_are_refused_before_the_first_dial() {
    let setup = Setup::new();
    let mut options = setup.options(&["127.0.0.1:1".parse().unwrap()]);
    options.endpoints[0].server_name = Some("not a name".to_owned());
    let learned = watch::channel(None).1;
    let error = Istiod::new(options, Credentials::none(), learned, Clock::default()).unwrap_err();
    assert!(error.to_string().starts_with("istiod.server_name = \"not a name\""), "{error}");
}
