//! Why there is no new certificate, and whether asking again can help.

use std::{io, path::PathBuf, time::Duration};

use hawser_pki::SpiffeId;
use hawser_rt::Chain;
use tonic::Code;

use crate::{schedule::Skew, seal::SealError, span::Span};

/// A certificate could not be obtained, kept or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    // The authority.
    #[error("reach the certificate authority")]
    Reach { source: Box<hawser_istiod::Error> },
    #[error("{ca} refuses: {code}: {message}{}", hint(*code, shown))]
    Refused { ca: String, code: Code, message: String, shown: String, may_come: bool },
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
    OtherIdentity { ca: String, issued: String, expected: Box<SpiffeId> },
    #[error(
        "{ca} answers with a certificate that is valid in {} only: this machine's clock is behind; \
         set it (timedatectl set-ntp true)",
        Span(*within)
    )]
    NotYetValid { ca: String, within: Duration },
    #[error("{ca} answers with a certificate that has expired {} ago{}", Span(*ago), blame(*skew))]
    AlreadyExpired { ca: String, ago: Duration, skew: Option<Skew> },
    #[error(
        "this machine's clock is {} before the beginning of its certificate; \
         set it (timedatectl set-ntp true)",
        Span(*by)
    )]
    ClockBehind { by: Duration },
    #[error("ask Vault for a certificate")]
    Vault { source: Box<hawser_vault::Error> },
    #[error(
        "{ca} has issued {issued}, and was asked for {expected}: identity.vault.role has to sign \
         the SPIFFE id of the request"
    )]
    SignedForOther { ca: String, issued: String, expected: Box<SpiffeId> },
    #[error(
        "{ca} signs, and does not say under which root: name the roots of the mesh in identity.roots"
    )]
    NoRoot { ca: String },
    #[error("make a key")]
    Key { source: hawser_pki::Error },
    #[error("the work was given up")]
    GivenUp { source: tokio::task::JoinError },

    // What was kept.
    #[error("read the state")]
    ReadKept { source: hawser_state::Error },
    #[error("write the state")]
    Keep { source: hawser_state::Error },
    #[error("write the state: the disk takes longer than {seconds} s")]
    SlowDisk { seconds: u64 },
    #[error("it is sealed, and the key is not there; see `hawser identity seal`")]
    Sealed,
    #[error("it cannot be unsealed")]
    OpenKept { source: SealError },
    #[error("seal it")]
    SealKept { source: SealError },
    #[error("it is for {kept}, and this machine is {expected} now")]
    KeptForOther { kept: String, expected: Box<SpiffeId> },
    #[error("it does not hold key, chain and roots")]
    KeptShort,
    #[error("what it holds does not fit")]
    KeptUnfit { source: Box<hawser_pki::Error> },

    // Files.
    #[error("read {}", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("{} cannot be used", path.display())]
    UnusableFile { path: PathBuf, source: Box<hawser_pki::Error> },
    #[error("key, chain and roots in {} are not of one set{}", dir.display(), apart(source))]
    UnfitFiles { dir: PathBuf, source: Box<hawser_pki::Error> },
    #[error(
        "the certificate in {} is valid in {} only; check this machine's clock",
        path.display(), Span(*within)
    )]
    FileNotYetValid { path: PathBuf, within: Duration },
    #[error("the certificate in {} has expired; whoever writes it has to renew it", path.display())]
    FileExpired { path: PathBuf },
    #[error(
        "the certificate in {} is for {found}, and this machine is configured as {expected}; \
         istiod will refuse it: mend SERVICE_ACCOUNT and POD_NAMESPACE, or the files",
        path.display()
    )]
    FileForOther { path: PathBuf, found: String, expected: Box<SpiffeId> },

    // A program that prints it.
    #[error("run identity.command")]
    Command { source: hawser_rt::Error },
    #[error("what {} prints is no certificate to use", program.display())]
    Unprinted { program: PathBuf, source: Box<crate::Unprinted> },
    #[error(
        "the certificate that {} prints is not valid at this time; check this machine's clock",
        program.display()
    )]
    PrintedNotValid { program: PathBuf },
    #[error(
        "{} goes on printing a certificate that expires in {}; it is to print another",
        program.display(), Span(*left)
    )]
    PrintedStale { program: PathBuf, left: Duration },
    #[error(
        "the certificate that {} prints is for {found}, and this machine is configured as \
         {expected}; istiod will refuse it: mend SERVICE_ACCOUNT and POD_NAMESPACE, or the program \
         (it is told by HAWSER_SPIFFE_ID)",
        program.display()
    )]
    PrintedForOther { program: PathBuf, found: String, expected: Box<SpiffeId> },

    // Another program.
    #[error("nobody serves certificates at {}", socket.display())]
    NoProvider { socket: PathBuf, source: io::Error },
    #[error("whoever serves certificates at {} breaks off{}", socket.display(), unknown(source))]
    BrokenOff { socket: PathBuf, source: Box<tonic::Status> },
    #[error("whoever serves certificates at {} ends the stream", socket.display())]
    Ended { socket: PathBuf },
    #[error(
        "whoever serves certificates at {} has not given {wanted} within {seconds} s",
        socket.display()
    )]
    Silent { socket: PathBuf, wanted: &'static str, seconds: u64 },
    #[error(
        "the SPIFFE provider at {} has not renewed a certificate that is due",
        socket.display()
    )]
    NotRenewed { socket: PathBuf },
    #[error(
        "whoever serves certificates at {} sends {name}, which cannot be used",
        socket.display()
    )]
    UnusableSecret { socket: PathBuf, name: String, source: BoxError },
    #[error("what is served at {} does not fit together", socket.display())]
    UnfitSecrets { socket: PathBuf, source: Box<hawser_pki::Error> },
    #[error(
        "the SPIFFE provider at {} gives a certificate that is not valid at this time",
        socket.display()
    )]
    SecretNotValid { socket: PathBuf },
    #[error(
        "the SPIFFE provider at {} gives {found}, and this machine is configured as {expected}; \
         istiod will refuse it: mend SERVICE_ACCOUNT and POD_NAMESPACE, or the provider's entry",
        socket.display()
    )]
    SecretForOther { socket: PathBuf, found: String, expected: Box<SpiffeId> },
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask again after a while.
    Retry,
    /// Asking again cannot help until something changes here; ask rarely all the same, because
    /// the other side may change too.
    Wait,
}

