//! A pair that comes in pieces: the key with its chain, and the roots, as secrets of Envoy's kind.
//!
//! Values only. A piece that cannot be used leaves the one before in its place; the pieces of a
//! change come one after the other, so what does not fit is not an error of theirs.

use std::fmt;

use hawser_pki::{Bundle, Chain, Identity, PrivateKey};
use hawser_proto::{
    envoy::envoy::{
        config::core::v3::{DataSource, data_source::Specifier},
        extensions::transport_sockets::tls::v3::{Secret, secret::Type},
    },
    type_url,
};
use prost::Message as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::BoxError;

/// The workload's key and chain.
pub(crate) const DEFAULT: &str = "default";
/// The roots the workload trusts.
pub(crate) const ROOTCA: &str = "ROOTCA";

/// What has come so far.
#[derive(Default)]
pub(crate) struct Set {
    pair: Option<(Zeroizing<String>, Chain)>,
    roots: Option<Bundle>,
}

/// A secret that cannot be used, and why.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) name: String,
    pub(crate) source: BoxError,
}

impl Set {
    /// Takes a resource of a response; those that were not asked for are passed over.
    pub(crate) fn take(&mut self, kind: &str, mut value: Vec<u8>) -> Result<(), Unusable> {
        let secret = Secret::decode(value.as_slice());
        value.zeroize();
        let what = |name: &str| name.chars().take(LONGEST_NAME).collect::<String>();
        if kind != type_url::SECRET {
            let source = format!("it is of type {:?}", what(kind)).into();
            return Err(Unusable { name: "a resource".to_owned(), source });
        }
        let secret = match secret {
            Ok(secret) => secret,
            Err(error) => {
                return Err(Unusable { name: "a secret".to_owned(), source: error.into() });
            }
        };
        let name = what(&secret.name);
        let taken = match (secret.name.as_str(), secret.r#type) {
            (DEFAULT, Some(Type::TlsCertificate(pair))) => {
                read_pair(pair.private_key, pair.certificate_chain).map(|pair| {
                    self.pair = Some(pair);
                })
            }
            (ROOTCA, Some(Type::ValidationContext(context))) => {
                read_roots(context.trusted_ca).map(|roots| self.roots = Some(roots))
            }
            (DEFAULT | ROOTCA, _) => Err("it is a secret of another kind".into()),
            _ => Ok(()),
        };
        taken.map_err(|source| Unusable { name, source })
    }

    /// What is still to come.
    pub(crate) fn wanted(&self) -> Option<&'static str> {
        match (&self.pair, &self.roots) {
            (None, None) => Some("anything"),
            (None, Some(_)) => Some(DEFAULT),
            (Some(_), None) => Some(ROOTCA),
            (Some(_), Some(_)) => None,
        }
    }

    /// The identity, if all pieces are there. Whether it leads to its roots is for the caller to ask.
    pub(crate) fn identity(&self) -> Option<Result<Identity, hawser_pki::Error>> {
        let ((key, chain), roots) = (self.pair.as_ref()?, self.roots.as_ref()?);
        let key = PrivateKey::from_pem(key);
        Some(key.and_then(|key| Identity::brought(key, chain.clone(), roots.clone())))
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set").field("wanted", &self.wanted()).finish_non_exhaustive()
    }
}

fn read_pair(
    key: Option<DataSource>,
    chain: Option<DataSource>,
) -> Result<(Zeroizing<String>, Chain), BoxError> {
    let (key, chain) = (inline(key)?, inline(chain)?);
    PrivateKey::from_pem(&key)?;
    Ok((key, Chain::from_pem(&chain)?))
}

fn read_roots(roots: Option<DataSource>) -> Result<Bundle, BoxError> {
    Ok(Bundle::from_pem(&inline(roots)?)?)
}

/// What is given by value. A path is not followed: who may read which file is not for the other
/// side to choose.
fn inline(source: Option<DataSource>) -> Result<Zeroizing<String>, BoxError> {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineString(text)) => Ok(Zeroizing::new(text)),
        Some(Specifier::InlineBytes(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(error) => {
                error.into_bytes().zeroize();
                Err("it is not text".into())
            }
        },
        Some(_) => Err("it is not given inline".into()),
        None => Err("it is empty".into()),
    }
}

const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests;
