//! How obtaining the next certificate goes, for whoever asks.

use std::time::{Duration, SystemTime};

/// What there is to say of the certificate besides the certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is wrong, and since when. None while all is well.
    pub wrong: Option<(String, SystemTime)>,
    /// When the pair from before the start has expired, which is not served for that.
    pub expired: Option<SystemTime>,
    /// When the next certificate is asked for, or the next attempt is made. None where the next
    /// one comes by itself.
    pub next: Option<SystemTime>,
    /// Why services of the mesh do not believe a pair that somebody else has brought, if they do not.
    pub remark: Option<String>,
    /// Who gave the pair, or is to give it: `istiod`, `files`, `command`, `SPIFFE provider`.
    pub source: String,
    /// The last certificate that the authority has issued to this process.
    pub obtained: Option<Obtained>,
    /// How the pair survives a restart.
    pub at_rest: AtRest,
    /// Certificates asked for since the start, each counted when its outcome is known.
    pub asked: u64,
    /// How many of them were not to be had.
    pub failed: u64,
    /// The last answer of the authority that was not good enough to be used.
    pub rejected: Option<String>,
}

/// How a certificate was obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obtained {
    /// When it came.
    pub at: SystemTime,
    /// How long that took, from the address to the answer.
    pub took: Duration,
    /// What the authority was shown.
    pub credential: String,
}

/// How the pair survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AtRest {
    /// There is none.
    #[default]
    Nothing,
    /// It does not, and why. It is tried again.
    NotKept(String),
    /// In a file for its owner alone.
    Plain,
    /// In a file that takes a key to be opened.
    Sealed,
    /// It is kept by whoever gave it.
    NotOurs,
}

impl Progress {
    /// What is wrong.
    pub fn trouble(&self) -> Option<String> {
        self.wrong.as_ref().map(|(trouble, _)| trouble.clone())
    }
}
