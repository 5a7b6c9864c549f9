//! Keys in every form they come in.

use rcgen::CertificateSigningRequestParams;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::*;
use crate::{SpiffeId, csr};

const KINDS: [KeyKind; 3] = [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Rsa2048];

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = String::new();
    pem::encode(label, der, &mut text);
    text
}

#[test]
fn a_key_is_the_same_in_every_form() {
    for kind in KINDS {
        let key = PrivateKey::generate(kind).unwrap();
        let old = key.encoded(KeyForm::Traditional);
        let forms = [
            key.pem().to_owned(),
            old.to_string(),
            old.replace('\n', "\r\n"),
            pem("EC PARAMETERS", b"openssl puts them in front") + &old,
            format!("leading text\n{}", key.pem()),
        ];
        for form in forms {
            let read = PrivateKey::from_pem(&form).unwrap();

            assert_eq!(read.public(), key.public(), "{kind}");
            assert!(read.pem().starts_with("-----BEGIN PRIVATE KEY-----\n"), "{kind}");
            assert!(matches!(read.der(), PrivateKeyDer::Pkcs8(_)), "{kind}");
            assert_eq!(read.kind(), Some(kind));
            assert_eq!(read.encoded(KeyForm::Traditional), old, "{kind}");
            let again = PrivateKey::from_pem(read.pem()).unwrap();
            assert_eq!(again.pem(), read.pem(), "{kind}");
        }
        let der = key.der();
        assert_eq!(PrivateKey::from_pkcs8(der.secret_der()).unwrap().pem(), key.pem());
    }
}

#[test]
fn rustls_takes_every_key_and_sees_the_same_public_half() {
    for kind in KINDS {
        let key = PrivateKey::generate(kind).unwrap();

        let taken = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key.der()).unwrap();

        assert_eq!(taken.public_key().unwrap().as_ref(), key.public(), "{kind}");
    }
}

#[test]
fn what_is_no_key_is_refused_without_being_quoted() {
    let secret = "MC4CAQAwBQYDK2VwBCIEIHhhdmUgYSBnb29kIGRheSwgZGVhciByZWFkZXIhISE=";
    let block = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    let cases = [
        (String::new(), "no private key found"),
        (block("CERTIFICATE", secret), "no private key found"),
        (block("ENCRYPTED PRIVATE KEY", secret), "no private key found"),
        (format!("-----BEGIN PRIVATE KEY {secret}"), "no private key found"),
        (format!("-----BEGIN PRIVATE KEY-----\n{secret}"), "no private key found"),
        (block("PRIVATE KEY", &format!("%{secret}")), "no private key found"),
        (block("PRIVATE KEY", secret), "not usable"),
        (block("EC PRIVATE KEY", secret), "not usable"),
        (block("RSA PRIVATE KEY", secret), "not usable"),
        ("x".repeat((1 << 20) + 1), "at most 1048576 are taken"),
    ];
    for (text, expected) in cases {
        let error = PrivateKey::from_pem(&text).unwrap_err();

        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?}").contains("MC4C"), "{error:?}");
        assert!(std::error::Error::source(&error).is_none());
    }
}

#[test]
fn each_key_is_new() {
    let [one, two] = [(); 2].map(|()| PrivateKey::generate(KeyKind::default()).unwrap());

    assert_ne!(one.pem(), two.pem());
    assert_ne!(one.public(), two.public());
}

#[test]
fn nothing_is_shown_of_a_key() {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();

    assert_eq!(format!("{key:?}"), "PrivateKey(..)");
}

#[test]
fn kinds_have_names_that_are_read_back() {
    for (kind, name) in KeyKind::NAMES {
        assert_eq!(kind.to_string(), name);
        assert_eq!(name.parse(), Ok(kind));
    }
    for wrong in ["", "rsa", "RSA-2048", "ecdsa-p521"] {
        assert_eq!(wrong.parse::<KeyKind>(), Err(UnknownKeyKind), "{wrong}");
    }
}

#[test]
fn a_request_names_the_id_and_nobody_else_and_proves_the_key() {
    let id = SpiffeId::parse("spiffe://cluster.local/ns/vms/sa/billing").unwrap();
    for kind in KINDS {
        let key = PrivateKey::generate(kind).unwrap();

        let text = csr(&key, &id).unwrap();

        assert!(text.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{text}");
        // Reading checks the signature.
        let request = CertificateSigningRequestParams::from_pem(&text).unwrap();
        let names = &request.params.subject_alt_names;
        assert_eq!(names, &[rcgen::SanType::URI(id.to_string().try_into().unwrap())]);
        assert_eq!(request.params.distinguished_name.iter().count(), 0);
        let (_, block) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
        let (rest, request) = X509CertificationRequest::from_der(&block.contents).unwrap();
        assert!(rest.is_empty());
        assert_eq!(request.certification_request_info.subject_pki.raw, key.public());
        let critical = request
            .certification_request_info
            .iter_attributes()
            .flat_map(|attribute| match attribute.parsed_attribute() {
                x509_parser::cri_attributes::ParsedCriAttribute::ExtensionRequest(asked) => {
                    asked.extensions.iter().map(|extension| extension.critical).collect()
                }
                _ => Vec::new(),
            })
            .collect::<Vec<_>>();
        assert_eq!(critical, [true], "the alternative name, and no other extension");
    }
}
