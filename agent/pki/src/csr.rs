//! The certificate signing request that Istio's CA expects.

use rcgen::{CertificateParams, DistinguishedName, SanType};

use crate::{Error, PrivateKey, SpiffeId};

/// A request, in PEM, for a certificate that gives `id` to `key`.
///
/// It names nobody but the id: the subject is empty, which makes the alternative name critical.
/// What the certificate is to be used for is the CA's to say.
pub fn csr(key: &PrivateKey, id: &SpiffeId) -> Result<String, Error> {
    let signer = key.signer()?;
    let request = || -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
        params.serialize_request(&signer)?.pem()
    };
    request().map_err(|source| Error::Request { id: id.clone(), source })
}
