//! The name table in a response.

use hawser_proto::{
    envoy::envoy::service::discovery::v3::DiscoveryResponse, istio::nds::NameTable,
};
use prost::Message;

use super::{News, Reading};
use hawser_wire::Fields;

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("name table of {bytes} bytes is too large, at most {LARGEST} are taken")]
    Large { bytes: usize },
    #[error("name table has more than {MOST_NAMES} names")]
    Names,
    #[error("name table cannot be decoded: {0}")]
    Undecodable(String),
}

pub(super) fn read(message: &[u8], version: &str) -> Reading {
    table(message, version).unwrap_or_else(|unfit| Reading::Unfit(unfit.to_string()))
}

pub(super) fn too_large(bytes: usize) -> String {
    Unfit::Large { bytes }.to_string()
}

/// Counted before it is decoded, because a small message can decode to a large table.
fn table(message: &[u8], version: &str) -> Result<Reading, Unfit> {
    if message.len() > LARGEST {
        return Err(Unfit::Large { bytes: message.len() });
    }
    let undecodable = |error: prost::DecodeError| Unfit::Undecodable(error.to_string());
    let response = DiscoveryResponse::decode(message).map_err(undecodable)?;
    let Some(resource) = response.resources.first() else { return Ok(Reading::Empty) };
    if Fields::new(&resource.value).take(MOST_NAMES + 1).count() > MOST_NAMES {
        return Err(Unfit::Names);
    }
    let table = NameTable::decode(resource.value.as_slice()).map_err(undecodable)?;
    Ok(Reading::News(News::Names { table, version: version.to_owned() }))
}

/// A mesh of 50,000 names is 5 MiB.
pub(super) const LARGEST: usize = 32 << 20;
pub(super) const MOST_NAMES: usize = 250_000;
