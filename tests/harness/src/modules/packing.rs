//! Boxes that modules come in.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Compressed.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a Vec does not fail.
    encoder.write_all(bytes).ok();
    encoder.finish().unwrap_or_default()
}

/// An archive of files.
#[must_use]
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        // Writing to a Vec does not fail.
        archive.append_data(&mut header, name, *bytes).ok();
    }
    archive.into_inner().unwrap_or_default()
}

/// A layer of an image with the module where agents look for it.
#[must_use]
pub fn layer(module: &[u8]) -> Vec<u8> {
    gzip(&tar(&[("README", b"a filter"), ("./plugin.wasm", module)]))
}
