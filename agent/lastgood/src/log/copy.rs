//! Copying a part of a file.

use std::{
    fs::File,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
};

use crate::write::write_at;

/// Copies `length` bytes; `buffer` is what they go through.
pub(super) fn copy(
    (from, mut at): (&File, u64),
    (to, mut into): (&File, u64),
    mut length: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    buffer.resize(BUFFER, 0);
    while length > 0 {
        let some = usize::try_from(length).unwrap_or(usize::MAX).min(BUFFER);
        let part = buffer.get_mut(..some).unwrap_or_default();
        from.read_exact_at(part, at)?;
        write_at(to, vec![IoSlice::new(part)], into)?;
        at += some as u64;
        into += some as u64;
        length -= some as u64;
    }
    Ok(())
}

const BUFFER: usize = 256 << 10;
