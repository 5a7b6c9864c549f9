//! Who has taken a port, as the kernel lists it.

use std::path::Path;

use super::text;

/// Whether somebody takes UDP datagrams at an address, or at all of them.
///
/// `/proc/self` is what a confined service sees of `/proc`.
pub(super) fn listener(root: &Path, address: [u8; 4], port: u16) -> bool {
    let table = text(&root.join("proc/self/net/udp")).unwrap_or_default();
    // The kernel writes the octets as the number that they are to this processor.
    let address = u32::from_ne_bytes(address);
    let wanted = [format!("{address:08X}:{port:04X}"), format!("00000000:{port:04X}")];
    let local = |line: &str| line.split_ascii_whitespace().nth(1).map(str::to_owned);
    table.lines().skip(1).filter_map(local).any(|local| wanted.contains(&local))
}
