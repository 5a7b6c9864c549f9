//! Files that are nobody else's business.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use hawser_identity::{FILE, Source};
use hawser_istiod::credential::TokenSource;

use crate::{
    config::{Config, paths},
    doctor::{Finding, Patient},
};

/// Nobody but owner and group can read them.
pub(super) fn private(patient: &Patient) -> Finding {
    let Ok(config) = &patient.config else { return Finding::unknown("no settings") };
    let files = secrets(patient, config);
    let open = |path: &&PathBuf| fs::metadata(path).is_ok_and(|found| found.mode() & 0o007 != 0);
    let open: Vec<String> =
        files.iter().filter(open).map(|path| path.display().to_string()).collect();
    if open.is_empty() {
        return Finding::ok("token and keys are for their owner alone");
    }
    let files = open.join(" ");
    Finding::failed(format!("anybody may read {files}"), format!("`chmod o= {files}`"))
        .because("who has one of them can be this machine")
}

/// Those that are there, or may be.
fn secrets(patient: &Patient, config: &Config) -> Vec<PathBuf> {
    let tokens = config.identity.tokens.iter().filter_map(|source| match source {
        TokenSource::File(path) => Some(path.clone()),
        _ => None,
    });
    let provisioned = config.identity.provisioned.iter().map(|place| place.join(paths::KEY));
    let brought = match &config.identity.source {
        Source::Files(files) => vec![files.key.clone()],
        Source::Vault { role, .. } => role.login.files(),
        _ => Vec::new(),
    };
    let kept = [patient.paths.state().join(FILE)];
    tokens.chain(provisioned).chain(brought).chain(kept).collect()
}
