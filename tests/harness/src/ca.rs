//! The certificate authority of the fake mesh.
//!
//! Signs as istiod's own CA does: the caller's identities and never those of the request, two
//! minutes back-dated, clipped to the signing certificate, empty subject and therefore a critical
//! SAN; the chain of a root that signs by itself contains the root, so an answer has it twice.
//! A clone is the same authority, so a rotation is seen by everything that holds one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The trust domain of the fake mesh.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// What a certificate lives when the request does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);

/// The longest life a workload may ask for.
pub const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3600);

const BACKDATED: Duration = Duration::from_secs(120);
const ROOT_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How the signing certificate hangs on the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The root signs by itself, as in a mesh that made its own CA.
    SelfSigned,
    /// An intermediate signs, as in a mesh with a plugged-in CA.
    Intermediate,
}

/// What becomes of the old root in a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldRoot {
    /// Trusted beside the new one.
    Kept,
    /// Forgotten: who trusts only it is locked out.
    Dropped,
}

/// Why a request was not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request is no PEM, no CSR, or is not signed by its own key.
    Csr(String),
    /// More life was asked for than the CA gives.
    Ttl(String),
    /// The certificate could not be made.
    Sign(String),
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Certified {
    /// PEM chain, leaf first.
    pub chain: String,
    /// PKCS#8 PEM.
    pub key: String,
}

/// The mesh's CA.
#[derive(Clone)]
pub struct TestCa {
    authority: Arc<RwLock<Authority>>,
    shape: Shape,
}

struct Authority {
    signer: CertifiedIssuer<'static, KeyPair>,
    not_after: SystemTime,
    /// What follows a leaf, one certificate each: istiod's `cert-chain.pem`.
    above: Vec<String>,
    /// Trusted roots, newest first.
    roots: Vec<String>,
}

impl TestCa {
    /// Makes an authority with a fresh root.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn new(shape: Shape) -> Result<Self> {
        let authority = Arc::new(RwLock::new(Authority::new(shape)?));
        Ok(Self { authority, shape })
    }

    /// Signs with a new root from now on.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn rotate(&self, old: OldRoot) -> Result<()> {
        let mut next = Authority::new(self.shape)?;
        let mut authority = self.authority.write();
        if old == OldRoot::Kept {
            next.roots.append(&mut authority.roots);
        }
        *authority = next;
        Ok(())
    }

    /// The trusted roots as PEM, newest first.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.authority.read().roots.concat()
    }

    /// The trusted roots as rustls wants them.
    ///
    /// # Errors
    /// When rustls refuses one of them.
    pub fn roots(&self) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.root_pem().as_bytes()) {
            store.add(root.context("read own root")?).context("trust own root")?;
        }
        Ok(store)
    }

    /// Signs a workload's request for `identities` and as many seconds as it asks for; answers
    /// leaf, what is above it and, as the last element, all roots in one.
    ///
    /// # Errors
    /// A [`Refusal`], worded as istiod words it.
    pub fn sign(
        &self,
        csr: &str,
        identities: &[String],
        seconds: i64,
    ) -> Result<Vec<String>, Refusal> {
        let request = CertificateSigningRequestParams::from_pem(csr).map_err(csr_refusal)?;
        // Go multiplies without looking, so an absurd wish comes out negative or small.
        let asked = u64::try_from(seconds.wrapping_mul(1_000_000_000)).unwrap_or_default();
        let asked = Duration::from_nanos(asked);
        if asked > MAX_TTL {
            return Err(Refusal::Ttl(format!(
                "requested TTL {} is greater than the max allowed TTL {}",
                go_duration(asked),
                go_duration(MAX_TTL)
            )));
        }
        let ttl = if asked.is_zero() { DEFAULT_TTL } else { asked };
        let authority = self.authority.read();
        let leaf = authority
            .leaf(&request.public_key, identities, ttl)
            .map_err(|error| Refusal::Sign(error.to_string()))?;
        let mut chain = vec![leaf];
        chain.extend(authority.above.iter().cloned());
        chain.push(authority.roots.concat());
        Ok(chain)
    }

    /// A certificate with key for a workload, valid from two minutes ago for `ttl` from now.
    ///
    /// # Errors
    /// When key or certificate cannot be made.
    pub fn workload(&self, identity: &str, ttl: Duration) -> Result<Certified> {
        let key = KeyPair::generate().context("make a workload key")?;
        let authority = self.authority.read();
        let leaf = authority.leaf(&key, &[identity.to_owned()], ttl)?;
        Ok(authority.certified(leaf, &key))
    }

    /// A serving certificate for DNS names, as istiod signs for itself.
    ///
    /// # Errors
    /// When key or certificate cannot be made.
    pub fn serving(&self, names: &[&str]) -> Result<Certified> {
        let key = KeyPair::generate().context("make a serving key")?;
        let authority = self.authority.read();
        let mut params = leaf_params(DEFAULT_TTL, authority.not_after);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        let leaf = params.signed_by(&key, &authority.signer).context("sign serving certificate")?;
        Ok(authority.certified(leaf.pem(), &key))
    }
}

