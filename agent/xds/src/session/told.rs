//! What a session tells whoever carries it.

use hawser_wire::Malformed;

use super::{MOST_TYPES, MOST_WAITING};

/// What a message meant, for whoever keeps count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Envoy asks.
    Asked { type_url: String },
    /// Envoy has taken a response.
    Accepted {
        type_url: String,
        version: String,
        /// Nothing is left of what it has refused of that type.
        mends: bool,
    },
    /// Envoy has refused a response.
    Rejected { type_url: String, version: String, error: String },
    /// A response passes to Envoy.
    Sent { type_url: String, version: String, resources: usize },
    /// A message of a type that is not for the other side; it does not pass.
    Withheld { type_url: String },
    /// Nothing that anybody would count.
    Nothing,
}

/// What a request of Envoy's led to.
#[derive(Debug)]
pub(crate) struct Heard<R> {
    pub(crate) note: Note,
    /// Of responses that Envoy has taken, in their order.
    pub(crate) accepted: Vec<R>,
    /// Of this type, Envoy wants less than before.
    pub(crate) less: Option<String>,
    /// Of this type, Envoy says what it has from before: see [`Session::reconcile`].
    pub(crate) has: Option<String>,
}

/// What Envoy waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) type_url: String,
    /// None: everything there is.
    pub(crate) wanted: Option<Vec<String>>,
    pub(crate) held: Vec<String>,
}

/// Why Envoy's stream cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("nobody takes the requests: {bytes} bytes of them wait, at most {MOST_WAITING} may")]
    Overflow { bytes: usize },
    #[error("not a discovery request, or one without a type")]
    Unreadable,
    #[error("more than {MOST_TYPES} types are asked for on one stream")]
    TooManyTypes,
}

impl From<Malformed> for Refusal {
    fn from(Malformed: Malformed) -> Self {
        Self::Unreadable
    }
}
