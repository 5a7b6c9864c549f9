//! TLS with Vault: whom it is believed by.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use hawser_rt::Clock;
use rustls::{
    ClientConfig, RootCertStore, client::Resumption, crypto::aws_lc_rs, time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject as _};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{Error, Options};

/// What Vault is verified with: the roots that are named, else the machine's. Read each time,
/// because certificates are wanted rarely and roots may have changed.
pub(crate) async fn verifying(options: &Options, clock: &Clock) -> Result<ClientConfig, Error> {
    let file = options.ca.clone();
    let reading = spawn_blocking(move || match file {
        Some(file) => named(&file).map_err(|source| Error::Roots { path: file, source }),
        None => Ok(machines()),
    });
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let roots = match timeout(PATIENCE, reading).await {
        Ok(Ok(roots)) => roots?,
        Ok(Err(_)) | Err(_) => {
            let path = options.ca.clone().unwrap_or_default();
            return Err(Error::Roots { path, source: late() });
        }
    };
    if roots.is_empty() {
        return Err(Error::NoRoots { vault: options.address.to_string() });
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Wall(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Settings { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn named(file: &Path) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let (taken, _) = store.add_parsable_certificates(read.map_err(io::Error::other)?);
    if taken == 0 {
        return Err(io::Error::other("there is no certificate in it"));
    }
    Ok(store)
}

fn machines() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}

#[derive(Debug)]
struct Wall(Clock);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
