//! A pair that somebody else puts on this machine: `key.pem` and `cert-chain.pem` in a directory.
//!
//! It is read anew at each dial, and it need not be of Istio's form: whom it stands for is for
//! istiod to judge.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hawser_pki::Chain;
use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

use super::unusable::Unusable;
use crate::file::read_text_if_there;

/// A pair whose halves fit. Whether it is valid now is another question.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) chain: Chain,
    pub(crate) key: Arc<CertifiedKey>,
}

/// The files of a pair.
pub(crate) fn files(directory: &Path) -> [PathBuf; 2] {
    [directory.join("key.pem"), directory.join("cert-chain.pem")]
}

/// The pair in the directory; none if both files are missing.
pub(crate) async fn read(
    directory: &Path,
    provider: &CryptoProvider,
) -> Result<Option<Pair>, Unusable> {
    match read_once(directory, provider).await {
        // Its files may have been replaced between the one and the other.
        Err(Unusable::Mismatch { .. }) => read_once(directory, provider).await,
        outcome => outcome,
    }
}

async fn read_once(directory: &Path, provider: &CryptoProvider) -> Result<Option<Pair>, Unusable> {
    let [key, chain] = files(directory);
    let text = async |path: &Path| {
        let read = read_text_if_there(path, LARGEST_FILE).await;
        read.map_err(|source| Unusable::Read { path: path.to_owned(), source })
    };
    match (text(&key).await?, text(&chain).await?) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Unusable::HalfAPair { path: key }),
        (Some(_), None) => Err(Unusable::HalfAPair { path: chain }),
        (Some(key), Some(chain)) => pair(directory, &key, &chain, provider).map(Some),
    }
}

/// A pair from the texts of its files.
pub(crate) fn pair(
    directory: &Path,
    key: &str,
    chain: &str,
    provider: &CryptoProvider,
) -> Result<Pair, Unusable> {
    let [key_path, chain_path] = files(directory);
    let chain = Chain::from_pem(chain)
        .map_err(|source| Unusable::Chain { path: chain_path, source: Box::new(source) })?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .ok()
        .ok_or(Unusable::NoKey { path: key_path })?;
    let key = certified(&chain, key, provider).map_err(|source| match source {
        rustls::Error::InconsistentKeys(_) => {
            Unusable::Mismatch { directory: directory.to_owned() }
        }
        source => Unusable::Key { directory: directory.to_owned(), source },
    })?;
    Ok(Pair { chain, key })
}

/// What TLS shows, if the key fits.
pub(crate) fn certified(
    chain: &Chain,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain.ders().to_vec(), key, provider).map(Arc::new)
}

const LARGEST_FILE: u64 = 1 << 20;
