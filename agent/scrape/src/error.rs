//! Why the metrics of a source are not, or not all, among the others.

use std::{io, time::Duration};

use crate::lines::TooLong;

/// Why the metrics of a source are not, or not all, among the others.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("connect")]
    Connect { source: io::Error },
    #[error("speak HTTP")]
    Speak { source: hyper::Error },
    #[error("the path cannot be asked for")]
    Path { source: http::Error },
    #[error("answered {status}, expected 200")]
    Status { status: u16 },
    #[error("answered with {kind:?}, which is no metrics that can be put together with others")]
    Kind { kind: String },
    #[error("leads to {to:?}, and only other paths of the same port are followed")]
    Elsewhere { to: String },
    #[error("answered too late: it is given {limit:?}")]
    Late { limit: Duration },
    #[error("is cut off after {limit} bytes")]
    TooLarge { limit: u64 },
    #[error(transparent)]
    TooLong(#[from] TooLong),
}
