//! Boxes in boxes, and what only looks like one.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (kind, name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn file<'a>(name: &'a str, bytes: &'a [u8]) -> (EntryType, &'a str, &'a [u8]) {
    (EntryType::Regular, name, bytes)
}

fn unboxed(bytes: &[u8], boxed: Boxed, limit: u64) -> Result<Vec<u8>, String> {
    let mut module = Vec::new();
    let length = unbox(&mut &*bytes, boxed, limit, &mut module).map_err(|error| error.to_string());
    length.map(|length| module[..usize::try_from(length).unwrap()].to_vec())
}

const TINY: &[u8] = b"\0asm\x01\0\0\0";

#[test]
fn a_module_is_found_in_boxes_of_any_order() {
    let packed = tar(&[(EntryType::Directory, "d/", b""), file("d/a", TINY), file("b", b"x")]);
    let boxes = [
        TINY.to_vec(),
        gzip(TINY),
        packed.clone(),
        gzip(&packed),
        tar(&[file("a.gz", &gzip(TINY))]),
        gzip(&gzip(TINY)),
        gzip(&tar(&[file("a.gz", &gzip(TINY))])),
        // Two members of gzip are one content.
        [gzip(&TINY[..3]), gzip(&TINY[3..])].concat(),
    ];
    for (number, boxed) in boxes.iter().enumerate() {
        assert_eq!(unboxed(boxed, Boxed::Anyhow, 1000).as_deref(), Ok(TINY), "{number}");
    }
}

#[test]
fn a_layer_gives_its_plugin_wherever_it_lies() {
    let long = format!("{}/plugin.wasm", "d".repeat(300));
    let cases = [
        tar(&[file("plugin.wasm", TINY)]),
        tar(&[file("a", b"x"), file("./d/plugin.wasm", TINY), file("plugin.wasm", b"")]),
    ];
    for archive in cases {
        assert_eq!(unboxed(&gzip(&archive), Boxed::Layer, 1000).as_deref(), Ok(TINY));
    }
    // A name too long for its header comes in an entry of its own, of one kind or the other.
    let mut gnu = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(TINY.len() as u64);
    gnu.append_data(&mut header, &long, TINY).unwrap();
    let gnu = gnu.into_inner().unwrap();
    assert_eq!(unboxed(&gzip(&gnu), Boxed::Layer, 1000).as_deref(), Ok(TINY));
    let line = format!("{} path={long}\n", long.len() + 10);
    let pax = tar(&[(EntryType::XHeader, "x", line.as_bytes()), file("cut", TINY)]);
    assert_eq!(unboxed(&gzip(&pax), Boxed::Layer, 1000).as_deref(), Ok(TINY));
}

#[test]
fn what_holds_no_module_is_refused_in_words() {
    let five = (0..5).fold(TINY.to_vec(), |inner, _| gzip(&inner));
    let sparse = tar(&[(EntryType::GNUSparse, "plugin.wasm", TINY)]);
    let long_name = vec![b'a'; LONGEST_EXTENSION + 1];
    let long_name = tar(&[(EntryType::GNULongName, "x", &long_name), file("a", TINY)]);
    let cases = [
        (Boxed::Anyhow, b"".to_vec(), "neither"),
        (Boxed::Anyhow, b"\0as".to_vec(), "neither"),
        (Boxed::Anyhow, b"<html>".to_vec(), "neither"),
        (Boxed::Anyhow, gzip(b"x"), "neither"),
        (Boxed::Anyhow, tar(&[(EntryType::Directory, "d/", b"")]), "does not hold"),
        (Boxed::Anyhow, five, "too many boxes"),
        (Boxed::Anyhow, long_name, "too long"),
        (Boxed::Layer, gzip(&tar(&[file("a", TINY)])), "does not hold"),
        (Boxed::Layer, gzip(&sparse), "does not hold"),
        (Boxed::Layer, gzip(&tar(&[file("plugin.wasm", b"text")])), "no module"),
        (Boxed::Layer, gzip(&tar(&[file("plugin.wasm", b"a")])), "too short"),
        (Boxed::Layer, tar(&[file("plugin.wasm", TINY)]), "not compressed"),
        (Boxed::Not, gzip(TINY), "no module"),
        (Boxed::Not, b"\0a".to_vec(), "too short"),
    ];
    for (boxed, bytes, words) in cases {
        let refused = unboxed(&bytes, boxed, 1000).unwrap_err();
        assert!(refused.contains(words), "{refused}, expected {words}");
    }
}

#[test]
fn every_byte_counts_whatever_the_headers_say() {
    let module = [TINY, &[0; 92]].concat();
    for boxed in [module.clone(), gzip(&module), gzip(&tar(&[file("a", &module)]))] {
        assert_eq!(unboxed(&boxed, Boxed::Anyhow, 100).as_deref(), Ok(&*module));
        assert!(unboxed(&boxed, Boxed::Anyhow, 99).unwrap_err().contains("too large"));
    }
    // Nothing but zeros, which compress a thousand to one; twice.
    let bomb = gzip(&gzip(&vec![0; 64 << 20]));
    assert!(bomb.len() < 10_000);
    assert!(unboxed(&bomb, Boxed::Anyhow, 1 << 20).is_err());
    // A member that claims to be larger than the archive.
    let mut archive = tar(&[file("plugin.wasm", TINY)]);
    let mut header = tar::Header::new_ustar();
    header.set_path("plugin.wasm").unwrap();
    header.set_size(u64::MAX >> 2);
    header.set_cksum();
    archive[..512].copy_from_slice(header.as_bytes());
    let short = unboxed(&gzip(&archive), Boxed::Layer, 1 << 20);
    assert!(short.is_ok_and(|module| module.len() < 4096));
}

#[test]
fn what_is_cut_off_is_never_a_panic_and_never_more_than_there_was() {
    let whole = gzip(&tar(&[file("d/plugin.wasm", TINY), file("b", b"x")]));
    for end in 0..whole.len() {
        for boxed in [Boxed::Anyhow, Boxed::Layer, Boxed::Not] {
            if let Ok(module) = unboxed(&whole[..end], boxed, 1000) {
                assert!(TINY.starts_with(&module), "{end}");
            }
        }
    }
}
