//! From an address to a verified module in a file without a name.

use std::{
    io::{self, BufWriter, Seek as _, Write},
    sync::Arc,
    time::Duration,
};

use hawser_rt::{Backoff, Chain};
use http::HeaderMap;
use tokio::{
    io::AsyncWriteExt as _,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::{
    Error, Options,
    checksum::{Checksum, Summing},
    guard::Guard,
    kept::Kept,
    oci::{Image, Registry, reference::Reference},
    partial::Partial,
    trust::Trust,
    unbox::{Boxed, unbox},
    url::Url,
    web::{Reply, Web},
};

/// Fetches modules; says nothing of where they stay.
#[derive(Debug)]
pub(crate) struct Fetch {
    options: Options,
    web: Web,
    kept: Arc<Kept>,
}

/// A module that was fetched, verified as far as it can be without knowing what it should be.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) module: Partial,
    pub(crate) content: Checksum,
    pub(crate) bytes: u64,
}

impl Fetch {
    pub(crate) fn new(options: Options, kept: Arc<Kept>) -> Self {
        let guard = Guard::new(options.blocked.clone());
        let trust = Trust::new(options.roots.clone(), options.clock.clone());
        let web = Web::new(guard, trust, options.insecure.clone());
        Self { options, web, kept }
    }

    /// The module at an HTTP address.
    pub(crate) async fn module(&self, url: &Url) -> Result<Fetched, Error> {
        let mut attempts = Attempts::new(&self.options);
        let boxed = loop {
            match self.in_time(url, self.download(url)).await {
                Ok(boxed) => break boxed,
                Err(error) => attempts.failed(error).await?,
            }
        };
        self.unboxed(boxed, Boxed::Anyhow, url.to_string()).await
    }

    /// The image of a name; nothing of its layers.
    pub(crate) async fn image<'a>(
        &'a self,
        reference: &'a Reference,
        secret: Option<&str>,
    ) -> Result<(Registry<'a>, Image), Error> {
        let keychain = self.options.keychain.as_deref();
        let mut registry = Registry::new(&self.web, reference, secret, keychain).await?;
        let mut attempts = Attempts::new(&self.options);
        loop {
            match self.in_time(reference, registry.image()).await {
                Ok(image) => return Ok((registry, image)),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// The module in an image.
    pub(crate) async fn module_of(
        &self,
        registry: &mut Registry<'_>,
        image: &Image,
        reference: &Reference,
    ) -> Result<Fetched, Error> {
        let name = || reference.to_string();
        if image.layer.size > self.options.largest {
            return Err(Error::TooLarge { url: name(), limit: self.options.largest });
        }
        let mut attempts = Attempts::new(&self.options);
        let boxed = loop {
            let layer = async {
                let reply = registry.layer(&image.layer).await?;
                self.saved(reply).await
            };
            // A layer is large: it may take as long as all of it may.
            match layer.await {
                Ok((boxed, sum)) if format!("sha256:{sum}") == image.layer.digest => break boxed,
                Ok((_, sum)) => {
                    let (found, wanted) = (format!("sha256:{sum}"), image.layer.digest.clone());
                    return Err(Error::Checksum { url: name(), found, wanted });
                }
                Err(error) => attempts.failed(error).await?,
            }
        };
        self.unboxed(boxed, image.layer.boxed, name()).await
    }

    async fn download(&self, url: &Url) -> Result<Partial, Error> {
        let reply = self.web.get(url, &HeaderMap::new()).await?.good()?;
        Ok(self.saved(reply).await?.0)
    }

    /// The body of a reply, in a file, and its checksum.
    async fn saved(&self, mut reply: Reply) -> Result<(Partial, Checksum), Error> {
        let limit = self.options.largest;
        let too_large = |url: &Url| Error::TooLarge { url: url.to_string(), limit };
        if reply.length().is_some_and(|length| length > limit) {
            return Err(too_large(&reply.url));
        }
        let partial = self.kept.partial()?;
        let failed = |source| Error::Keep { path: self.options.directory.clone(), source };
        let mut file = tokio::fs::File::from_std(partial.handle().map_err(failed)?);
        let (mut sum, mut length) = (Summing::new(), 0_u64);
        while let Some(chunk) = reply.chunk().await? {
            length = length.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if length > limit {
                return Err(too_large(&reply.url));
            }
            sum.add(&chunk);
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        Ok((partial, sum.sum()))
    }

    /// Takes the module out of what was downloaded, on a thread that may block.
    async fn unboxed(&self, boxed: Partial, how: Boxed, url: String) -> Result<Fetched, Error> {
        let (module, limit) = (self.kept.partial()?, self.options.largest);
        let path = self.options.directory.clone();
        let work = tokio::task::spawn_blocking(move || taken_out(boxed, module, how, limit));
        match work.await {
            Ok(taken_out) => taken_out.map_err(|source| match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Error::Keep { path, source }
                }
                _ => Error::Unbox { url, source },
            }),
            Err(_) => Err(Error::Abandoned { path }),
        }
    }

    async fn in_time<T>(
        &self,
        url: &impl ToString,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let after = self.options.http_timeout;
        match timeout(after, work).await {
            Ok(done) => done,
            Err(_) => Err(Error::Silent { url: url.to_string(), after }),
        }
    }
}

fn taken_out(
    mut boxed: Partial,
    mut module: Partial,
    how: Boxed,
    limit: u64,
) -> io::Result<Fetched> {
    boxed.file().rewind()?;
    let (bytes, content) = {
        let to = BufWriter::with_capacity(BUFFER, module.file());
        let mut to = Summed { sum: Summing::new(), to };
        let bytes = unbox(boxed.file(), how, limit, &mut to)?;
        to.flush()?;
        (bytes, to.sum.sum())
    };
    Ok(Fetched { module, content, bytes })
}

/// Takes the checksum of what is written.
struct Summed<W> {
    sum: Summing,
    to: W,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sum.add(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// How often it was tried, and how long to wait before it is again.
struct Attempts {
    left: u32,
    backoff: Backoff,
}

impl Attempts {
    fn new(options: &Options) -> Self {
        let backoff = Backoff::new(options.backoff, LONGEST_WAIT);
        Self { left: options.attempts.saturating_sub(1), backoff }
    }

    /// Waits after a failure, or gives it back if trying again is of no use.
    async fn failed(&mut self, error: Error) -> Result<(), Error> {
        self.left = match self.left.checked_sub(1) {
            Some(left) if error.is_passing() => left,
            _ => return Err(error),
        };
        let retry_in = self.backoff.next(fastrand::f64());
        debug!(error = %Chain(&error), ?retry_in, "module not fetched, tried again");
        sleep(retry_in).await;
        Ok(())
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(60);
const BUFFER: usize = 128 << 10;
