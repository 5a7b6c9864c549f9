//! The CA service.

use std::time::{Duration, SystemTime};

use hawser_harness::ca::{OldRoot, Shape, TestCa, spiffe_id};
use hawser_harness::istiod::{ConnectionState, FakeIstiod, Key, Refuse};
use hawser_harness::token::{Claims, TokenSigner};
use hawser_proto::envoy::google::protobuf::{Struct, Value, value::Kind};
use hawser_proto::istio::ca::IstioCertificateRequest;
use hawser_proto::istio::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::client::{dial, dial_plaintext, istiod, token, with_token};

pub(crate) fn csr(identity: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

pub(crate) async fn sign(
    channel: Channel,
    token: Option<&str>,
    csr: String,
    validity_duration: i64,
) -> Result<Vec<String>, Status> {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let metadata = Struct { fields: [("CertSigner".to_owned(), text(""))].into() };
    let metadata = Some(metadata);
    let message = IstioCertificateRequest { csr, validity_duration, metadata };
    let request = match token {
        Some(token) => with_token(message, token),
        None => Request::new(message),
    };
    let mut client = IstioCertificateServiceClient::new(channel);
    Ok(client.create_certificate(request).await?.into_inner().cert_chain)
}

#[tokio::test]
async fn a_token_becomes_a_certificate_of_its_account_whatever_the_request_wants() {
    let istiod = istiod().await;
    let token = token(&istiod, "vms", "web");
    let wanted = csr(&spiffe_id("kube-system", "admin"));

    let channel = dial(&istiod, None).await.unwrap();
    let chain = sign(channel, Some(&token), wanted, 3600).await.unwrap();

    assert_eq!(chain.len(), 3, "leaf, and the root twice");
    assert_eq!(chain[1], chain[2]);
    assert_eq!(chain[2], istiod.ca().root_pem());
    let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(san.critical);
    let own = spiffe_id("vms", "web");
    assert_eq!(san.value.general_names, [GeneralName::URI(own.as_str())]);
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(life, 3600 + 120);
    assert_eq!(leaf.subject().iter().count(), 0);
    let seen = istiod.seen();
    assert!(seen.csrs[0].shown.token && !seen.csrs[0].shown.certificate);
    assert_eq!(seen.csrs[0].identities, [own]);
    assert_eq!(seen.csrs[0].cluster_id.as_deref(), Some("Kubernetes"));
}

#[tokio::test]
async fn all_that_a_request_says_is_in_the_journal() {
    let istiod = istiod().await;
    let identity = spiffe_id("vms", "web");
    let hour = Duration::from_secs(3600);
    let own = istiod.ca().workload(&identity, hour).unwrap();
    let expired = Claims {
        expires: SystemTime::now() - hour,
        service_account: "old".to_owned(),
        ..Claims::new("vms", "")
    };
    let token = istiod.tokens().mint(&expired).unwrap();

    let channel = dial(&istiod, Some(&own)).await.unwrap();
    sign(channel, Some(&token), csr(&identity), 60).await.unwrap();

    let seen = istiod.seen();
    let [csr] = seen.issued()[..] else { panic!("{:?}", seen.csrs) };
    let der = CertificateDer::from_pem_slice(own.chain.as_bytes()).unwrap();
    let (_, shown) = X509Certificate::from_der(&der).unwrap();
    let client = csr.certificate.as_ref().unwrap();
    assert_eq!(client.identity, identity);
    assert_eq!(client.serial, format!("{:x}", shown.serial));
    assert!(client.not_after > csr.at && client.not_after <= csr.at + hour);
    assert_eq!(csr.subject.as_deref(), Some("system:serviceaccount:vms:old"));
    assert_eq!(csr.metadata, Some([("CertSigner".to_owned(), String::new())].into()));
    assert_eq!(csr.headers, [("clusterid".to_owned(), "Kubernetes".to_owned())]);
    let request = csr.request.as_ref().unwrap();
    assert_eq!(request.key, Key::Ec(256));
    assert_eq!(request.names, [identity]);
    assert_eq!(request.label, "CERTIFICATE REQUEST");
}

#[tokio::test]
async fn an_intermediate_stands_between_leaf_and_root() {
    let ca = TestCa::new(Shape::Intermediate).unwrap();
    let istiod = FakeIstiod::start(&ca, &TokenSigner::new().unwrap()).await.unwrap();
    let token = token(&istiod, "vms", "web");

    let channel = dial(&istiod, None).await.unwrap();
    let chain = sign(channel, Some(&token), csr("spiffe://x"), 0).await.unwrap();

    assert_eq!(chain.len(), 3);
    assert_ne!(chain[1], chain[2]);
    assert_eq!(chain[2], ca.root_pem());
}

#[tokio::test]
async fn who_is_not_known_is_refused_in_one_way() {
    let istiod = istiod().await;
    let now = SystemTime::now();
    let claims = Claims::new("vms", "web");
    let mint = |claims: &Claims| istiod.tokens().mint(claims).unwrap();
    let expired = mint(&Claims { expires: now - Duration::from_secs(60), ..claims.clone() });
    let audience = mint(&Claims { audience: "api".to_owned(), ..claims.clone() });
    let forged = TokenSigner::new().unwrap().mint(&claims).unwrap();
    for token in [None, Some("rubbish"), Some(&expired), Some(&audience), Some(&forged)] {
        let channel = dial(&istiod, None).await.unwrap();
        let status = sign(channel, token, csr("spiffe://x"), 0).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.message(), "request authenticate failure");
    }
}

