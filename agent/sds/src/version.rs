//! Versions that are made from what they are versions of.

use aws_lc_rs::digest::{Context, SHA256};

/// The same for the same parts, over restarts and machines, and nothing of them can be read
/// from it.
pub(crate) fn version(parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref().iter().take(LENGTH / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// Characters of a version.
pub(crate) const LENGTH: usize = 16;
