//! The type of a response: told once, it does not change any more, for the response may have been
//! passed on by it.

use crate::Malformed;

/// State of the world may wrap its resources: then they do not say their own type.
pub(super) const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// Who has told the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nobody yet.
    Nobody,
    /// The first resource, of itself.
    Resource,
    /// The response.
    Response,
}

impl Told {
    /// The response says it.
    pub(super) fn by_response(self, known: &mut String, text: &str) -> Result<Self, Malformed> {
        match self {
            Self::Nobody | Self::Resource if text.is_empty() => Ok(self),
            Self::Nobody => {
                text.clone_into(known);
                Ok(Self::Response)
            }
            _ if known == text => Ok(Self::Response),
            _ => Err(Malformed),
        }
    }

    /// The first resource says it.
    pub(super) fn by_resource(self, known: &mut String, text: &str) -> Result<Self, Malformed> {
        match self {
            Self::Nobody if text.is_empty() || text == WRAPPER => Ok(self),
            Self::Nobody => {
                text.clone_into(known);
                Ok(Self::Resource)
            }
            Self::Resource if known != text => Err(Malformed),
            _ => Ok(self),
        }
    }
}
