//! What is not to leave a machine, taken out of what does: keys, tokens, passwords, the values of
//! private headers.
//!
//! [`text()`] is for what people and programs write, [`Json`] for what Envoy and the agent say of
//! themselves. Both are pure, and rather take out too much than too little: what is left is read by
//! strangers. Doing it twice changes nothing more.

mod json;
mod names;
mod text;

pub use json::Json;
pub use names::is_secret;
pub use text::text;

/// What stands where something was taken out.
pub const MASK: &str = "[redacted]";
