//! Metrics of any content, in pieces of any size: what passes are whole lines, the same however they
//! were cut, and none of them is the end of OpenMetrics.

#![no_main]

use bytes::Bytes;
use hawser_scrape::lines::Lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first bytes say where it is cut.
    let (cuts, text) = bytes.split_at(bytes.len().min(8));
    let mut pieces = Vec::new();
    let mut rest = text;
    for cut in cuts {
        let (piece, more) = rest.split_at(rest.len().min(usize::from(*cut)));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    let cut = passed(&pieces);
    assert_eq!(cut, passed(&[text]));
    assert!(cut.is_empty() || cut.ends_with(b"\n"));
    for line in cut.split_inclusive(|octet| *octet == b'\n') {
        let line = line.trim_ascii();
        assert!(!line.is_empty() && line != b"# EOF");
    }
    let stay = |line: &[u8]| line.trim_ascii() != b"# EOF" && !line.trim_ascii().is_empty();
    let lines = text.split(|octet| *octet == b'\n').filter(|line| stay(line)).count();
    assert_eq!(cut.iter().filter(|octet| **octet == b'\n').count(), lines);
});

fn passed(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut lines, mut all) = (Lines::default(), Vec::new());
    for piece in pieces {
        let piece = Bytes::copy_from_slice(piece);
        lines.take(&piece, |run| all.extend_from_slice(&run)).expect("no line is that long");
    }
    all.extend(lines.end().unwrap_or_default());
    all
}
