//! What stands in a certificate request: read for a test to look at, never for the answer.

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A key by its kind and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// RSA of so many bits.
    Rsa(usize),
    /// A curve of so many bits: 256 is P-256, 384 is P-384.
    Ec(usize),
    /// Something else.
    Other,
}

/// A certificate request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What stands between `-----BEGIN ` and the dashes.
    pub label: String,
    /// The key to be certified.
    pub key: Key,
    /// That key itself, DER.
    pub public_key: Vec<u8>,
    /// The algorithm of its signature, as a dotted OID.
    pub signature: String,
    /// The distinguished name as text; empty if there is none.
    pub subject: String,
    /// Alternative names: URIs as they are, others with their kind in front.
    pub names: Vec<String>,
    /// Whether the alternative names are critical.
    pub critical: bool,
    /// How many extensions are asked for.
    pub extensions: usize,
}

impl Request {
    /// Reads a request; `None` if it is none.
    #[must_use]
    pub fn read(pem: &str) -> Option<Self> {
        let label = pem.trim_start().strip_prefix("-----BEGIN ")?.split_once("-----")?.0;
        // Any label, as istiod; the reader knows only this one.
        let plain = pem.replace("NEW CERTIFICATE REQUEST", "CERTIFICATE REQUEST");
        let der = CertificateSigningRequestDer::from_pem_slice(plain.as_bytes()).ok()?;
        let (_, request) = X509CertificationRequest::from_der(&der).ok()?;
        let info = &request.certification_request_info;
        let mut read = Self {
            label: label.to_owned(),
            key: key(&info.subject_pki),
            public_key: info.subject_pki.raw.to_vec(),
            signature: request.signature_algorithm.algorithm.to_id_string(),
            subject: info.subject.to_string(),
            names: Vec::new(),
            critical: false,
            extensions: 0,
        };
        let wishes = info.iter_attributes().filter_map(|one| match one.parsed_attribute() {
            x509_parser::cri_attributes::ParsedCriAttribute::ExtensionRequest(wish) => Some(wish),
            _ => None,
        });
        for extension in wishes.flat_map(|wish| &wish.extensions) {
            read.extensions += 1;
            if let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() {
                read.critical = extension.critical;
                read.names.extend(san.general_names.iter().map(name));
            }
        }
        Some(read)
    }
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        other => other.to_string(),
    }
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> Key {
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => Key::Rsa(key.key_size()),
        Ok(PublicKey::EC(point)) => Key::Ec(point.key_size()),
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
        SanType,
    };

    use super::*;

    fn pem(key: &KeyPair) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI("spiffe://td/ns/a/sa/b".try_into().unwrap())];
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_is_read_for_key_names_and_label() {
        for (algorithm, key) in
            [(&PKCS_ECDSA_P384_SHA384, Key::Ec(384)), (&PKCS_RSA_SHA256, Key::Rsa(2048))]
        {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let read = Request::read(&pem(&pair)).unwrap();
            assert_eq!(read.key, key);
            assert_eq!(read.label, "CERTIFICATE REQUEST");
            assert_eq!(read.names, ["spiffe://td/ns/a/sa/b"]);
            assert_eq!((read.subject.as_str(), read.extensions), ("", 1));
        }
        let new = pem(&KeyPair::generate().unwrap()).replace("CERTIFICATE R", "NEW CERTIFICATE R");
        let read = Request::read(&new).unwrap();
        assert_eq!((read.key, read.label.as_str()), (Key::Ec(256), "NEW CERTIFICATE REQUEST"));
        assert_eq!(Request::read("rubbish"), None);
    }
}
