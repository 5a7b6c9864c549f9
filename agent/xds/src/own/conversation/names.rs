//! The name table in a response.

use bytes::Bytes;
use hawser_proto::Names;
use hawser_wire::{Fields, Malformed};

use super::{News, Reading};

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("name table of {bytes} bytes is too large, at most {LARGEST} are taken")]
    Large { bytes: usize },
    #[error("name table has more than {MOST_NAMES} names")]
    Names,
    #[error("name table cannot be decoded: {0}")]
    Undecodable(Malformed),
}

pub(super) fn read(message: &Bytes, version: &str) -> Reading {
    table(message, version).unwrap_or_else(|unfit| Reading::Unfit(unfit.to_string()))
}

pub(super) fn too_large(bytes: usize) -> String {
    Unfit::Large { bytes }.to_string()
}

/// The table stays where it is: next to it there is hardly anything in a response.
fn table(message: &Bytes, version: &str) -> Result<Reading, Unfit> {
    if message.len() > LARGEST {
        return Err(Unfit::Large { bytes: message.len() });
    }
    let Some(table) = first(message).map_err(Unfit::Undecodable)? else {
        return Ok(Reading::Empty);
    };
    if Fields::new(table).take(MOST_NAMES + 1).count() > MOST_NAMES {
        return Err(Unfit::Names);
    }
    let table = Names::new(message.slice_ref(table)).map_err(Unfit::Undecodable)?;
    Ok(Reading::News(News::Names { table, version: version.to_owned() }))
}

/// What the first resource holds.
fn first(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    for field in Fields::new(message) {
        if let (RESOURCES, resource) = field? {
            let held = Fields::last(resource.bytes()?, VALUE)?;
            return held.map_or(Ok(&[][..]), |value| value.bytes()).map(Some);
        }
    }
    Ok(None)
}

/// The number of `resources` in a response, and of `value` in each, which is an `Any`.
const RESOURCES: u32 = 2;
const VALUE: u32 = 2;
/// A mesh of 50,000 names is 5 MiB.
pub(super) const LARGEST: usize = 32 << 20;
pub(super) const MOST_NAMES: usize = 250_000;
