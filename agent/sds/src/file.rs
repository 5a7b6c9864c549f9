//! What the files of a secret hold.
//!
//! Read whole, with limits, and checked before anything of it is served: a pair must fit, roots
//! must be roots. Nothing that a file says is repeated in an error, for it may be a key.

#[cfg(test)]
mod tests;

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use hawser_pki::{Bundle, Chain};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::{name::File, revocation::Revocations, version::version};

/// What one or two files hold, checked.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) content: Content,
    /// Made from the content alone.
    pub(crate) version: String,
}

#[derive(Debug)]
pub(crate) enum Content {
    Pair(Pair),
    Roots(Bundle),
}

/// A chain and the key of its leaf, which goes on as it was written.
pub(crate) struct Pair {
    pub(crate) chain: Chain,
    pub(crate) key: Zeroizing<String>,
}

/// Why files cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("{} is not there", path.display())]
    Absent { path: PathBuf },
    #[error(
        "no trust bundle of the operating system: install the package ca-certificates \
         (there is none of {SYSTEM:?})"
    )]
    NoSystem,
    #[error("cannot read {}: the user of the agent must be allowed to", path.display())]
    Denied { path: PathBuf },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a file", path.display())]
    NoFile { path: PathBuf },
    #[error("{} is larger than {LARGEST} bytes", path.display())]
    Large { path: PathBuf },
    #[error("{} is no text, and PEM is expected", path.display())]
    NoText { path: PathBuf },
    #[error("{} is no certificate chain", path.display())]
    Chain { path: PathBuf, source: Box<hawser_pki::Error> },
    #[error("{} has no private key: expected an unencrypted one in PEM", path.display())]
    NoKey { path: PathBuf },
    #[error("the key {} does not fit the certificate {}", key.display(), chain.display())]
    Mismatch { chain: PathBuf, key: PathBuf },
    #[error("the key {} and the certificate {} are of no use", key.display(), chain.display())]
    Useless { chain: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{} is no trust bundle", path.display())]
    Roots { path: PathBuf, source: Box<hawser_pki::Error> },
    #[error("{} is no certificate revocation list", path.display())]
    Revocations { path: PathBuf, source: Box<hawser_pki::Error> },
}

impl File {
    /// Every path that decides on the content.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Pair { chain, key } => vec![chain.clone(), key.clone()],
            Self::Roots(path) => vec![path.clone()],
            Self::System => SYSTEM.map(PathBuf::from).to_vec(),
        }
    }

    /// Reads and checks. Blocks.
    pub(crate) fn read(&self) -> Result<Held, Unfit> {
        match self {
            Self::Pair { chain, key } => pair(chain, key),
            Self::Roots(path) => roots(path),
            Self::System => first_of(&SYSTEM),
        }
    }
}

/// Reads and checks the revocation lists of a file. Blocks.
pub(crate) fn revocations(path: &Path) -> Result<Revocations, Unfit> {
    let text = text(path)?;
    Revocations::from_pem(&text)
        .map_err(|source| Unfit::Revocations { path: path.to_owned(), source: source.into() })
}

fn pair(chain_path: &Path, key_path: &Path) -> Result<Held, Unfit> {
    let chain = Chain::from_pem(&text(chain_path)?)
        .map_err(|source| Unfit::Chain { path: chain_path.to_owned(), source: source.into() })?;
    let key = text(key_path)?;
    fits(&chain, &key, chain_path, key_path)?;
    // The chain tells one key from another, so the key has no part in the version.
    let version = version(&[chain.pem()]);
    Ok(Held { content: Content::Pair(Pair { chain, key }), version })
}

/// Judged as whoever serves TLS with it will, which is more kinds of key than the agent makes.
fn fits(chain: &Chain, key: &str, chain_path: &Path, key_path: &Path) -> Result<(), Unfit> {
    // The reader's own error is left out: it may quote a line, and that line the key.
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .ok()
        .ok_or_else(|| Unfit::NoKey { path: key_path.to_owned() })?;
    let provider = aws_lc_rs::default_provider();
    let (chain_path, key_path) = (chain_path.to_owned(), key_path.to_owned());
    match CertifiedKey::from_der(chain.ders().to_vec(), der, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Unfit::Mismatch { chain: chain_path, key: key_path })
        }
        Err(source) => Err(Unfit::Useless { chain: chain_path, key: key_path, source }),
    }
}

fn roots(path: &Path) -> Result<Held, Unfit> {
    let bundle = Bundle::from_pem(&text(path)?)
        .map_err(|source| Unfit::Roots { path: path.to_owned(), source: source.into() })?;
    let version = version(&[bundle.pem()]);
    Ok(Held { content: Content::Roots(bundle), version })
}

/// The first that is there counts, as with OpenSSL and Go: what lies behind it in the list is
/// another spelling of the same, or nothing to fall back on in silence.
fn first_of(paths: &[&str]) -> Result<Held, Unfit> {
    for path in paths {
        match roots(Path::new(path)) {
            Err(Unfit::Absent { .. }) => {}
            found => return found,
        }
    }
    Err(Unfit::NoSystem)
}

fn text(path: &Path) -> Result<Zeroizing<String>, Unfit> {
    let unread = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unfit::Absent { path },
            io::ErrorKind::PermissionDenied => Unfit::Denied { path },
            _ => Unfit::Read { path, source },
        }
    };
    // Asked before it is opened: opening a pipe waits for whoever writes into it.
    let metadata = fs::metadata(path).map_err(unread)?;
    if !metadata.is_file() {
        return Err(Unfit::NoFile { path: path.to_owned() });
    }
    let file = fs::File::open(path).map_err(unread)?;
    // With room for all of it, so that a key leaves no copy behind in a buffer outgrown.
    let length = usize::try_from(metadata.len()).unwrap_or(LARGEST).min(LARGEST);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    let limit = u64::try_from(LARGEST + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > LARGEST {
        return Err(Unfit::Large { path: path.to_owned() });
    }
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Unfit::NoText { path: path.to_owned() }),
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Where operating systems keep the roots of the web, most usual first.
const SYSTEM: [&str; 8] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-certificates",
];
/// The bundles of operating systems have a quarter of it; a revocation list may be as large.
const LARGEST: usize = 4 << 20;
