//! Text of any kind: log lines, what programs print, files of variables.

mod named;
mod opaque;

use crate::MASK;

/// The same without what is secret in it. What spans lines is found too, so a text is to be given
/// whole.
pub fn text(input: &str) -> String {
    let mut left = String::with_capacity(input.len());
    for (number, line) in without_blocks(input).split('\n').enumerate() {
        if number > 0 {
            left.push('\n');
        }
        left.push_str(&settled(line));
    }
    left
}

/// A line, until nothing more is found in it: what was taken out may show something else.
fn settled(line: &str) -> String {
    let mut left = line.to_owned();
    for _ in 0..MOST_LOOKS {
        let next = opaque::taken_out(&opaque::of_addresses(&named::taken_out(&left)));
        if next == left {
            break;
        }
        left = next;
    }
    left
}

/// Without blocks of PEM but certificates and the like, which are for everybody to see.
fn without_blocks(input: &str) -> String {
    let mut left = String::with_capacity(input.len());
    let mut rest = input;
    while let Some((before, block)) = rest.split_once(BEGIN) {
        left.push_str(before);
        let label = block.split("-----").next().unwrap_or(block);
        if label.len() <= MAX_LABEL && PUBLIC.contains(&label) {
            left.push_str(BEGIN);
            rest = block;
            continue;
        }
        left.push_str(MASK);
        // One without an end takes what may have been its lines.
        let most = (0..=MAX_BLOCK.min(block.len())).rev().find(|at| block.is_char_boundary(*at));
        let (within, beyond) = block.split_at(most.unwrap_or_default());
        rest = match within.split_once(END) {
            // The rest of the line that ends it is its label.
            Some((_, after)) => {
                let label = after.find("-----").filter(|at| *at <= MAX_LABEL);
                let length = within.len() - after.len() + label.map_or(0, |at| at + 5);
                block.get(length..).unwrap_or_default()
            }
            None => beyond,
        };
    }
    left.push_str(rest);
    left
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const PUBLIC: [&str; 6] = [
    "CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "X509 CERTIFICATE",
    "X509 CRL",
    "PUBLIC KEY",
    "CERTIFICATE REQUEST",
];
const MAX_LABEL: usize = 64;
/// One that finds something, and one that finds nothing, are enough for what people write.
const MOST_LOOKS: usize = 16;
/// An RSA key of 16,384 bits is smaller.
const MAX_BLOCK: usize = 16 << 10;

#[cfg(test)]
mod tests;
