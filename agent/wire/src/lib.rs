//! A shallow look at discovery messages: no deeper than is needed to pass them on.
//!
//! - [`Request`], [`Response`]: the outermost fields of a message that is here as a whole.
//! - [`Frames`], [`Reader`]: messages split and followed while their bytes pass in chunks, however
//!   large they are; and [`Ending`], which completes one whose sender is gone.
//! - [`Fieldwise`]: a large message handed on field by field, to be rewritten on its way.
//! - [`edit`], [`mod@write`], [`resource_name`], [`outline()`]: what rewrites, names and shows them.
//!
//! Pure and bounds-checked: any bytes are either understood or [`Malformed`], in time linear in
//! their length and without a copy. Field numbers are those of
//! `envoy/service/discovery/v3/discovery.proto`.

pub mod edit;
mod fields;
pub mod fieldwise;
mod flavour;
mod frames;
mod name;
pub mod outline;
mod reader;
#[cfg(test)]
mod tests;
pub mod write;

pub use edit::{Edit, rebuild};
pub use fields::{Fields, Malformed, Value};
pub use fieldwise::Fieldwise;
pub use flavour::{Flavour, SERVICE};
pub use frames::{Broken, Frames, Part};
pub use name::resource_name;
pub use outline::outline;
pub use reader::{Ending, Event, Reader, Tail};

/// What a request says besides what it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// The type it is about.
    pub type_url: &'a str,
    /// The answer it speaks of; empty if it speaks of none.
    pub nonce: &'a str,
    /// The last version taken; delta requests have none.
    pub version: &'a str,
    /// Why the answer was refused.
    pub rejection: Option<&'a str>,
    /// Whether it says who is asking, as the first request of a stream does.
    pub has_node: bool,
}

/// What a response says besides its resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response<'a> {
    /// The type it is about.
    pub type_url: &'a str,
    /// What its receipt is to name.
    pub nonce: &'a str,
    /// The version of all of it; delta may leave it out.
    pub version: &'a str,
    /// How many resources there are.
    pub resources: usize,
}

impl<'a> Request<'a> {
    /// Looks at a request.
    pub fn scan(flavour: Flavour, message: &'a [u8]) -> Result<Self, Malformed> {
        let mut seen = Self::default();
        for field in Fields::new(message) {
            let (number, value) = field?;
            match (flavour, number) {
                (Flavour::Sotw, 1) => seen.version = value.text()?,
                (Flavour::Sotw, 2) | (Flavour::Delta, 1) => {
                    value.bytes()?;
                    seen.has_node = true;
                }
                (Flavour::Sotw, 4) | (Flavour::Delta, 2) => seen.type_url = value.text()?,
                (Flavour::Sotw, 5) | (Flavour::Delta, 6) => seen.nonce = value.text()?,
                (Flavour::Sotw, 6) | (Flavour::Delta, 7) => {
                    seen.rejection = Some(reason(value.bytes()?)?);
                }
                _ => {}
            }
        }
        Ok(seen)
    }
}

impl<'a> Response<'a> {
    /// Looks at a response.
    pub fn scan(flavour: Flavour, message: &'a [u8]) -> Result<Self, Malformed> {
        let mut seen = Self::default();
        let mut first = None;
        for field in Fields::new(message) {
            let (number, value) = field?;
            match number {
                1 => seen.version = value.text()?,
                2 => {
                    let resource = value.bytes()?;
                    first = first.or(Some(resource));
                    seen.resources += 1;
                }
                4 => seen.type_url = value.text()?,
                5 => seen.nonce = value.text()?,
                _ => {}
            }
        }
        // Who leaves the type out has it in each resource still.
        if let (true, Some(first)) = (seen.type_url.is_empty(), first) {
            seen.type_url = type_of(flavour, first)?;
        }
        Ok(seen)
    }
}

/// The type of a resource: an `Any`, in delta inside a `Resource`.
fn type_of(flavour: Flavour, resource: &[u8]) -> Result<&str, Malformed> {
    match flavour {
        Flavour::Sotw => Fields::last(resource, 1)?.map_or(Ok(""), |value| value.text()),
        Flavour::Delta => match Fields::last(resource, 2)? {
            Some(any) => type_of(Flavour::Sotw, any.bytes()?),
            None => Ok(""),
        },
    }
}

/// The message of a `google.rpc.Status`.
fn reason(status: &[u8]) -> Result<&str, Malformed> {
    Fields::last(status, 2)?.map_or(Ok(""), |value| value.text())
}
