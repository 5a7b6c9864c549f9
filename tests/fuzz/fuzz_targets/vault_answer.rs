//! An answer of Vault's of any content: what means nothing is refused, and what is taken is within
//! limits.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hawser_vault::fuzz(bytes));
