//! A SPIFFE provider's answer of any content: what does not fit is refused, and never taken.
//!
//! ```text
//! 0 | protobuf                      as it comes
//! 1 | (length 2, element)*          the chain, the roots, those of the mesh, the id
//! ```

#![no_main]

use std::collections::HashMap;

use hawser_fuzz::{ID, assert_issued, key, piece};
use hawser_identity::Wish;
use hawser_pki::SpiffeId;
use hawser_proto::spiffe::{X509svid, X509svidResponse};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    let Some((form, rest)) = bytes.split_first() else { return };
    let response = match form {
        0 => match X509svidResponse::decode(rest) {
            Ok(response) => response,
            Err(_) => return,
        },
        _ => made(rest),
    };
    let id = SpiffeId::parse(ID).expect("an id");
    let trust_domain = id.trust_domain().to_owned();
    let wish = Wish { expected: Some(id), trust_domain };
    match wish.grant(response) {
        Ok(identity) => {
            assert!(identity.rooted().is_ok() && !identity.name().is_empty());
            if *form != 0 {
                assert_issued(&identity);
            }
        }
        Err(error) => assert!(!error.source.to_string().is_empty()),
    }
});

fn made(mut rest: &[u8]) -> X509svidResponse {
    let [x509_svid, bundle, mesh, id] = [(); 4].map(|()| piece(&mut rest).unwrap_or_default());
    let id = if id.is_empty() { ID.as_bytes() } else { id };
    let svid = X509svid {
        spiffe_id: String::from_utf8_lossy(id).into_owned(),
        x509_svid: x509_svid.to_vec(),
        x509_svid_key: key().der().secret_der().to_vec(),
        bundle: bundle.to_vec(),
        hint: String::new(),
    };
    let federated =
        (!mesh.is_empty()).then(|| ("spiffe://cluster.local".to_owned(), mesh.to_vec()));
    X509svidResponse {
        svids: vec![svid],
        crl: Vec::new(),
        federated_bundles: HashMap::from_iter(federated),
    }
}
