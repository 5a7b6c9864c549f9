//! A real Envoy takes what FakeIstiod pushes, and reaches the workload with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::ensure;
use hawser_harness::ca::{Shape, TestCa, spiffe_id};
use hawser_harness::envoy::{Envoy, validate};
use hawser_harness::free;
use hawser_harness::http1::call;
use hawser_harness::istiod::{FakeIstiod, State};
use hawser_harness::service::{PEER_HEADER, Secrets, Service};
use hawser_harness::token::TokenSigner;
use hawser_harness::traffic::Traffic;
use hawser_harness::wait::wait_for;
use hawser_harness::workload::{Answer, Workload};
use hawser_proto::envoy::envoy::config::core::v3::{DataSource, data_source};
use hawser_proto::envoy::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use hawser_proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET};
use http::Method;
use serde_json::{Value, json};

fn bootstrap(istiod: &FakeIstiod, admin: SocketAddr, api_type: &str) -> Value {
    let addr = istiod.plaintext_addr();
    let ads = json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" });
    let address = |addr: SocketAddr| {
        json!({ "socket_address": {
            "address": addr.ip().to_string(), "port_value": addr.port() } })
    };
    json!({
        "node": {
            "id": "sidecar~127.0.0.1~vm.vms~vms.svc.cluster.local", "cluster": "vm.vms",
            "metadata": { "NAMESPACE": "vms", "SERVICE_ACCOUNT": "web" },
        },
        "admin": { "address": address(admin) },
        "dynamic_resources": {
            "lds_config": ads, "cds_config": ads,
            "ads_config": {
                "api_type": api_type, "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
            },
        },
        "static_resources": { "clusters": [{
            "name": "xds-grpc", "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": { "cluster_name": "xds-grpc", "endpoints": [{ "lb_endpoints": [
                { "endpoint": { "address": address(addr) } },
            ] }] },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
        }] },
    })
}

fn secrets(ca: &TestCa, identity: &str, state: &mut State) {
    let inline = |text: String| DataSource {
        specifier: Some(data_source::Specifier::InlineString(text)),
        ..DataSource::default()
    };
    let own = ca.workload(identity, Duration::from_secs(3600)).unwrap();
    let certificate = TlsCertificate {
        certificate_chain: Some(inline(own.chain)),
        private_key: Some(inline(own.key)),
        ..TlsCertificate::default()
    };
    let roots = CertificateValidationContext {
        trusted_ca: Some(inline(ca.root_pem())),
        ..CertificateValidationContext::default()
    };
    state.set([
        Secret {
            name: "default".to_owned(),
            r#type: Some(secret::Type::TlsCertificate(certificate)),
        },
        Secret { name: "ROOTCA".to_owned(), r#type: Some(secret::Type::ValidationContext(roots)) },
    ]);
}

async fn an_envoy_reaches_the_workload(api_type: &str) {
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new(Shape::Intermediate).unwrap();
    let istiod = FakeIstiod::start(&ca, &TokenSigner::new().unwrap()).await.unwrap();
    let hello = Workload::start(&ca, "demo", "hello").await.unwrap();
    let service = Service::new("hello", "demo", hello.addr()).unwrap();
    let identity = spiffe_id("vms", "web");
    istiod.world().change(|state| {
        Service::publish(std::slice::from_ref(&service), Secrets::Istiod, state);
        secrets(&ca, &identity, state);
        state.ballast(1 << 20);
    });
    let localhost = Ipv4Addr::LOCALHOST.into();
    let admin = SocketAddr::new(localhost, free::port(localhost).unwrap());
    let bootstrap = bootstrap(&istiod, admin, api_type);
    validate(&bootstrap).unwrap();

    let envoy = Envoy::start(&bootstrap, admin, dir.path()).await.unwrap();
    let reply = wait_for("an answer through Envoy", async || {
        let reply = call(service.vip, &Method::GET, "/path", &[]).await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
        Ok(reply)
    })
    .await
    .unwrap();

    assert_eq!(reply.headers[PEER_HEADER], hello.identity());
    let answer: Answer = reply.json().unwrap();
    assert_eq!((answer.caller, answer.path), (identity, "/path".to_owned()));
    assert_eq!(hello.served().requests.len(), 1);
    let seen = istiod.seen();
    for type_url in [CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET] {
        assert!(seen.acks(type_url) > 0, "{type_url}");
        assert_eq!(seen.nacks(type_url), [], "{type_url}");
    }
    assert!(envoy.get("/certs").await.unwrap().body.contains("spiffe://"));
}

#[tokio::test]
async fn an_envoy_reaches_the_workload_by_sotw() {
    an_envoy_reaches_the_workload("GRPC").await;
}

#[tokio::test]
async fn an_envoy_reaches_the_workload_by_delta() {
    an_envoy_reaches_the_workload("DELTA_GRPC").await;
}

#[tokio::test]
async fn a_workload_answers_nobody_without_a_mesh_certificate() {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let hello = Workload::start(&ca, "demo", "hello").await.unwrap();
    assert!(call(hello.addr(), &Method::GET, "/", &[]).await.is_err());
    let refused = hello.until("a refusal", |served| !served.refused.is_empty()).await.unwrap();
    assert!(refused.requests.is_empty());
}

#[test]
fn a_wrong_bootstrap_is_refused_with_what_envoy_said() {
    let error = validate(&json!({ "node": { "idd": "x" } })).unwrap_err().to_string();
    assert!(error.contains("idd"), "{error}");
}

#[tokio::test]
async fn traffic_through_an_envoy_is_counted_and_shows_who_asked() {
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let istiod = FakeIstiod::start(&ca, &TokenSigner::new().unwrap()).await.unwrap();
    let hello = Workload::start(&ca, "demo", "hello").await.unwrap();
    hello.brief(true);
    let service = Service::new("hello", "demo", hello.addr()).unwrap();
    let identity = spiffe_id("vms", "web");
    istiod.world().change(|state| {
        Service::publish(std::slice::from_ref(&service), Secrets::Istiod, state);
        secrets(&ca, &identity, state);
    });
    let localhost = Ipv4Addr::LOCALHOST.into();
    let admin = SocketAddr::new(localhost, free::port(localhost).unwrap());
    let bootstrap = bootstrap(&istiod, admin, "DELTA_GRPC");
    let envoy = Envoy::start(&bootstrap, admin, dir.path()).await.unwrap();
    wait_for("an answer through Envoy", async || {
        let reply = call(service.vip, &Method::GET, "/", &[]).await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
        Ok(())
    })
    .await
    .unwrap();

    let traffic = Traffic::start(&service, 2);
    traffic.until("some answers", |served| served.ok > 10).await.unwrap();
    istiod.world().change(|state| secrets(&ca, &identity, state));
    traffic.until("another certificate", |served| served.serials.len() == 2).await.unwrap();
    let undisturbed = traffic.so_far();
    assert_eq!((undisturbed.failed, undisturbed.why), (0, Vec::new()));

    drop(envoy);
    traffic.until("failures", |served| served.failed > 0).await.unwrap();
    let served = traffic.stop().await.unwrap();
    assert!(served.ok > 10 && !served.why.is_empty(), "{served:?}");
}
