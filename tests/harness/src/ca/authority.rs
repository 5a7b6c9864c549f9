//! Roots and what they sign: one generation for each rotation.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};

use super::{Certified, Shape, TRUST_DOMAIN};

/// How far istiod dates back what it signs.
const BACKDATED: Duration = Duration::from_secs(120);

/// A root, and the certificate that signs under it.
pub(super) struct Generation {
    signer: CertifiedIssuer<'static, KeyPair>,
    not_after: SystemTime,
    /// What follows a leaf, one certificate each: istiod's `cert-chain.pem`.
    pub(super) above: Vec<String>,
    /// PEM.
    pub(super) root: String,
}

/// From when until when something is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

impl Window {
    /// As istiod does it.
    pub(crate) fn starting(now: SystemTime, ttl: Duration) -> Self {
        Self { from: now - BACKDATED, until: now + ttl }
    }
}

impl Generation {
    pub(super) fn new(shape: Shape, now: SystemTime, ttl: Duration) -> Result<Self> {
        let window = Window::starting(now, ttl);
        let key = KeyPair::generate().context("make a root key")?;
        let root =
            CertifiedIssuer::self_signed(ca_params("Root CA", window), key).context("sign root")?;
        let (pem, not_after) = (root.pem(), window.until);
        Ok(match shape {
            Shape::SelfSigned => {
                Self { signer: root, not_after, above: vec![pem.clone()], root: pem }
            }
            Shape::Intermediate => {
                let key = KeyPair::generate().context("make an intermediate key")?;
                let params = ca_params("Intermediate CA", window);
                let signer =
                    CertifiedIssuer::signed_by(params, key, &root).context("sign intermediate")?;
                let above = vec![signer.pem()];
                Self { signer, not_after, above, root: pem }
            }
        })
    }

    /// A workload's certificate, clipped to the life of what signs it.
    pub(super) fn leaf(
        &self,
        key: &impl PublicKeyData,
        identities: &[String],
        window: Window,
    ) -> Result<String> {
        let mut params = self.leaf_params(window);
        for identity in identities {
            params.subject_alt_names.push(SanType::URI(identity.as_str().try_into()?));
        }
        let leaf = params.signed_by(key, &self.signer).context("sign workload certificate")?;
        Ok(leaf.pem())
    }

    /// A server's certificate for names and addresses.
    pub(super) fn serving(&self, names: &[&str], window: Window) -> Result<Certified> {
        let key = KeyPair::generate().context("make a serving key")?;
        let mut params = self.leaf_params(window);
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_name) => SanType::DnsName((*name).try_into()?),
            });
        }
        let leaf = params.signed_by(&key, &self.signer).context("sign serving certificate")?;
        Ok(self.certified(leaf.pem(), &key))
    }

    pub(super) fn certified(&self, leaf: String, key: &KeyPair) -> Certified {
        Certified { chain: leaf + &self.above.concat(), key: key.serialize_pem() }
    }

    fn leaf_params(&self, window: Window) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = window.from.into();
        params.not_after = window.until.min(self.not_after).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params
    }
}

fn ca_params(name: &str, window: Window) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, TRUST_DOMAIN);
    // The number keeps the roots of a rotation apart for whoever looks them up by name.
    params.distinguished_name.push(DnType::CommonName, format!("{name} {:x}", fastrand::u64(..)));
    params.not_before = window.from.into();
    params.not_after = window.until.into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