#[tokio::test]
async fn a_certificate_wins_over_the_token_beside_it() {
    let istiod = istiod().await;
    let identity = spiffe_id("vms", "web");
    let own = istiod.ca().workload(&identity, Duration::from_secs(600)).unwrap();
    let other = token(&istiod, "vms", "other");
    for token in [None, Some("rubbish"), Some(other.as_str())] {
        let channel = dial(&istiod, Some(&own)).await.unwrap();
        sign(channel, token, csr("spiffe://x"), 0).await.unwrap();
        let seen = istiod.seen();
        let last = seen.csrs.last().unwrap();
        assert_eq!(last.identities, [identity.as_str()]);
        assert!(last.shown.certificate);
        assert_eq!(last.shown.token, token.is_some());
    }
}

#[tokio::test]
async fn requests_that_cannot_be_signed_are_told_why() {
    let istiod = istiod().await;
    let token = token(&istiod, "vms", "web");
    let good = csr("spiffe://x");
    let ninety_days = 90 * 24 * 3600;
    for (csr, validity, code, text) in [
        (good.clone(), ninety_days, Code::Ok, ""),
        (good.clone(), -5, Code::Ok, ""),
        (good.clone(), i64::MAX, Code::Ok, ""),
        (
            good,
            ninety_days + 1,
            Code::InvalidArgument,
            "CSR signing error (requested TTL 2160h0m1s is greater than the max allowed TTL \
             2160h0m0s)",
        ),
        (
            "rubbish".to_owned(),
            0,
            Code::InvalidArgument,
            "CSR signing error (certificate signing request is not properly encoded)",
        ),
    ] {
        let channel = dial(&istiod, None).await.unwrap();
        let answer = sign(channel, Some(&token), csr, validity).await;
        let status = answer.err().unwrap_or_else(|| Status::ok(""));
        assert_eq!((status.code(), status.message()), (code, text));
    }
}

#[tokio::test]
async fn the_ca_is_not_served_in_plaintext_and_refuses_when_told_to() {
    let istiod = istiod().await;
    let token = token(&istiod, "vms", "web");
    let channel = dial_plaintext(istiod.plaintext_addr()).await.unwrap();
    let status = sign(channel, Some(&token), csr("spiffe://x"), 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);

    istiod.faults(|faults| faults.refuse_ca = Some(Refuse::new(Code::Internal, "not ready")));
    let channel = dial(&istiod, None).await.unwrap();
    let status = sign(channel, Some(&token), csr("spiffe://x"), 0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "not ready"));
}

#[tokio::test]
async fn bad_client_certificates_fail_in_the_handshake() {
    let istiod = istiod().await;
    let hour = Duration::from_secs(3600);
    let stranger = TestCa::new(Shape::SelfSigned).unwrap();
    let untrusted = stranger.workload(&spiffe_id("vms", "web"), hour).unwrap();
    let no_spiffe = istiod.ca().workload("https://example.org/", hour).unwrap();
    let other_domain = istiod.ca().workload("spiffe://other/ns/vms/sa/web", hour).unwrap();
    let token = token(&istiod, "vms", "web");
    for own in [untrusted, no_spiffe, other_domain] {
        // In TLS 1.3 the client is through before the server has looked.
        let refused = match dial(&istiod, Some(&own)).await {
            Err(_) => true,
            Ok(channel) => sign(channel, Some(&token), csr("spiffe://x"), 0).await.is_err(),
        };
        assert!(refused);
    }
    let refused = |one: &&hawser_harness::istiod::Connection| {
        matches!(one.state, ConnectionState::Refused(_))
    };
    let all =
        |seen: &hawser_harness::istiod::Seen| seen.connections.iter().filter(refused).count() == 3;
    istiod.until("three refused handshakes", all).await.unwrap();
    assert!(istiod.seen().csrs.is_empty());
}

#[tokio::test]
async fn a_rotation_changes_issuer_and_serving_certificate_at_once() {
    let istiod = istiod().await;
    let before = istiod.ca().clone().root_pem();
    let own = istiod.ca().workload(&spiffe_id("vms", "web"), Duration::from_secs(600)).unwrap();

    istiod.ca().rotate(OldRoot::Kept).unwrap();
    let channel = dial(&istiod, Some(&own)).await.unwrap();
    let chain = sign(channel, None, csr("spiffe://x"), 0).await.unwrap();
    let bundle = chain.last().unwrap();
    assert!(bundle.contains(&before) && *bundle != before, "both roots in the last element");

    istiod.ca().rotate(OldRoot::Dropped).unwrap();
    let dialled = dial(&istiod, Some(&own)).await;
    let refused = match dialled {
        Err(_) => true,
        Ok(channel) => sign(channel, None, csr("spiffe://x"), 0).await.is_err(),
    };
    assert!(refused, "the certificate of a dropped root is no good");
}
