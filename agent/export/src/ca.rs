//! Identities for the tests of this crate.

use std::path::Path;

use hawser_pki::{Bundle, Chain, Identity, KeyForm, KeyKind, PrivateKey, SpiffeId, csr};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::time::Duration;

use crate::Options;

/// An identity under a root of its own.
pub(crate) fn identity() -> Identity {
    identity_of(KeyKind::EcdsaP256)
}

pub(crate) fn identity_of(kind: KeyKind) -> Identity {
    let root = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let roots = Bundle::from_pem(&params.self_signed(&root).unwrap().pem()).unwrap();

    let key = PrivateKey::generate(kind).unwrap();
    let id = SpiffeId::parse("spiffe://cluster.local/ns/vms/sa/billing").unwrap();
    let request = csr(&key, &id).unwrap();
    let request = CertificateSigningRequestParams::from_pem(&request).unwrap();
    let leaf = request.signed_by(&Issuer::new(params, root)).unwrap().pem();
    Identity::new(key, Chain::from_pem(&leaf).unwrap(), roots).unwrap()
}

pub(crate) fn options(directory: &Path) -> Options {
    Options {
        directory: directory.to_owned(),
        owner: None,
        group: None,
        key_mode: 0o600,
        mode: 0o644,
        form: KeyForm::Traditional,
        command: None,
        stamp: None,
        spacing: Duration::from_secs(10),
    }
}

/// What programs that open the three names see, if that is an identity.
pub(crate) fn shown(directory: &Path) -> Option<Identity> {
    let read = |name| std::fs::read_to_string(directory.join(name)).ok();
    let (key, chain, roots) = (read("key.pem")?, read("cert-chain.pem")?, read("root-cert.pem")?);
    let key = PrivateKey::from_pem(&key).unwrap();
    let (chain, roots) = (Chain::from_pem(&chain).unwrap(), Bundle::from_pem(&roots).unwrap());
    // Not one key with the chain of another.
    Some(Identity::new(key, chain, roots).unwrap())
}

pub(crate) fn same(one: &Identity, other: &Identity) -> bool {
    one.key.pem() == other.key.pem()
        && one.chain.pem() == other.chain.pem()
        && one.roots == other.roots
}
