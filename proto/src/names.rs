//! A name table as it came: checked once, and read where it lies.
//!
//! What is true of every [`Names`]:
//!
//! - Its message is well formed, so reading it fails nowhere.
//! - Its hosts are in order, and each is there once: of several entries for one host the last
//!   counts, as in any protobuf map.

use std::fmt;

use bytes::Bytes;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};

pub use hawser_wire::Malformed;
use hawser_wire::{Fields, Value};

use crate::istio::nds::NameTable;

/// The names of a mesh. Clones share one piece of memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    message: Bytes,
    len: usize,
}

/// What is known of one host.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The name, which may begin with `*.`.
    pub host: &'a str,
    /// Where istiod has it from: `Kubernetes`, `External`, …
    pub registry: &'a str,
    /// The name of the service within its namespace; empty if it is no service.
    pub shortname: &'a str,
    /// The namespace of the service; empty if it is no service.
    pub namespace: &'a str,
    info: &'a [u8],
}

impl Names {
    /// Takes a `NameTable`. It stays where it is, unless its hosts are out of order.
    pub fn new(message: Bytes) -> Result<Self, Malformed> {
        let (mut len, mut in_order, mut last) = (0, true, None);
        for payload in payloads(&message) {
            let host = Some(checked(payload?)?);
            in_order &= last < host;
            last = host;
            len += 1;
        }
        if in_order { Ok(Self { message, len }) } else { Ok(Self::put_in_order(&message)) }
    }

    /// Number of hosts.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no hosts.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The `NameTable`.
    pub fn message(&self) -> &Bytes {
        &self.message
    }

    /// The hosts, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        payloads(&self.message).filter_map(|payload| Some(Entry::read(payload.ok()?)))
    }

    /// Those of its hosts for which that holds.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(Entry<'_>) -> bool) -> Self {
        let mut message = Vec::with_capacity(self.message.len());
        let mut len = 0;
        for payload in payloads(&self.message).flatten() {
            if wanted(Entry::read(payload)) {
                write(payload, &mut message);
                len += 1;
            }
        }
        Self { message: message.into(), len }
    }

    /// With the hosts of another table, whose word counts about a host that both have.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self::put_in_order(&[&self.message[..], &other.message[..]].concat())
    }

    /// A message that is well formed, written once more.
    fn put_in_order(message: &[u8]) -> Self {
        let mut entries: Vec<_> = payloads(message)
            .filter_map(|payload| payload.ok().map(|payload| (host(payload), payload)))
            .collect();
        // Stable: entries for the same host stay as they came, of which the last one counts.
        entries.sort_by_key(|&(host, _)| host);
        let mut len = 0;
        let mut ordered = Vec::with_capacity(message.len());
        for (index, &(host, payload)) in entries.iter().enumerate() {
            if entries.get(index + 1).is_some_and(|&(next, _)| next == host) {
                continue;
            }
            write(payload, &mut ordered);
            len += 1;
        }
        Self { message: ordered.into(), len }
    }
}

impl From<&NameTable> for Names {
    fn from(table: &NameTable) -> Self {
        Self::put_in_order(&table.encode_to_vec())
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<'a> Entry<'a> {
    /// The addresses of the host, as text, in the order in which they came.
    pub fn ips(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        texts(self.info, IPS)
    }

    /// Other names of the host.
    pub fn alt_hosts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        texts(self.info, ALT_HOSTS)
    }

    fn read(payload: &'a [u8]) -> Self {
        let info = last(payload, VALUE).and_then(|value| value.bytes().ok()).unwrap_or_default();
        let [mut registry, mut shortname, mut namespace] = [""; 3];
        for (number, value) in Fields::new(info).flatten() {
            let place = match number {
                REGISTRY => &mut registry,
                SHORTNAME => &mut shortname,
                NAMESPACE => &mut namespace,
                _ => continue,
            };
            *place = value.text().unwrap_or_default();
        }
        Self { host: host(payload), registry, shortname, namespace, info }
    }
}

/// Adds an entry to a message.
fn write(payload: &[u8], message: &mut Vec<u8>) {
    encode_key(TABLE, WireType::LengthDelimited, message);
    encode_varint(payload.len() as u64, message);
    message.extend_from_slice(payload);
}

/// The entries of a table, as far as it is well formed.
fn payloads(message: &[u8]) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    Fields::new(message).filter_map(|field| match field {
        Ok((TABLE, value)) => Some(value.bytes()),
        Ok(_) => None,
        Err(malformed) => Some(Err(malformed)),
    })
}

/// The host of an entry in which everything that is looked at later can be.
fn checked(payload: &[u8]) -> Result<&str, Malformed> {
    let mut host = "";
    for field in Fields::new(payload) {
        match field? {
            (KEY, key) => host = key.text()?,
            (VALUE, info) => {
                for field in Fields::new(info.bytes()?) {
                    if let (IPS..=ALT_HOSTS, value) = field? {
                        value.text()?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(host)
}

fn host(payload: &[u8]) -> &str {
    last(payload, KEY).and_then(|key| key.text().ok()).unwrap_or_default()
}

fn last(message: &[u8], wanted: u32) -> Option<Value<'_>> {
    Fields::last(message, wanted).ok().flatten()
}

fn texts(info: &[u8], wanted: u32) -> impl Iterator<Item = &str> {
    Fields::new(info)
        .flatten()
        .filter(move |&(number, _)| number == wanted)
        .filter_map(|(_, value)| value.text().ok())
}

/// The numbers of fields in `istio.networking.nds.v1`, and in any entry of a map.
const TABLE: u32 = 1;
const KEY: u32 = 1;
const VALUE: u32 = 2;
const IPS: u32 = 1;
const REGISTRY: u32 = 2;
const SHORTNAME: u32 = 3;
const NAMESPACE: u32 = 4;
const ALT_HOSTS: u32 = 5;

#[cfg(test)]
mod tests;
