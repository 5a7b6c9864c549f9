//! Why Vault has signed nothing, and what to do about it.

use std::{io, path::PathBuf};

use crate::answer::{Garbled, Said};

/// Vault could not be asked, or did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    // What is here.
    #[error("read {}, which Vault is to be shown", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("there is no one-line secret in {}; write it there again", path.display())]
    NoSecret { path: PathBuf },
    #[error("read the roots of Vault's certificate in {}; see identity.vault.ca", path.display())]
    Roots { path: PathBuf, source: io::Error },
    #[error("there are no roots to check {vault} by; see identity.vault.ca")]
    NoRoots { vault: String },
    #[error("set up TLS")]
    Settings { source: rustls::Error },

    // The way.
    #[error("cannot find {host}; check identity.vault.address and this machine's DNS")]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {vault}; see whether it is up, and the way there open")]
    Connect { vault: String, source: io::Error },
    #[error("{vault} is not what it should be; identity.vault.ca names its roots")]
    Tls { vault: String, source: io::Error },
    #[error("{vault} breaks off")]
    Broken { vault: String, source: hyper::Error },
    #[error("{vault} does not answer within {seconds} s")]
    Slow { vault: String, seconds: u64 },
    #[error("{vault} answers with more than {limit} bytes")]
    TooLarge { vault: String, limit: usize },
    #[error(
        "{vault} sends to another place, {problem}; name the active one in identity.vault.address"
    )]
    Redirect { vault: String, problem: &'static str },

    // What it says.
    #[error(
        "{vault} is sealed: it signs nothing until somebody unseals it (`vault operator unseal`)"
    )]
    Sealed { vault: String },
    #[error("{vault} has too much to do (status {status}{said})")]
    Busy { vault: String, status: u16, said: Said },
    #[error("{vault} has trouble of its own (status {status}{said}); see its log")]
    Failing { vault: String, status: u16, said: Said },
    #[error("{vault} has nothing at {place}{said}; {hint}")]
    NoPlace { vault: String, place: String, said: Said, hint: &'static str },
    #[error("{vault} does not take {login}{said}; {hint}")]
    Login { vault: String, login: String, said: Said, hint: &'static str },
    #[error(
        "{vault} does not let {login} use {place}{said}; its policy needs \
         `path \"{place}\" {{ capabilities = [\"update\"] }}`"
    )]
    Denied { vault: String, login: String, place: String, said: Said },
    #[error("{vault} does not sign at {place}{said}; {hint}")]
    Unsigned { vault: String, place: String, said: Said, hint: String },
    #[error("{vault} answers {place} with what it should not")]
    Answer { vault: String, place: String, source: Garbled },
}

impl Error {
    /// Whether asking again cannot help until something changes, here or there.
    pub fn is_settled(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::NoSecret { .. }
                | Self::NoPlace { .. }
                | Self::Login { .. }
                | Self::Denied { .. }
                | Self::Unsigned { .. }
        )
    }

    /// Whether what was shown is not good any more, or never was.
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }
}
