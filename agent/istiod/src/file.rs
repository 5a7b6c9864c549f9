//! Small files, read whole.

use std::{io, path::Path, time::Duration};

use tokio::{io::AsyncReadExt, time::timeout};
use zeroize::Zeroizing;

/// Reads a small text file; anything that is not a regular file or larger than `limit` is refused,
/// and a share that does not answer is given up.
pub(crate) async fn read_text(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    let read = timeout(PATIENCE, read_whole(path, limit)).await;
    read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn read_whole(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = tokio::fs::File::open(path).await?;
    // Room for all of it from the start: growing would leave copies that are never wiped.
    let capacity = usize::try_from(file.metadata().await?.len().min(limit)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity + 1));
    file.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    let text = str::from_utf8(&bytes).map_err(io::Error::other)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The same, but a file that is not there is none.
pub(crate) async fn read_text_if_there(
    path: &Path,
    limit: u64,
) -> io::Result<Option<Zeroizing<String>>> {
    match read_text(path, limit).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
