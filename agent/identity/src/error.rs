//! Why there is no new certificate, and whether asking again can help.

use std::path::{Path, PathBuf};

use hawser_pki::SpiffeId;
use hawser_rt::Chain;
use tonic::Code;

use hawser_istiod::token::TokenProblem;

/// A certificate could not be obtained.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error("reach the certificate authority")]
    Reach { source: Box<hawser_istiod::Error> },
    #[error(
        "there is neither a token at {} nor a certificate that is still valid; \
         write a fresh bundle with istioctl and `hawser join` it",
        token.display()
    )]
    NothingToShow { token: PathBuf },
    #[error("{ca} refuses the token at {}", token.display())]
    Token { ca: String, token: PathBuf, source: TokenProblem },
    #[error("{ca} refuses: {code}: {message}{}", hint(*code, token))]
    Refused { ca: String, code: Code, message: String, token: PathBuf },
    #[error("{ca} does not answer within {seconds} s")]
    Late { ca: String, seconds: u64 },
    #[error("{ca} answers without a certificate chain and its root")]
    ShortAnswer { ca: String },
    #[error("{ca} answers with a certificate that cannot be used")]
    Unusable { ca: String, source: Box<hawser_pki::Error> },
    #[error(
        "{ca} has issued {issued}, and this machine is configured as {expected}; \
         the token or the certificate belongs to another service account: \
         `hawser join` with a bundle for {expected}, or mend SERVICE_ACCOUNT and POD_NAMESPACE"
    )]
    OtherIdentity { ca: String, issued: Box<SpiffeId>, expected: Box<SpiffeId> },
    #[error(
        "{ca} answers with a certificate that is not valid at this time; check this machine's clock"
    )]
    NotValidNow { ca: String },
    #[error("make a key")]
    Key { source: hawser_pki::Error },
    #[error("make a key: the work was given up")]
    GivenUp { source: tokio::task::JoinError },
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask again after a while.
    Retry,
    /// Asking again cannot help until the token changes; ask rarely all the same, because the
    /// other side may change too.
    Wait,
}

impl Error {
    /// Whether this is the trouble that was told before: texts differ in what passes with time.
    pub(crate) fn is_the_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token { token, .. }, Self::Token { token: before, .. }) => token == before,
            _ => Chain(self).to_string() == Chain(other).to_string(),
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::NothingToShow { .. } | Self::Token { .. } | Self::OtherIdentity { .. } => {
                Verdict::Wait
            }
            Self::Refused { code, .. } => match code {
                Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => {
                    Verdict::Wait
                }
                _ => Verdict::Retry,
            },
            Self::Reach { .. }
            | Self::Late { .. }
            | Self::ShortAnswer { .. }
            | Self::Unusable { .. }
            | Self::NotValidNow { .. }
            | Self::Key { .. }
            | Self::GivenUp { .. } => Verdict::Retry,
        }
    }
}

fn hint(code: Code, token: &Path) -> String {
    match code {
        Code::Unauthenticated => format!(
            "; it accepts neither our certificate, if we have one, nor the token at {}: \
             write a fresh bundle with istioctl and `hawser join` it",
            token.display()
        ),
        Code::InvalidArgument => "; see identity.ttl and identity.key".to_owned(),
        _ => String::new(),
    }
}
