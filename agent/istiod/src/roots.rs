//! The roots that istiod's certificate must chain to.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hawser_pki::Bundle;
use hawser_rt::Throttle;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use tracing::{debug, warn};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::Error;

/// Where the roots come from. They are read again at each dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// A PEM file; nothing else is trusted.
    File(PathBuf),
    /// The trust store of the operating system.
    System,
}

impl Roots {
    /// Reads what is there now; blocks that are no certificate are skipped.
    pub(crate) async fn load(&self) -> Result<RootCertStore, Error> {
        let ders = match self {
            Self::File(path) => read(path).await?,
            Self::System => {
                let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
                found.await.map(|found| found.certs).unwrap_or_default()
            }
        };
        let mut store = RootCertStore::empty();
        let (added, skipped) = store.add_parsable_certificates(ders);
        debug!(roots = %self, added, skipped, "trust roots read");
        // A file without one has been refused already, by its name.
        if added == 0 { Err(Error::NoSystemRoots) } else { Ok(store) }
    }
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::System => f.write_str("the system's trust store"),
        }
    }
}

async fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::ReadRoots { path: path.to_owned(), source };
    let pem = crate::credential::read_text(path, LARGEST_FILE).await.map_err(failed)?;
    let empty = |source| Error::NoRoots { path: path.to_owned(), source: Box::new(source) };
    let bundle = Bundle::from_pem(&pem).map_err(empty)?;
    warn_of_expiry(path, bundle.ders());
    Ok(bundle.ders().to_vec())
}

/// A trust anchor's own dates are not part of path validation, so an expired root would go
/// unnoticed here while every Go program of the mesh refuses it.
fn warn_of_expiry(path: &Path, ders: &[CertificateDer<'static>]) {
    static SAID: Throttle = Throttle::new(Duration::from_secs(3600));
    let expired = ders.iter().filter(|der| has_expired(der, SystemTime::now())).count();
    if expired > 0 && SAID.allow().is_some() {
        let (path, of) = (path.display(), ders.len());
        warn!(%path, expired, of, "trust root has expired, the mesh will refuse it");
    }
}

fn has_expired(der: &[u8], now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate.validity().not_after.timestamp())
        .is_ok_and(|not_after| i64::try_from(now).is_ok_and(|now| not_after < now))
}

const LARGEST_FILE: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_root_is_expired_from_the_second_after_its_last() {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);

        assert!(!has_expired(root.der(), last));
        assert!(has_expired(root.der(), last + Duration::from_secs(1)));
        assert!(!has_expired(b"no certificate", last));
    }
}
