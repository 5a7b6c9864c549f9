//! What nobody but Vault may see.

use std::{fmt, io, path::Path, time::Duration};

use serde::{Deserialize, Deserializer};
use tokio::{io::AsyncReadExt as _, time::timeout};
use zeroize::Zeroizing;

use crate::Error;

/// A text that is wiped when it is dropped, and printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    /// Reads a file: one line, with or without its end.
    pub(crate) async fn read(path: &Path) -> Result<Self, Error> {
        let text = timeout(PATIENCE, whole(path)).await;
        let text = text.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let text = text.map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let word = text.trim();
        if word.is_empty() || word.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(Error::NoSecret { path: path.to_owned() });
        }
        Ok(Self(Zeroizing::new(word.to_owned())))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

async fn whole(path: &Path) -> io::Result<Zeroizing<String>> {
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = tokio::fs::File::open(path).await?;
    // Room for all of it from the start: growing would leave copies that are never wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
    let read = file.take(LIMIT as u64 + 1).read_to_end(&mut bytes).await?;
    if read > LIMIT {
        return Err(io::Error::other(format!("larger than {LIMIT} bytes")));
    }
    let text = str::from_utf8(&bytes).map_err(io::Error::other)?;
    Ok(Zeroizing::new(text.to_owned()))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(from)?)))
    }
}

/// A JWT with many groups has a few kilobytes.
const LIMIT: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
