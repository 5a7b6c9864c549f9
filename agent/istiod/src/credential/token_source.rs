//! Where a token comes from.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use hawser_rt::{Command, command::Limits};
use zeroize::Zeroizing;

use super::{gce, unusable::Unusable};
use crate::{file::read_text_if_there, presentation::Origin, token};

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, read at each dial; it may be missing.
    File(PathBuf),
    /// The identity of a machine on Google Compute Engine.
    Gce {
        /// Where the metadata server is, `host:port`.
        metadata: String,
        /// For whom the token is to be: the trust domain of the mesh.
        audience: String,
    },
    /// A program that prints a token; it finds the audience in `HAWSER_AUDIENCE`.
    Command(Command),
    /// A file that systemd has put into the credentials directory.
    SystemdCredential(PathBuf),
}

impl TokenSource {
    /// The file that is watched and read at each dial, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::SystemdCredential(path) => Some(path),
            Self::Gce { .. } | Self::Command(_) => None,
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        if self.file().is_some() { Origin::File } else { Origin::Asked }
    }

    /// For whom its tokens are meant.
    pub(crate) fn audience(&self) -> &str {
        match self {
            Self::Gce { audience, .. } => audience,
            _ => token::AUDIENCE,
        }
    }

    /// How a good token gets there.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::File(_) => "write a fresh one with `istioctl x workload entry configure`",
            Self::Gce { .. } => "see what the metadata server issues",
            Self::Command(_) => "see what istiod.token_command prints",
            Self::SystemdCredential(_) => "renew the credential and restart hawser",
        }
    }

    /// The token that is there now; none if its file is missing or empty.
    pub(crate) async fn obtain(&self) -> Result<Option<Zeroizing<String>>, Unusable> {
        match self {
            Self::File(path) | Self::SystemdCredential(path) => {
                let failed = |source| Unusable::Read { path: path.clone(), source };
                let limit = LARGEST_TOKEN as u64;
                let text = read_text_if_there(path, limit).await.map_err(failed)?;
                text.map_or(Ok(None), |text| plain(&text))
            }
            Self::Gce { metadata, audience } => gce::ask(metadata, audience).await.map(Some),
            Self::Command(command) => {
                let limits = Limits { time: PATIENCE, output: LARGEST_TOKEN };
                let variables = [("HAWSER_AUDIENCE", token::AUDIENCE)];
                let output = command.run(&variables, limits).await;
                printed(&output.map_err(|source| Unusable::Command { source })?).map(Some)
            }
        }
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "token file {}", path.display()),
            Self::Gce { metadata, .. } => write!(f, "token of the metadata server {metadata}"),
            // Its arguments may be nobody's business.
            Self::Command(command) => {
                write!(f, "token of the program {}", command.program().display())
            }
            Self::SystemdCredential(path) => write!(f, "systemd credential {}", path.display()),
        }
    }
}

/// A text as a token, without the white space around it; none if nothing else is there. Whether
/// it is a JWT is for istiod to say.
pub(crate) fn plain(text: &str) -> Result<Option<Zeroizing<String>>, Unusable> {
    let token = text.trim();
    if token.len() > LARGEST_TOKEN {
        return Err(Unusable::TooLong);
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Unusable::NotText);
    }
    Ok((!token.is_empty()).then(|| Zeroizing::new(token.to_owned())))
}

/// The token that a program has printed: its first line.
pub fn printed(output: &[u8]) -> Result<Zeroizing<String>, Unusable> {
    let line = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = str::from_utf8(line).ok().ok_or(Unusable::NotText)?;
    plain(line)?.ok_or(Unusable::NoOutput)
}

/// A generous limit: headers of a call have to have room for it.
pub(crate) const LARGEST_TOKEN: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(30);