impl Error {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            // A program or a service that failed may do better in a moment.
            Self::Refused { may_come: true, .. } => Verdict::Retry,
            Self::Vault { source } if source.is_settled() => Verdict::Wait,
            Self::OtherIdentity { .. }
            | Self::NotYetValid { .. }
            | Self::AlreadyExpired { .. }
            | Self::NoRoot { .. }
            | Self::SignedForOther { .. }
            | Self::Refused {
                code: Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument,
                ..
            } => Verdict::Wait,
            _ => Verdict::Retry,
        }
    }

    /// Whether the authority has answered, with something that is not good enough.
    pub(crate) fn is_bad_answer(&self) -> bool {
        matches!(
            self,
            Self::ShortAnswer { .. }
                | Self::Unusable { .. }
                | Self::OtherIdentity { .. }
                | Self::SignedForOther { .. }
                | Self::NotYetValid { .. }
                | Self::AlreadyExpired { .. }
        )
    }

    /// What tells this trouble from others: its text, without what passes with time.
    pub(crate) fn gist(&self) -> String {
        let text = match self {
            Self::Refused { ca, code, message, .. } => format!("{ca} {code} {message}"),
            other => Chain(other).to_string(),
        };
        text.chars().filter(|char| !char.is_ascii_digit()).collect()
    }
}

/// What is half of a change, or meant so.
fn apart(source: &hawser_pki::Error) -> &'static str {
    match source {
        hawser_pki::Error::Untrusted { .. } => {
            " (a pair of another authority than the mesh's wants the mesh's roots in a file of their \
             own: identity.roots)"
        }
        _ => "",
    }
}

/// A provider that knows its callers by their users does not know this one.
fn unknown(status: &tonic::Status) -> &'static str {
    match status.code() {
        Code::PermissionDenied => {
            "; it knows nothing of the agent's user: make an entry for it \
             (spire-server entry create … -selector unix:user:hawser)"
        }
        _ => "",
    }
}

fn hint(code: Code, shown: &str) -> String {
    match code {
        Code::Unauthenticated => format!(
            "; it believes nothing that we can show ({shown}): \
             write a fresh bundle with istioctl and `hawser join` it"
        ),
        Code::InvalidArgument => "; see identity.ttl and identity.key".to_owned(),
        Code::Unimplemented => {
            "; there is no certificate authority at this port: CA_ADDR is to name istiod's TLS \
             port (15012)"
                .to_owned()
        }
        _ => String::new(),
    }
}

fn blame(skew: Option<Skew>) -> String {
    match skew {
        Some(Skew::Ahead(by)) => format!(
            ": this machine's clock is {} ahead; set it (timedatectl set-ntp true)",
            Span(by)
        ),
        _ => "; check this machine's clock, and the authority's".to_owned(),
    }
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
