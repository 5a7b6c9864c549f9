//! What rules do, in network namespaces of their own, with real connections; and what they look like.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod fate;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod inbound;
#[cfg(test)]
mod loading;
#[cfg(test)]
mod netns;
#[cfg(test)]
mod outbound;
#[cfg(test)]
mod questions;
#[cfg(test)]
mod units;
#[cfg(test)]
mod world;
