//! What a request of Envoy's asks for.

use hawser_wire::{Fields, Flavour, Malformed};

/// A request, taken apart as far as the session has to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asking<'a> {
    pub(crate) type_url: &'a str,
    /// The answer it speaks of; empty if it speaks of none.
    pub(crate) nonce: &'a str,
    /// The last version taken; delta requests have none.
    pub(crate) version: &'a str,
    /// Why the answer was refused.
    pub(crate) rejection: Option<&'a str>,
    /// Who asks, as a message.
    pub(crate) node: Option<&'a [u8]>,
    /// All names that are wanted; in delta those that are wanted from now on.
    pub(crate) names: Vec<&'a str>,
    /// Names that are not wanted any more; only in delta.
    pub(crate) dropped: Vec<&'a str>,
    /// What Envoy has, with versions; only in delta.
    pub(crate) held: Vec<(&'a str, &'a str)>,
}

impl<'a> Asking<'a> {
    pub(crate) fn of(flavour: Flavour, message: &'a [u8]) -> Result<Self, Malformed> {
        let mut asking = Self::default();
        for field in Fields::new(message) {
            let (number, value) = field?;
            match (flavour, number) {
                (Flavour::Sotw, 1) => asking.version = value.text()?,
                (Flavour::Sotw, 2) | (Flavour::Delta, 1) => asking.node = Some(value.bytes()?),
                (Flavour::Sotw, 3) | (Flavour::Delta, 3) => asking.names.push(value.text()?),
                (Flavour::Sotw, 4) | (Flavour::Delta, 2) => asking.type_url = value.text()?,
                (Flavour::Delta, 4) => asking.dropped.push(value.text()?),
                (Flavour::Delta, 5) => asking.held.push(pair(value.bytes()?)?),
                (Flavour::Sotw, 5) | (Flavour::Delta, 6) => asking.nonce = value.text()?,
                (Flavour::Sotw, 6) | (Flavour::Delta, 7) => {
                    let reason = Fields::last(value.bytes()?, 2)?;
                    asking.rejection = Some(reason.map_or(Ok(""), |text| text.text())?);
                }
                _ => {}
            }
        }
        if asking.type_url.is_empty() { Err(Malformed) } else { Ok(asking) }
    }

    /// Whether a delta request changes nothing of what is wanted.
    pub(crate) fn is_receipt(&self) -> bool {
        self.names.is_empty() && self.dropped.is_empty() && self.held.is_empty()
    }
}

/// An entry of a map.
fn pair(entry: &[u8]) -> Result<(&str, &str), Malformed> {
    let text = |number| Fields::last(entry, number)?.map_or(Ok(""), |value| value.text());
    Ok((text(1)?, text(2)?))
}
