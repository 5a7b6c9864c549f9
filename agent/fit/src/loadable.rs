//! What an Envoy can load, as it says itself.
//!
//! The node of Envoy's first request lists every extension that was linked in: its category, its
//! name and the types of its configuration, as bare names. Stock Envoy 1.40 lists 516 that way.
//! What the list does not say: a `TypedStruct`, which stands for the type it names; and protocol
//! options of clusters, which Envoy finds by a name that is no name of the list. A configuration
//! without a type is no way in: Envoy looks extensions up by type alone, and refuses a filter that
//! has only a name, even one of its own.

use std::collections::BTreeSet;

use hawser_wire::{Fields, Malformed, Value};

use crate::{PLUMBING, short};

/// What an Envoy can load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loadable {
    /// Without `type.googleapis.com/`.
    types: BTreeSet<Box<str>>,
    version: Option<String>,
}

impl Loadable {
    /// Reads the node of a request (protobuf). None if it lists no types, as clients do that are
    /// no Envoy, and Envoys from before they did.
    pub fn of(node: &[u8]) -> Option<Self> {
        let mut read = Self { types: BTreeSet::new(), version: None };
        for field in Fields::new(node) {
            read.node_field(field.ok()?).ok()?;
        }
        (!read.types.is_empty()).then_some(read)
    }

    /// Whether there is an extension that is configured with that type.
    pub fn loads(&self, type_url: &str) -> bool {
        self.types.contains(short(type_url))
    }

    /// Envoy's version, like `1.40.0`.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether it loads all that istiod takes for granted, as Istio's build does: nothing will be
    /// left out.
    pub fn has_istio(&self) -> bool {
        PLUMBING.iter().all(|plumbing| self.loads(plumbing.type_name))
    }

    fn node_field(&mut self, (number, value): (u32, Value<'_>)) -> Result<(), Malformed> {
        match number {
            VERSION_TEXT => self.version = Some(value.text()?.to_owned()),
            BUILD_VERSION => {
                if let Some(version) = Fields::last(value.bytes()?, 1)? {
                    self.version = Some(semantic(version.bytes()?)?);
                }
            }
            EXTENSION => self.extension(value.bytes()?)?,
            _ => {}
        }
        Ok(())
    }

    fn extension(&mut self, extension: &[u8]) -> Result<(), Malformed> {
        // `--disable-extensions`; false would not be written.
        if Fields::last(extension, DISABLED)?.is_some() {
            return Ok(());
        }
        for field in Fields::new(extension) {
            if let (TYPE_URL, value) = field? {
                self.types.insert(short(value.text()?).into());
            }
        }
        Ok(())
    }
}

/// A `SemanticVersion`: three numbers, of which those that are zero are not written.
fn semantic(message: &[u8]) -> Result<String, Malformed> {
    let mut parts = [0_u64; 3];
    let mut rest = message.iter();
    while let Some(&tag) = rest.next() {
        let part = match tag {
            0x08 => 0,
            0x10 => 1,
            0x18 => 2,
            _ => return Err(Malformed),
        };
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let &byte = rest.next().ok_or(Malformed)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if let Some(slot) = parts.get_mut(part) {
            *slot = number;
        }
    }
    let [major, minor, patch] = parts;
    Ok(format!("{major}.{minor}.{patch}"))
}

/// Fields of `envoy.config.core.v3.Node` and `.Extension`.
const VERSION_TEXT: u32 = 7;
const BUILD_VERSION: u32 = 8;
const EXTENSION: u32 = 9;
const DISABLED: u32 = 5;
const TYPE_URL: u32 = 6;
