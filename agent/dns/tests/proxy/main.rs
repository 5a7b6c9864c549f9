//! The proxy as programs meet it: over real sockets, with another implementation reading the answers.

#[cfg(test)]
mod caching;
#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod client;
#[cfg(test)]
mod crowds;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod inheriting;
#[cfg(test)]
mod loops;
#[cfg(test)]
mod octets;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod relaying;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod sealed;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod upstream;
