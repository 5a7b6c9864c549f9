//! A private key, kept as PKCS#8 and wiped on drop.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256,
    },
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::{Error, pem};

mod form;

pub use form::KeyForm;

/// What kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum KeyKind {
    #[default]
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// The private key of a workload.
pub struct PrivateKey {
    pem: Zeroizing<String>,
    traditional: Zeroizing<String>,
    der: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
    kind: Option<KeyKind>,
}

/// A key ready to sign, in the provider's own memory.
pub(crate) enum Signer {
    EcdsaP256(EcdsaKeyPair),
    EcdsaP384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// Makes a new key. RSA takes up to some hundred milliseconds: not for the reactor.
    pub fn generate(kind: KeyKind) -> Result<Self, Error> {
        let ecdsa = EcdsaKeyPair::generate;
        let signer = match kind {
            KeyKind::EcdsaP256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Signer::EcdsaP256),
            KeyKind::EcdsaP384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Signer::EcdsaP384),
            KeyKind::Rsa2048 => RsaKeyPair::generate(KeySize::Rsa2048).map(Signer::Rsa),
            KeyKind::Rsa3072 => RsaKeyPair::generate(KeySize::Rsa3072).map(Signer::Rsa),
            KeyKind::Rsa4096 => RsaKeyPair::generate(KeySize::Rsa4096).map(Signer::Rsa),
        };
        signer.ok().and_then(|signer| Self::from_signer(&signer)).ok_or(Error::Generate { kind })
    }

    /// Reads the first key of a PEM text, be it PKCS#8, SEC1 or PKCS#1.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        pem::within_limit(text.len(), pem::TEXT_LIMIT)?;
        // The reader's own error is left out: it may quote a line, and that line the key.
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok().ok_or(Error::NoKey)?;
        Self::of(&Zeroizing::new(der))
    }

    /// Reads a key in PKCS#8.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        pem::within_limit(der.len(), pem::TEXT_LIMIT)?;
        let der = PrivatePkcs8KeyDer::from(der.to_vec());
        Self::of(&Zeroizing::new(PrivateKeyDer::Pkcs8(der)))
    }

    fn of(der: &PrivateKeyDer<'_>) -> Result<Self, Error> {
        let signer = Signer::from_der(der);
        signer.and_then(|signer| Self::from_signer(&signer)).ok_or(Error::KeyUnusable)
    }

    /// The key as PKCS#8 PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key as PEM of this form.
    pub fn encoded(&self, form: KeyForm) -> Zeroizing<String> {
        match form {
            KeyForm::Traditional => self.traditional.clone(),
            KeyForm::Pkcs8 => self.pem.clone(),
        }
    }

    /// What kind of key it is; `None` for RSA of a size that [`Self::generate`] does not make.
    pub fn kind(&self) -> Option<KeyKind> {
        self.kind
    }

    /// A copy of the key for a TLS configuration, which it is to go into at once.
    pub fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.der.to_vec()))
    }

    /// The public half, as a certificate shows it (SubjectPublicKeyInfo).
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    pub(crate) fn signer(&self) -> Result<Signer, Error> {
        Signer::pkcs8(&self.der).ok_or(Error::KeyUnusable)
    }

    fn from_signer(signer: &Signer) -> Option<Self> {
        let der = Zeroizing::new(match signer {
            Signer::EcdsaP256(pair) | Signer::EcdsaP384(pair) => {
                pair.to_pkcs8v1().ok()?.as_ref().to_vec()
            }
            Signer::Rsa(pair) => pair.as_der().ok()?.as_ref().to_vec(),
        });
        let public: PublicKeyX509Der<'_> = match signer {
            Signer::EcdsaP256(pair) | Signer::EcdsaP384(pair) => pair.public_key().as_der(),
            Signer::Rsa(pair) => pair.public_key().as_der(),
        }
        .ok()?;
        let mut text = Zeroizing::new(String::new());
        pem::encode("PRIVATE KEY", &der, &mut text);
        let traditional = form::traditional(signer, &der)?;
        let public = public.as_ref().to_vec();
        Some(Self { pem: text, traditional, der, public, kind: signer.kind() })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl Signer {
    fn from_der(der: &PrivateKeyDer<'_>) -> Option<Self> {
        match der {
            PrivateKeyDer::Pkcs8(der) => Self::pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(der) => Self::ecdsa(der.secret_sec1_der()),
            PrivateKeyDer::Pkcs1(der) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(Self::Rsa)
            }
            _ => None,
        }
    }

    fn kind(&self) -> Option<KeyKind> {
        match self {
            Self::EcdsaP256(_) => Some(KeyKind::EcdsaP256),
            Self::EcdsaP384(_) => Some(KeyKind::EcdsaP384),
            Self::Rsa(pair) => match pair.public_modulus_len() * 8 {
                2048 => Some(KeyKind::Rsa2048),
                3072 => Some(KeyKind::Rsa3072),
                4096 => Some(KeyKind::Rsa4096),
                _ => None,
            },
        }
    }

    fn pkcs8(der: &[u8]) -> Option<Self> {
        Self::ecdsa(der).or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Self::Rsa))
    }

    /// Takes PKCS#8 and SEC1 alike.
    fn ecdsa(der: &[u8]) -> Option<Self> {
        let parse = |curve: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::from_private_key_der(curve, der).ok()
        };
        parse(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self::EcdsaP256)
            .or_else(|| parse(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Self::EcdsaP384))
    }
}

impl rcgen::PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::EcdsaP256(pair) | Self::EcdsaP384(pair) => pair.public_key().as_ref(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::EcdsaP256(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384(_) => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl rcgen::SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let random = SystemRandom::new();
        match self {
            Self::EcdsaP256(pair) | Self::EcdsaP384(pair) => {
                pair.sign(&random, message).map(|signature| signature.as_ref().to_vec())
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_unspecified| rcgen::Error::RemoteKeyError)
    }
}

impl KeyKind {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::EcdsaP256, "ecdsa-p256"),
        (Self::EcdsaP384, "ecdsa-p384"),
        (Self::Rsa2048, "rsa-2048"),
        (Self::Rsa3072, "rsa-3072"),
        (Self::Rsa4096, "rsa-4096"),
    ];
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(kind, _)| kind == self).map(|(_, name)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

/// The text is no [`KeyKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096")]
pub struct UnknownKeyKind;

impl FromStr for KeyKind {
    type Err = UnknownKeyKind;

    fn from_str(text: &str) -> Result<Self, UnknownKeyKind> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or(UnknownKeyKind)
    }
}

#[cfg(test)]
mod tests;