impl Authority {
    fn new(shape: Shape) -> Result<Self> {
        let not_after = SystemTime::now() + ROOT_TTL;
        let key = KeyPair::generate().context("make a root key")?;
        let root = CertifiedIssuer::self_signed(ca_params("Root CA", not_after), key)
            .context("sign root")?;
        let roots = vec![root.pem()];
        Ok(match shape {
            Shape::SelfSigned => Self { signer: root, not_after, above: roots.clone(), roots },
            Shape::Intermediate => {
                let key = KeyPair::generate().context("make an intermediate key")?;
                let params = ca_params("Intermediate CA", not_after);
                let signer =
                    CertifiedIssuer::signed_by(params, key, &root).context("sign intermediate")?;
                let above = vec![signer.pem()];
                Self { signer, not_after, above, roots }
            }
        })
    }

    fn leaf(
        &self,
        key: &impl PublicKeyData,
        identities: &[String],
        ttl: Duration,
    ) -> Result<String> {
        let mut params = leaf_params(ttl, self.not_after);
        for identity in identities {
            params.subject_alt_names.push(SanType::URI(identity.as_str().try_into()?));
        }
        let leaf = params.signed_by(key, &self.signer).context("sign workload certificate")?;
        Ok(leaf.pem())
    }

    fn certified(&self, leaf: String, key: &KeyPair) -> Certified {
        Certified { chain: leaf + &self.above.concat(), key: key.serialize_pem() }
    }
}

impl std::fmt::Debug for TestCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCa").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Certified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certified").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// The SPIFFE id of a service account in the fake mesh.
#[must_use]
pub fn spiffe_id(namespace: &str, service_account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}")
}

fn csr_refusal(error: rcgen::Error) -> Refusal {
    Refusal::Csr(match error {
        rcgen::Error::InvalidCertificationRequestSignature => {
            "x509: ECDSA verification failure".to_owned()
        }
        rcgen::Error::CouldNotParseCertificationRequest => {
            "certificate signing request is not properly encoded".to_owned()
        }
        other => other.to_string(),
    })
}

fn leaf_params(ttl: Duration, signer_ends: SystemTime) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + ttl).min(signer_ends).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn ca_params(name: &str, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, TRUST_DOMAIN);
    // The number keeps the roots of a rotation apart for whoever looks them up by name.
    params.distinguished_name.push(DnType::CommonName, format!("{name} {:x}", fastrand::u64(..)));
    params.not_before = (SystemTime::now() - BACKDATED).into();
    params.not_after = not_after.into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A whole number of seconds as Go prints a duration, which istiod's texts contain.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_as_in_go() {
        assert_eq!(go_duration(Duration::from_secs(5)), "5s");
        assert_eq!(go_duration(Duration::from_secs(65)), "1m5s");
        assert_eq!(go_duration(MAX_TTL), "2160h0m0s");
    }

    #[test]
    fn a_kept_root_stays_trusted_and_a_dropped_one_does_not() {
        let ca = TestCa::new(Shape::SelfSigned).unwrap();
        let first = ca.root_pem();

        ca.rotate(OldRoot::Kept).unwrap();
        assert!(ca.root_pem().ends_with(&first));
        assert_eq!(ca.roots().unwrap().len(), 2);

        ca.rotate(OldRoot::Dropped).unwrap();
        assert!(!ca.root_pem().contains(&first));
        assert_eq!(ca.roots().unwrap().len(), 1);
    }
}
