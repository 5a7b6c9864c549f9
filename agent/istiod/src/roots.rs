//! The roots that istiod's certificate must chain to.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_pki::Bundle;
use hawser_rt::{Chain, Throttle};
use rustls::RootCertStore;
use tracing::{debug, warn};

use crate::{Error, file::read_text};

/// Where the roots come from. They are read again at each dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// A PEM file.
    File(PathBuf),
    /// The trust store of the operating system.
    System,
}

/// The roots of one dial.
#[derive(Clone, Debug)]
pub(crate) struct Believed {
    store: Arc<RootCertStore>,
    from: String,
}

impl Believed {
    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }
}

impl fmt::Display for Believed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.from)
    }
}

impl Roots {
    /// Reads what is there now, and adds what was learned. With learned roots a file that is
    /// missing or damaged is no error. Roots that have expired are left out: a trust anchor's own
    /// dates are not part of path validation, so one would be believed here while every Go
    /// program of the mesh refuses it.
    pub(crate) async fn load(
        &self,
        learned: Option<&Bundle>,
        now: SystemTime,
    ) -> Result<Believed, Error> {
        let mut store = RootCertStore::empty();
        let mut expired = 0;
        let mut add = |bundle: &Bundle| {
            let good = bundle.unexpired_at(now);
            let ders = good.as_ref().map_or(&[][..], Bundle::ders);
            expired += bundle.len() - ders.len();
            store.add_parsable_certificates(ders.iter().cloned());
        };
        let mut from = vec![self.to_string()];
        if let Some(learned) = learned {
            add(learned);
            from.push("the roots that came with certificates".to_owned());
        }
        match self {
            Self::File(path) => match read(path).await {
                Ok(bundle) => add(&bundle),
                Err(error) if learned.is_none() => return Err(error),
                Err(error) => pass_over(&error),
            },
            Self::System => {
                let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
                let found = found.await.map(|found| found.certs).unwrap_or_default();
                store.add_parsable_certificates(found);
            }
        }
        debug!(roots = %self, believed = store.len(), expired, "trust roots read");
        let from = from.join(" or ");
        match (store.is_empty(), expired) {
            // A file without one has been refused already, by its name.
            (true, 0) => return Err(Error::NoSystemRoots),
            (true, _) => return Err(Error::RootsExpired { roots: from }),
            (false, 0) => {}
            (false, _) => tell_expired(&from, expired),
        }
        Ok(Believed { store: Arc::new(store), from })
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

async fn read(path: &Path) -> Result<Bundle, Error> {
    let failed = |source| Error::ReadRoots { path: path.to_owned(), source };
    let pem = read_text(path, LARGEST_FILE).await.map_err(failed)?;
    let empty = |source| Error::NoRoots { path: path.to_owned(), source: Box::new(source) };
    Bundle::from_pem(&pem).map_err(empty)
}

fn pass_over(error: &Error) {
    static SAID: Throttle = Throttle::new(SELDOM);
    let missing = matches!(
        error,
        Error::ReadRoots { source, .. } if source.kind() == std::io::ErrorKind::NotFound
    );
    if !missing && SAID.allow().is_some() {
        warn!(error = %Chain(error), "root file not usable, istiod is believed by learned roots");
    }
}

fn tell_expired(roots: &str, expired: usize) {
    static SAID: Throttle = Throttle::new(SELDOM);
    if SAID.allow().is_some() {
        warn!(roots, expired, "trust root has expired and is left out");
    }
}

const LARGEST_FILE: u64 = 4 << 20;
const SELDOM: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
