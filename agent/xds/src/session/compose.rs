//! Messages that are written here.

use bytes::Bytes;
use hawser_wire::{Flavour, write};

/// A request, as far as one is ever written here.
#[derive(Clone, Debug, Default)]
pub(super) struct Compose<'a> {
    pub(super) type_url: &'a str,
    pub(super) version: &'a str,
    pub(super) nonce: &'a str,
    pub(super) names: Vec<&'a str>,
    pub(super) dropped: Vec<&'a str>,
    pub(super) held: Vec<(&'a str, &'a str)>,
    /// Why a response, or the workload, is not well.
    pub(super) error: Option<&'a str>,
}

impl Compose<'_> {
    /// In the order of the fields' numbers, as everybody writes them.
    pub(super) fn message(&self, flavour: Flavour) -> Bytes {
        let mut into = Vec::new();
        match flavour {
            Flavour::Sotw => {
                if !self.version.is_empty() {
                    write::bytes(&mut into, 1, self.version.as_bytes());
                }
                // A name may be empty, and is one nevertheless.
                for name in &self.names {
                    write::bytes(&mut into, 3, name.as_bytes());
                }
                write::bytes(&mut into, 4, self.type_url.as_bytes());
                if !self.nonce.is_empty() {
                    write::bytes(&mut into, 5, self.nonce.as_bytes());
                }
                self.put_error(&mut into, 6);
            }
            Flavour::Delta => {
                write::bytes(&mut into, 2, self.type_url.as_bytes());
                for name in &self.names {
                    write::bytes(&mut into, 3, name.as_bytes());
                }
                for name in &self.dropped {
                    write::bytes(&mut into, 4, name.as_bytes());
                }
                for (name, version) in &self.held {
                    let mut entry = Vec::new();
                    write::bytes(&mut entry, 1, name.as_bytes());
                    write::bytes(&mut entry, 2, version.as_bytes());
                    write::bytes(&mut into, 5, &entry);
                }
                if !self.nonce.is_empty() {
                    write::bytes(&mut into, 6, self.nonce.as_bytes());
                }
                self.put_error(&mut into, 7);
            }
        }
        into.into()
    }

    fn put_error(&self, into: &mut Vec<u8>, number: u32) {
        let Some(reason) = self.error else { return };
        let mut status = Vec::new();
        write::number(&mut status, 1, INTERNAL);
        write::bytes(&mut status, 2, reason.as_bytes());
        write::bytes(into, number, &status);
    }
}

/// A delta response that tells only what is no more.
pub(crate) fn removal(type_url: &str, nonce: &str, names: &[String]) -> Bytes {
    let mut into = Vec::new();
    write::bytes(&mut into, 4, type_url.as_bytes());
    write::bytes(&mut into, 5, nonce.as_bytes());
    for name in names {
        write::bytes(&mut into, 6, name.as_bytes());
    }
    into.into()
}

/// gRPC's code for what went wrong inside.
const INTERNAL: u64 = 13;
