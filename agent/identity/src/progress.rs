//! How obtaining the next certificate goes, for whoever asks.

use std::time::SystemTime;

/// The trouble there is, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is wrong, and since when. None while all is well.
    pub wrong: Option<(String, SystemTime)>,
    /// When the next certificate is asked for.
    pub next: Option<SystemTime>,
}

impl Progress {
    /// What is wrong.
    pub fn trouble(&self) -> Option<String> {
        self.wrong.as_ref().map(|(trouble, _)| trouble.clone())
    }
}
