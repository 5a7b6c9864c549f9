//! What is shown to istiod besides a certificate: the token, and the headers it wants.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hawser_rt::{Chain, Throttle};
use tokio::io::AsyncReadExt;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tracing::warn;
use zeroize::Zeroizing;

use crate::Error;

/// Why a token file gives no token.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum UnreadableToken {
    #[error("read token {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("token {} holds characters that no token has; expected one line of text", path.display())]
    NotText { path: PathBuf },
}

/// Reads a token file, without the white space around it. A missing or empty file is no error:
/// a machine that has a certificate needs no token.
pub async fn read_token(path: &Path) -> Result<Option<Zeroizing<String>>, UnreadableToken> {
    let text = match read_text(path, LARGEST_TOKEN).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(UnreadableToken::Read { path: path.to_owned(), source }),
    };
    let token = text.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UnreadableToken::NotText { path: path.to_owned() });
    }
    Ok((!token.is_empty()).then(|| Zeroizing::new(token.to_owned())))
}

/// Reads a small text file; anything that is not a regular file or larger than `limit` is refused.
pub(crate) async fn read_text(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
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

/// The configured headers as metadata; gRPC knows lower-case names only.
pub(crate) fn headers(given: &[(String, String)]) -> Result<MetadataMap, Error> {
    let mut headers = MetadataMap::new();
    for (name, value) in given {
        let wrong = || Error::Header { name: name.clone() };
        let key: AsciiMetadataKey = name.to_ascii_lowercase().parse().ok().ok_or_else(wrong)?;
        let value: AsciiMetadataValue = value.parse().ok().ok_or_else(wrong)?;
        headers.append(key, value);
    }
    Ok(headers)
}

/// The `authorization` value of the token in `path`, or none; a file that cannot be used is said
/// now and then, because the certificate may do without it.
pub(crate) async fn bearer(path: Option<&Path>) -> Option<AsciiMetadataValue> {
    static SAID: Throttle = Throttle::new(Duration::from_secs(600));
    let token = match read_token(path?).await {
        Ok(token) => token?,
        Err(error) => {
            if SAID.allow().is_some() {
                warn!(error = %Chain(&error), "token not usable, going without");
            }
            return None;
        }
    };
    let text = Zeroizing::new(format!("Bearer {}", token.as_str()));
    let mut value: AsciiMetadataValue = text.parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

const LARGEST_TOKEN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_trimmed_and_a_missing_or_empty_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("istio-token");
        assert!(read_token(&path).await.unwrap().is_none());

        for (written, expected) in [(" a.b.c\n", Some("a.b.c")), ("", None), (" \n\n", None)] {
            hawser_state::write_file(&path, 0o600, written.as_bytes()).unwrap();
            let token = read_token(&path).await.unwrap();
            assert_eq!(token.as_deref().map(String::as_str), expected, "{written:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_a_token_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("istio-token");
        let refused = async |body: &[u8]| {
            hawser_state::write_file(&path, 0o600, body).unwrap();
            Chain(&read_token(&path).await.unwrap_err()).to_string()
        };

        assert!(refused(b"two\nlines").await.contains("istio-token holds characters"));
        assert!(refused(&[0xff, 0xfe]).await.contains("utf-8"));
        assert!(refused(&[b'a'; 65 << 10]).await.ends_with("larger than 65536 bytes"));
        let folder = read_token(folder.path()).await.unwrap_err();
        assert!(Chain(&folder).to_string().ends_with("not a regular file"));
    }

    #[test]
    fn header_names_are_lowered_and_bad_ones_refused() {
        let given = [("ClusterID".to_owned(), "Kubernetes".to_owned())];
        assert_eq!(headers(&given).unwrap().get("clusterid").unwrap(), "Kubernetes");

        for (name, value) in [("a b", "x"), ("", "x"), ("data-bin", "x"), ("ok", "a\nb")] {
            let error = headers(&[(name.to_owned(), value.to_owned())]).unwrap_err();
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }
}
