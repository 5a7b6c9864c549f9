//! What a resource name asks for.
//!
//! Pure. A name is one of ours by its exact form or not at all: nothing is trimmed, completed or
//! guessed, because behind one of the names lies a private key.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A secret that is served here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// `default`: the workload's key and chain.
    Default,
    /// `ROOTCA`: the roots that the workload trusts.
    Rootca,
    /// A secret made of files that somebody else keeps.
    File(File),
}

/// The files of a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    /// `file-cert:CHAIN~KEY`: a chain and its key.
    Pair {
        /// The certificates, leaf first.
        chain: PathBuf,
        /// The key of the leaf.
        key: PathBuf,
    },
    /// `file-root:PATH`: roots to trust.
    Roots(PathBuf),
    /// `file-root:system`: the roots of the operating system.
    System,
}

/// Why nothing is served under a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Foreign {
    #[error(
        "no such secret here: expected default, ROOTCA, file-cert:CHAIN~KEY, file-root:PATH or \
         file-root:system"
    )]
    Unknown,
    #[error("expected two paths with one \"~\" between them: file-cert:CHAIN~KEY")]
    NotTwo,
    #[error("expected one path without \"~\": file-root:PATH")]
    NotOne,
    #[error("expected an absolute path: the directory that the agent runs in means nothing")]
    Relative,
    #[error("expected paths of at most {LONGEST_PATH} bytes")]
    Long,
    #[error("a path cannot have a NUL in it")]
    Nul,
}

impl Name {
    /// Reads a resource name.
    ///
    /// # Errors
    /// When nothing is served under it, and never will be.
    pub fn parse(name: &str) -> Result<Self, Foreign> {
        match name {
            DEFAULT => return Ok(Self::Default),
            ROOTCA => return Ok(Self::Rootca),
            SYSTEM => return Ok(Self::File(File::System)),
            _ => {}
        }
        if let Some(paths) = name.strip_prefix(PAIR) {
            let (chain, key) = paths.split_once('~').ok_or(Foreign::NotTwo)?;
            if key.contains('~') {
                return Err(Foreign::NotTwo);
            }
            let (chain, key) = (absolute(chain)?, absolute(key)?);
            return Ok(Self::File(File::Pair { chain, key }));
        }
        let path = name.strip_prefix(ROOTS).ok_or(Foreign::Unknown)?;
        if path.contains('~') {
            return Err(Foreign::NotOne);
        }
        absolute(path).map(|path| Self::File(File::Roots(path)))
    }
}

fn absolute(path: &str) -> Result<PathBuf, Foreign> {
    if path.len() > LONGEST_PATH {
        return Err(Foreign::Long);
    }
    if path.contains('\0') {
        return Err(Foreign::Nul);
    }
    let path = Path::new(path);
    if path.is_absolute() { Ok(path.to_owned()) } else { Err(Foreign::Relative) }
}

impl fmt::Display for Name {
    /// The name as it was asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(DEFAULT),
            Self::Rootca => f.write_str(ROOTCA),
            Self::File(file) => file.fmt(f),
        }
    }
}

impl fmt::Display for File {
    /// The name as it was asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair { chain, key } => {
                write!(f, "{PAIR}{}~{}", chain.display(), key.display())
            }
            Self::Roots(path) => write!(f, "{ROOTS}{}", path.display()),
            Self::System => f.write_str(SYSTEM),
        }
    }
}

/// The workload's key and chain.
pub(crate) const DEFAULT: &str = "default";
/// The roots the workload trusts.
pub(crate) const ROOTCA: &str = "ROOTCA";
const PAIR: &str = "file-cert:";
const ROOTS: &str = "file-root:";
const SYSTEM: &str = "file-root:system";
/// What the kernel takes, without the NUL at the end.
const LONGEST_PATH: usize = 4095;
