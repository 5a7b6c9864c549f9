//! Metrics of several sources in one answer: the agent's own, Envoy's, and those of programs.
//!
//! ```text
//!  own ──────────────────────────────┐
//!  Envoy ── pieces ─▶ lines ─▶ pages ─┼─ in this order ─▶ whoever scrapes
//!  a program ─ … ─▶ lines ─▶ pages ───┘                      # EOF, if it is OpenMetrics
//! ```
//!
//! All are asked at a time, and what they say is passed on as it comes. What always holds:
//!
//! - Nobody's metrics are ever whole in memory: of each source there are a few pages.
//! - What is passed on are whole lines. A source that fails half-way is left out from there on, and
//!   has broken nothing that others say.
//! - Nobody is waited for longer than whoever scrapes can wait for the rest.
//! - `# EOF` stands at the end of an OpenMetrics answer, and nowhere else.
//!
//! Which metrics two sources both have is not looked at: Prometheus takes a second `# TYPE` of a name.

pub mod accept;
mod ask;
mod error;
pub mod form;
mod gather;
pub mod lines;
mod merged;
mod source;
pub mod targets;
mod times;

pub use error::Error;
pub use gather::{Options, Scraper};
pub use merged::Merged;
pub use source::{Kind, Source};
