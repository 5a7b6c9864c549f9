//! The three files: their names and what is in them.

use hawser_pki::{Bundle, Identity};
use zeroize::Zeroizing;

use crate::Options;

/// The names that programs of Istio's day look for.
pub(crate) const NAMES: [&str; 3] = [KEY, "cert-chain.pem", "root-cert.pem"];
pub(crate) const KEY: &str = "key.pem";

/// One file as it is to be.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) access: Access,
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// The files of an identity.
pub(crate) fn of(options: &Options, identity: &Identity, trusted: &Bundle) -> [Entry; 3] {
    let [key, chain, roots] = NAMES;
    [
        entry(options, key, identity.key.encoded(options.form).as_bytes()),
        entry(options, chain, identity.chain.pem().as_bytes()),
        entry(options, roots, trusted.pem().as_bytes()),
    ]
}

/// A file of this name, with the access that the options give to it.
pub(crate) fn entry(options: &Options, name: &'static str, body: &[u8]) -> Entry {
    let mode = if name == KEY { options.key_mode } else { options.mode };
    let access = Access { mode: mode & 0o777, owner: options.owner, group: options.group };
    Entry { name, body: Zeroizing::new(body.to_vec()), access }
}
