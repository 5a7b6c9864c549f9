//! TLS with the servers that modules come from.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use hawser_pki::Unjudged;
use hawser_rt::{Chain, Clock, Throttle};
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject as _};
use tokio::time::Instant;
use tracing::warn;

use crate::Error;

/// Whom servers are believed by.
#[derive(Debug)]
pub(crate) struct Trust {
    files: Vec<PathBuf>,
    clock: Clock,
    provider: Arc<CryptoProvider>,
    read: Mutex<Option<(Instant, Arc<ClientConfig>)>>,
}

impl Trust {
    pub(crate) fn new(files: Vec<PathBuf>, clock: Clock) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { files, clock, provider, read: Mutex::new(None) }
    }

    /// What servers are verified with. The roots are read now and then, not for each handshake.
    pub(crate) async fn verifying(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some((at, config)) = &*self.read.lock()
            && at.elapsed() < ROOTS_GOOD_FOR
        {
            return Ok(Arc::clone(config));
        }
        let files = self.files.clone();
        let roots = tokio::task::spawn_blocking(move || roots(&files)).await;
        let roots = roots.unwrap_or_else(|_| RootCertStore::empty());
        let builder = self.builder()?.with_root_certificates(roots).with_no_client_auth();
        let config = Arc::new(plain(builder));
        *self.read.lock() = Some((Instant::now(), Arc::clone(&config)));
        Ok(config)
    }

    /// For a host whose certificate the operator does not want looked at.
    pub(crate) fn blind(&self) -> Result<Arc<ClientConfig>, Error> {
        let verifier = Arc::new(Unjudged(Arc::clone(&self.provider)));
        let builder = self.builder()?.dangerous().with_custom_certificate_verifier(verifier);
        Ok(Arc::new(plain(builder.with_no_client_auth())))
    }

    fn builder(&self) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
        let provider = Arc::clone(&self.provider);
        ClientConfig::builder_with_details(provider, Arc::new(Wall(self.clock.clone())))
            .with_safe_default_protocol_versions()
            .map_err(|source| Error::TlsSettings { source })
    }
}

fn plain(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// The machine's roots and those of the files. Without any no server is believed, and the
/// handshake says so.
fn roots(files: &[PathBuf]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for file in files {
        store.add_parsable_certificates(read(file));
    }
    store
}

fn read(file: &Path) -> Vec<CertificateDer<'static>> {
    static SAID: Throttle = Throttle::new(Duration::from_secs(3600));
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.unwrap_or_else(|error| {
        if SAID.allow().is_some() {
            let (path, error) = (file.display(), Chain(&error));
            warn!(%path, %error, "roots of module servers not readable, passed over");
        }
        Vec::new()
    })
}

#[derive(Debug)]
struct Wall(Clock);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

const ROOTS_GOOD_FOR: Duration = Duration::from_secs(600);
