//! Why a credential that was configured cannot be shown.

use std::{io, path::PathBuf, time::Duration};

use hawser_rt::BoxError;

/// Why a source gives no token, or a directory no pair.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Unusable {
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("it holds characters that no token has; expected one line of text")]
    NotText,
    #[error("it is longer than {} bytes", super::token_source::LARGEST_TOKEN)]
    TooLong,
    #[error("run istiod.token_command")]
    Command { source: hawser_rt::Error },
    #[error("istiod.token_command printed nothing; expected a token on its first line")]
    NoOutput,
    #[error("ask the metadata server {metadata}; is this machine on Google Compute Engine?")]
    Metadata { metadata: String, source: BoxError },
    #[error("the metadata server {metadata} gave no answer within {} s", after.as_secs())]
    MetadataSilent { metadata: String, after: Duration },
    #[error(
        "the metadata server {metadata} answered with status {status}; \
         this machine needs a service account"
    )]
    MetadataStatus { metadata: String, status: u16 },
    #[error("the metadata server {metadata} answered with no token in it")]
    NoBody { metadata: String },
    #[error(
        "{metadata} is no metadata server: its answer lacks the header Metadata-Flavor: Google; \
         set istiod.gce_metadata"
    )]
    NotMetadata { metadata: String },
    #[error("{} is missing beside the other half of the pair", path.display())]
    HalfAPair { path: PathBuf },
    #[error("{} holds no certificate chain", path.display())]
    Chain { path: PathBuf, source: Box<hawser_pki::Error> },
    // The reader's own error is left out: it may quote a line, and that line the key.
    #[error("{} holds no private key; expected unencrypted PEM", path.display())]
    NoKey { path: PathBuf },
    #[error("the key of {} does not fit its certificate", directory.display())]
    Mismatch { directory: PathBuf },
    #[error("the own key cannot be used for TLS")]
    OwnKey { source: rustls::Error },
    #[error("{note}")]
    Unfit { note: String },
    #[error("the key of {} cannot be used", directory.display())]
    Key { directory: PathBuf, source: rustls::Error },
}
