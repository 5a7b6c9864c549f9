//! What programs print, good and bad.

use std::time::Duration;

use hawser_harness::ca::{Certified, Shape, TestCa, spiffe_id};
use hawser_rt::Chain as Causes;

use super::*;

fn of(ca: &TestCa) -> Certified {
    ca.workload(&spiffe_id("ns", "vm"), Duration::from_secs(3600)).unwrap()
}

fn wrong(output: &str) -> String {
    Causes(&printed(output.as_bytes(), None).unwrap_err()).to_string()
}

#[test]
fn key_certificates_and_root_come_as_pem_in_any_order_but_the_leaf_is_first() {
    for shape in [Shape::SelfSigned, Shape::Intermediate] {
        let ca = TestCa::new(shape).unwrap();
        let (pair, root) = (of(&ca), ca.root_pem());
        let (key, chain) = (&pair.key, &pair.chain);
        for text in [
            format!("{key}{chain}{root}"),
            format!("\n\n{chain}{key}{root}"),
            format!("issued for you:\n{chain}{root}{key}"),
        ] {
            let identity = printed(text.as_bytes(), None).unwrap();
            assert_eq!(identity.name(), spiffe_id("ns", "vm"));
            assert_eq!(identity.roots.pem(), root);
            assert!(!identity.chain.pem().contains(root.trim()), "the root is shown to nobody");
        }
    }
}

#[test]
fn the_same_comes_as_json_and_lists_are_put_together() {
    let ca = TestCa::new(Shape::Intermediate).unwrap();
    let (pair, root) = (of(&ca), ca.root_pem());
    let split = pair.chain.find("-----END CERTIFICATE-----").unwrap() + 26;
    let (leaf, rest) = pair.chain.split_at(split);
    for json in [
        serde_json::json!({"key": pair.key, "chain": pair.chain, "roots": root}),
        serde_json::json!({"key": pair.key, "chain": [leaf, rest], "roots": [root]}),
        serde_json::json!({"key": pair.key, "chain": [leaf, rest, root]}),
    ] {
        let identity = printed(json.to_string().as_bytes(), None).unwrap();
        assert_eq!(identity.chain.ders().len(), 2);
        assert_eq!(identity.roots.pem(), root);
    }
}

#[test]
fn roots_that_are_kept_apart_are_the_ones_to_believe_whatever_the_pair_leads_to() {
    let (ca, mesh) = (TestCa::new(Shape::SelfSigned).unwrap(), TestCa::new(Shape::SelfSigned));
    let (pair, mesh) = (of(&ca), Bundle::from_pem(&mesh.unwrap().root_pem()).unwrap());
    for text in [
        format!("{}{}", pair.key, pair.chain),
        format!("{}{}{}", pair.key, pair.chain, ca.root_pem()),
    ] {
        let identity = printed(text.as_bytes(), Some(mesh.clone())).unwrap();
        assert_eq!(identity.roots, mesh);
        assert!(identity.rooted().is_err());
    }
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let ca = TestCa::new(Shape::Intermediate).unwrap();
    let (pair, other, root) = (of(&ca), of(&ca), ca.root_pem());
    let foreign = TestCa::new(Shape::SelfSigned).unwrap().root_pem();
    let json = |value: serde_json::Value| value.to_string();
    let (key, chain) = (&pair.key, &pair.chain);
    for (output, expected) in [
        (String::new(), "expected a key and certificates in PEM, or JSON of the form"),
        ("Error: not logged in\n".to_owned(), "expected a key and certificates in PEM"),
        (format!("{key}{chain}"), "there is no root in it: print the mesh's too"),
        (format!("{chain}{root}"), "its key cannot be used: no private key found"),
        (key.clone(), "its chain cannot be used: no certificate found"),
        (format!("{key}{}{root}", other.chain), "private key does not fit the certificate"),
        (format!("{key}{chain}{foreign}"), "does not chain to any of the 1 trusted roots"),
        (json(serde_json::json!({"key": key, "cert": chain})), "unknown field `cert`"),
        (json(serde_json::json!({"key": key})), "missing field `chain` in line 1"),
        (format!("{{\"key\": {key:?},\n\"chain\": 5}}"), "in line 2"),
        (json(serde_json::json!({"key": key, "chain": chain, "roots": "?"})), "its roots cannot"),
    ] {
        let told = wrong(&output);
        assert!(told.contains(expected), "{told}\nof: {output}");
        assert!(!told.contains("PRIVATE KEY-----"), "the key is in it: {told}");
    }
    assert!(matches!(printed(b"\xff\xfe", None), Err(Unprinted::NotText)));
}
