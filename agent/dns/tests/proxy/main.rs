//! The proxy as programs meet it: over real sockets, with another implementation reading the answers.

#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod client;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod relaying;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod upstream;
