//! Which identity is taken, and which is not.

use std::{collections::HashMap, time::Duration};

use hawser_harness::ca::{Certified, Shape, TestCa, spiffe_id};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::*;

fn wish(expected: Option<&str>) -> Wish {
    let expected = expected.map(|id| id.parse().unwrap());
    Wish { expected, trust_domain: "cluster.local".to_owned() }
}

fn ders(pem: &str) -> Vec<u8> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).flat_map(|der| der.unwrap().to_vec()).collect()
}

fn svid(id: &str, pair: &Certified, ca: &TestCa) -> X509svid {
    X509svid {
        spiffe_id: id.to_owned(),
        x509_svid: ders(&pair.chain),
        x509_svid_key: PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
            .unwrap()
            .secret_der()
            .to_vec(),
        bundle: ders(&ca.root_pem()),
        hint: String::new(),
    }
}

fn of(id: &str, ca: &TestCa) -> X509svid {
    svid(id, &ca.workload(id, Duration::from_secs(3600)).unwrap(), ca)
}

fn only(svid: X509svid) -> X509svidResponse {
    X509svidResponse { svids: vec![svid], ..X509svidResponse::default() }
}

fn wrong(response: X509svidResponse) -> String {
    let Ungranted { name, source } = wish(None).grant(response).unwrap_err();
    format!("{name}: {}", hawser_rt::Chain(source.as_ref()))
}

#[test]
fn of_several_identities_the_configured_one_is_taken_else_the_first() {
    let ca = TestCa::new(Shape::Intermediate).unwrap();
    let (first, second) = (spiffe_id("ns", "first"), spiffe_id("ns", "second"));
    let both = X509svidResponse {
        svids: vec![of(&first, &ca), of(&second, &ca)],
        ..X509svidResponse::default()
    };
    for (expected, name) in [
        (None, &first),
        (Some(second.as_str()), &second),
        (Some("spiffe://cluster.local/ns/ns/sa/nobody"), &first),
    ] {
        let identity = wish(expected).grant(both.clone()).unwrap();
        assert_eq!(identity.name(), name);
        assert_eq!(identity.roots.pem(), ca.root_pem());
        assert_eq!(identity.chain.ders().len(), 2);
    }
}

#[test]
fn an_id_of_another_form_than_istios_is_taken() {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let identity = wish(None).grant(only(of("spiffe://vms.example/web/7", &ca))).unwrap();
    assert_eq!((identity.name(), identity.spiffe_id()), ("spiffe://vms.example/web/7", None));
}

#[test]
fn the_roots_of_the_mesh_are_believed_where_it_is_federated_and_those_of_others_are_not() {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let (mesh, other) = (TestCa::new(Shape::SelfSigned), TestCa::new(Shape::SelfSigned));
    let (mesh, other) = (mesh.unwrap().root_pem(), other.unwrap().root_pem());
    for scheme in ["spiffe://", ""] {
        let mut response = only(of("spiffe://vms.example/web", &ca));
        response.federated_bundles = HashMap::from([
            (format!("{scheme}cluster.local"), ders(&mesh)),
            (format!("{scheme}other.example"), ders(&other)),
        ]);
        let identity = wish(None).grant(response).unwrap();
        assert_eq!(identity.roots.pem(), format!("{}{mesh}", ca.root_pem()));
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    let foreign = TestCa::new(Shape::SelfSigned).unwrap();
    let id = spiffe_id("ns", "vm");
    let good = of(&id, &ca);
    let with = |edit: fn(&mut X509svid)| {
        let mut svid = good.clone();
        edit(&mut svid);
        only(svid)
    };
    assert_eq!(wrong(X509svidResponse::default()), "an answer: there is no identity in it");
    for (response, expected) in [
        (with(|svid| svid.x509_svid_key.clear()), "private key is not usable"),
        (with(|svid| svid.x509_svid.clear()), "no certificate found"),
        (with(|svid| svid.x509_svid.push(0)), "of the chain is not X.509"),
        (with(|svid| svid.bundle.clear()), "no certificate found"),
        (with(|svid| svid.bundle.truncate(9)), "is not X.509"),
        (with(|svid| svid.spiffe_id.push('x')), "its certificate is for spiffe://"),
    ] {
        let told = wrong(response);
        assert!(told.starts_with(&id) && told.contains(expected), "{told}");
    }
    let other = ca.workload(&id, Duration::from_secs(60)).unwrap();
    let mut swapped = good.clone();
    swapped.x509_svid = ders(&other.chain);
    assert!(wrong(only(swapped)).contains("private key does not fit"));
    let mut unrooted = good;
    unrooted.bundle = ders(&foreign.root_pem());
    assert!(wrong(only(unrooted)).contains("does not chain to any"));
}
