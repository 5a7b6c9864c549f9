//! Who asks: the node of Envoy's first request, and what of it has to be put right.

use bytes::Bytes;
use hawser_wire::{Edit, Fields, Flavour, Malformed, Value, rebuild, write};

/// What of a node may change while Envoy runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    /// Of the whole node.
    pub(crate) id: String,
    /// The workload's addresses, separated by commas.
    pub(crate) ips: String,
}

/// Who asks, as Envoy has said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Introduction {
    node: Bytes,
}

impl Introduction {
    pub(super) fn new(node: &[u8]) -> Result<Self, Malformed> {
        let introduction = Self { node: Bytes::copy_from_slice(node) };
        introduction.text(ID)?;
        Ok(introduction)
    }

    /// The message.
    pub(crate) fn node(&self) -> &Bytes {
        &self.node
    }

    /// The id.
    pub(crate) fn id(&self) -> &str {
        self.text(ID).unwrap_or_default()
    }

    /// An entry of the metadata, if it is text.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        let metadata = Fields::last(&self.node, METADATA).ok()??.bytes().ok()?;
        let entries = Fields::new(metadata).filter_map(Result::ok);
        let values = entries.filter(|(number, _)| *number == 1).filter_map(|(_, entry)| {
            let entry = entry.bytes().ok()?;
            let found = Fields::last(entry, 1).ok()??.text().ok()?;
            (found == key).then_some(entry)
        });
        let value = Fields::last(values.last()?, 2).ok()??.bytes().ok()?;
        Fields::last(value, STRING).ok()??.text().ok()
    }

    /// A program that speaks xDS by itself, which is served as what it is.
    pub(crate) fn is_program(&self) -> bool {
        self.metadata("GENERATOR") == Some("grpc")
    }

    fn text(&self, number: u32) -> Result<&str, Malformed> {
        Fields::last(&self.node, number)?.map_or(Ok(""), |value| value.text())
    }

    /// Puts this into a request that has no node, or another one; nothing is touched that need not
    /// be.
    pub(super) fn put(
        &self,
        flavour: Flavour,
        message: &Bytes,
        address: &Address,
    ) -> Result<Bytes, Malformed> {
        let field = field(flavour);
        let node = self.at(address)?;
        let present = Fields::last(message, field)?;
        match (present, node) {
            (Some(_), None) => Ok(message.clone()),
            (Some(_), Some(node)) => {
                let mut replace = |number, _: Value<'_>| {
                    Ok(if number == field { Edit::Replace(node.clone()) } else { Edit::Keep })
                };
                let rebuilt = rebuild(message, &mut replace)?;
                Ok(rebuilt.map_or_else(|| message.clone(), Bytes::from))
            }
            (None, node) => {
                let mut with = Vec::with_capacity(message.len() + self.node.len() + ROOM);
                write::bytes(&mut with, field, node.as_deref().unwrap_or(&self.node));
                with.extend_from_slice(message);
                Ok(with.into())
            }
        }
    }

    /// The node at that address; none if it says that already, or says nothing of addresses.
    fn at(&self, address: &Address) -> Result<Option<Vec<u8>>, Malformed> {
        if !same_machine(self.id(), &address.id) {
            return Ok(None);
        }
        let mut edit = |number, value: Value<'_>| match number {
            ID if value.text()? != address.id => Ok(Edit::Replace(address.id.clone().into())),
            METADATA if !address.ips.is_empty() => {
                let metadata = rebuild(value.bytes()?, &mut |number, entry| {
                    if number != 1 {
                        return Ok(Edit::Keep);
                    }
                    moved(entry.bytes()?, &address.ips)
                })?;
                Ok(metadata.map_or(Edit::Keep, Edit::Replace))
            }
            _ => Ok(Edit::Keep),
        };
        rebuild(&self.node, &mut edit)
    }
}

/// Whether two ids differ in the address alone.
fn same_machine(one: &str, other: &str) -> bool {
    let parts = |id: &str| {
        let mut parts: Vec<_> = id.split('~').map(str::to_owned).collect();
        (parts.len() == PARTS).then(|| parts.remove(ADDRESS))?;
        Some(parts)
    };
    parts(one).is_some_and(|one| parts(other) == Some(one))
}

/// An entry of the metadata, with these addresses if it is the one that holds them.
fn moved(entry: &[u8], ips: &str) -> Result<Edit, Malformed> {
    let key = Fields::last(entry, 1)?.map_or(Ok(""), |value| value.text())?;
    if key != "INSTANCE_IPS" {
        return Ok(Edit::Keep);
    }
    let mut value = Vec::new();
    write::bytes(&mut value, STRING, ips.as_bytes());
    let now = Fields::last(entry, 2)?.map_or(Ok(&[][..]), |value| value.bytes())?;
    if now == value {
        return Ok(Edit::Keep);
    }
    let mut entry = Vec::new();
    write::bytes(&mut entry, 1, key.as_bytes());
    write::bytes(&mut entry, 2, &value);
    Ok(Edit::Replace(entry))
}

/// Where a request says who asks.
fn field(flavour: Flavour) -> u32 {
    match flavour {
        Flavour::Sotw => 2,
        Flavour::Delta => 1,
    }
}

const ID: u32 = 1;
const METADATA: u32 = 3;
/// The text of a value of a struct.
const STRING: u32 = 3;
const ROOM: usize = 16;
/// Kind, address, name, domain.
const PARTS: usize = 4;
const ADDRESS: usize = 1;
