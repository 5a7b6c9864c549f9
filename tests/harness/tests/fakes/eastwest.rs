//! The east-west gateway and the sidecars behind it, each a real Envoy, against a client that says
//! what it likes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    ca::{OldRoot, Shape, TestCa, spiffe_id},
    eastwest::{EastWest, Member, Shows, Speaks},
    wait::wait_for,
    workload::Answer,
};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const HTTP: [&str; 3] = ["istio-http/1.1", "istio", "http/1.1"];

struct Scene {
    ca: TestCa,
    mesh: EastWest,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let ca = TestCa::new(Shape::Intermediate)?;
        let members = [
            Member::new("reviews", "prod", 9080, Speaks::Http),
            Member::new("store", "prod", 5432, Speaks::Tcp),
        ];
        let mesh = EastWest::start(&ca, dir.path(), &members, 1).await?;
        Ok(Self { ca, mesh, _dir: dir })
    }

    async fn dial(&self, sni: &str, alpn: &[&str]) -> Result<TlsStream<TcpStream>> {
        dial(self.mesh.address()?, (&self.ca, &self.ca), sni, alpn).await
    }

    /// A request, as a client that speaks TLS itself makes it.
    async fn get(&self, sni: &str, alpn: &[&str]) -> Result<String> {
        request(self.dial(sni, alpn).await?).await
    }

    fn sni(&self, name: &str) -> Result<String> {
        Ok(self.mesh.member(name)?.sni())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_name_and_protocol_reach_the_workload_which_knows_who_calls() -> Result<()> {
    let scene = Scene::new().await?;
    let reviews = scene.sni("reviews")?;

    let stream = scene.dial(&reviews, &HTTP).await?;
    let negotiated = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let reply = request(stream).await?;

    ensure!(negotiated.as_deref() == Some(b"http/1.1"), "{negotiated:?}");
    let (head, body) = reply.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    let answer: Answer = serde_json::from_str(body)?;
    ensure!(answer.caller == spiffe_id("vms", "web"), "{answer:?}");
    ensure!(answer.workload == spiffe_id("prod", "reviews"), "{answer:?}");
    ensure!(!answer.serial.is_empty(), "{answer:?}");
    let seen = wait_for("the sidecar's log", async || {
        let seen = scene.mesh.seen()?;
        seen.into_iter().find(|seen| seen.kind == "request").context("nothing yet")
    });
    let seen = seen.await?;
    ensure!((seen.member.as_str(), seen.code) == ("reviews", 200), "{seen:?}");
    ensure!(seen.sni == Some(reviews), "{seen:?}");
    ensure!(seen.caller == Some(spiffe_id("vms", "web")), "{seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_another_name_or_protocol_is_closed_by_the_gateway() -> Result<()> {
    let scene = Scene::new().await?;
    let reviews = scene.sni("reviews")?;
    let other = reviews.replace("reviews", "ratings");
    let port = reviews.replace("9080", "9081");
    let subset = reviews.replace("_._.", "_.v1_.");

    for (sni, alpn) in [
        (&other, &HTTP[..]),
        (&port, &HTTP),
        (&subset, &HTTP),
        (&reviews, &["http/1.1"]),
        (&reviews, &["h2"]),
        (&reviews, &[]),
    ] {
        let error = scene.get(sni, alpn).await.err().with_context(|| format!("{sni} {alpn:?}"))?;
        let error = format!("{error:#}");
        ensure!(error.contains("TLS handshake"), "{sni} {alpn:?}: {error}");
    }

    let passed = wait_for("the gateway's log", async || {
        let passed = scene.mesh.gateways()[0].passed()?;
        ensure!(passed.len() == 6, "{passed:?}");
        Ok(passed)
    });
    for one in passed.await? {
        ensure!(one.flags.as_deref() == Some("NR"), "{one:?}");
    }
    ensure!(scene.mesh.seen()?.is_empty(), "{:?}", scene.mesh.seen()?);
    scene.get(&reviews, &HTTP).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_takes_no_certificate_but_the_meshs_and_refuses_whom_its_policy_does_not_name()
-> Result<()> {
    let mut scene = Scene::new().await?;
    let (reviews, store) = (scene.sni("reviews")?, scene.sni("store")?);
    let stranger = TestCa::new(Shape::SelfSigned)?;
    let gateway = scene.mesh.address()?;
    let foreign =
        async { request(dial(gateway, (&stranger, &scene.ca), &reviews, &HTTP).await?).await };
    ensure!(foreign.await.is_err(), "a stranger was let in");

    for name in ["reviews", "store"] {
        let only = vec![spiffe_id("vms", "other")];
        scene.mesh.change_one(name, |member| member.callers = Some(only)).await?;
    }
    wait_for("a refusal", async || {
        let reply = scene.get(&reviews, &HTTP).await?;
        ensure!(reply.starts_with("HTTP/1.1 403"), "{reply}");
        ensure!(reply.contains("RBAC: access denied"), "{reply}");
        Ok(())
    })
    .await?;
    let refused = echo(scene.dial(&store, &["istio"]).await?).await;
    ensure!(refused.is_err(), "{refused:?}");

    for name in ["reviews", "store"] {
        let me = vec![spiffe_id("vms", "web")];
        scene.mesh.change_one(name, |member| member.callers = Some(me)).await?;
    }
    let reply = scene.get(&reviews, &HTTP).await?;
    ensure!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    ensure!(echo(scene.dial(&store, &["istio"]).await?).await? == "hello");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_come_back_as_they_were_unless_an_exchange_of_metadata_was_offered() -> Result<()> {
    let scene = Scene::new().await?;
    let store = scene.sni("store")?;

    ensure!(echo(scene.dial(&store, &["istio"]).await?).await? == "hello");

    let stream = scene.dial(&store, &["istio-peer-exchange", "istio"]).await?;
    let negotiated = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    ensure!(negotiated.as_deref() == Some(b"istio-peer-exchange"), "{negotiated:?}");
    let first = exchange(stream, b"hello world").await?;
    ensure!(first == 0x3D23_0467_u32.to_be_bytes()[..], "{first:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_shows_what_it_is_told_to_and_follows_a_rotation_of_the_roots() -> Result<()> {
    let mut scene = Scene::new().await?;
    let reviews = scene.sni("reviews")?;
    for (shows, fails) in [
        (Shows::Strangers, Some("UnknownIssuer")),
        (Shows::Ended, Some("expired")),
        (Shows::Its, None),
    ] {
        scene.mesh.change_one("reviews", |member| member.shows = shows.clone()).await?;
        match (scene.get(&reviews, &HTTP).await, fails) {
            (Ok(_), None) => {}
            (Err(error), Some(why)) if format!("{error:#}").contains(why) => {}
            (got, _) => anyhow::bail!("{shows:?}: {got:?}"),
        }
    }
    scene.mesh.change_one("reviews", |one| one.shows = Shows::Of("other".to_owned())).await?;
    let reply = scene.get(&reviews, &HTTP).await?;
    ensure!(reply.contains(&spiffe_id("prod", "other")), "{reply}");

    scene.ca.rotate(OldRoot::Dropped)?;
    scene.mesh.rotate().await?;
    let reply = scene.get(&reviews, &HTTP).await?;
    ensure!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_goes_and_comes_back_and_leads_to_what_was_added() -> Result<()> {
    let mut scene = Scene::new().await?;
    let reviews = scene.sni("reviews")?;
    scene.get(&reviews, &HTTP).await?;

    scene.mesh.gateway(0)?.stop().await?;
    ensure!(scene.get(&reviews, &HTTP).await.is_err(), "it is still there");
    scene.mesh.gateway(0)?.again().await?;
    scene.get(&reviews, &HTTP).await?;

    let canary =
        Member { subset: "v2".to_owned(), ..Member::new("reviews", "prod", 9080, Speaks::Http) };
    scene.mesh.change(|members| members.push(canary.clone())).await?;
    scene.get(&canary.sni(), &HTTP).await?;
    Ok(())
}

/// As somebody with a certificate of the first, who believes the second.
async fn dial(
    to: SocketAddr,
    (own, trusted): (&TestCa, &TestCa),
    sni: &str,
    alpn: &[&str],
) -> Result<TlsStream<TcpStream>> {
    let pair = own.workload(&spiffe_id("vms", "web"), Duration::from_secs(3600))?;
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(trusted.roots()?);
    let chains = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(chain_alone::ChainAlone(chains)))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from(sni.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    stream.context("TLS handshake")
}

async fn request(mut stream: TlsStream<TcpStream>) -> Result<String> {
    let request = "GET /here HTTP/1.1\r\nhost: reviews.prod\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    // Who closes without a TLS goodbye has answered all the same.
    let end = stream.read_to_string(&mut reply).await;
    ensure!(!reply.is_empty(), "no answer: {end:?}");
    Ok(reply)
}

async fn echo(mut stream: TlsStream<TcpStream>) -> Result<String> {
    stream.write_all(b"hello").await?;
    let mut back = [0; 5];
    stream.read_exact(&mut back).await?;
    Ok(String::from_utf8(back.to_vec())?)
}

async fn exchange(mut stream: TlsStream<TcpStream>, said: &[u8]) -> Result<[u8; 4]> {
    stream.write_all(said).await?;
    let mut back = [0; 4];
    stream.read_exact(&mut back).await?;
    Ok(back)
}

/// A workload's certificate names nobody by DNS.
mod chain_alone {
    use super::{Arc, CertificateDer, CertificateError, ServerName, WebPkiServerVerifier};
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::UnixTime;

    #[derive(Debug)]
    pub(super) struct ChainAlone(pub(super) Arc<WebPkiServerVerifier>);

    impl ServerCertVerifier for ChainAlone {
        fn verify_server_cert(
            &self,
            leaf: &CertificateDer<'_>,
            above: &[CertificateDer<'_>],
            name: &ServerName<'_>,
            ocsp: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            match self.0.verify_server_cert(leaf, above, name, ocsp, now) {
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                other => other,
            }
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }
}
