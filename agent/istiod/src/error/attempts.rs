//! How each address of istiod failed.

use std::{fmt, io, net::SocketAddr};

use crate::{Endpoint, Error, health::Spot, race::Failure};

/// The addresses that were tried, by endpoint.
#[derive(Debug)]
pub struct Attempts {
    all: Vec<Attempt>,
    /// Whether there are several endpoints, so that each is to be named.
    several: bool,
}

/// One address, or an endpoint that has none.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Of the endpoint among all.
    place: usize,
    pub(crate) endpoint: String,
    pub(crate) host: String,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) error: io::Error,
}

impl Attempt {
    pub(crate) fn failed(endpoint: &Endpoint, failure: Failure) -> Self {
        let (name, host) = (endpoint.to_string(), endpoint.host.clone());
        let Failure { endpoint: place, address, error } = failure;
        Self { place, endpoint: name, host, address, error }
    }

    /// It was there, and what it said was wrong.
    pub(crate) fn said(endpoint: &Endpoint, spot: Spot, error: &Error) -> Self {
        let error = io::Error::other(error.brief());
        let Spot { endpoint: place, address } = spot;
        Self::failed(endpoint, Failure { endpoint: place, address: Some(address), error })
    }
}

impl Attempts {
    pub(crate) fn new(mut all: Vec<Attempt>, several: bool) -> Self {
        all.sort_by_key(|attempt| (attempt.place, attempt.address));
        Self { all, several }
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all.is_empty() {
            return f.write_str("it has no address");
        }
        let mut named = None;
        for (index, attempt) in self.all.iter().take(MOST_SHOWN).enumerate() {
            let again = named == Some(&attempt.endpoint);
            match (index, again || !self.several) {
                (0, _) => {}
                (_, true) => f.write_str(", ")?,
                (_, false) => f.write_str("; ")?,
            }
            if self.several && !again {
                write!(f, "{}: ", attempt.endpoint)?;
            }
            named = Some(&attempt.endpoint);
            attempt.fmt(f)?;
        }
        match self.all.len().saturating_sub(MOST_SHOWN) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(address) = self.address else {
            return write!(f, "not resolved ({})", brief(&self.error));
        };
        match self.error.kind() {
            io::ErrorKind::ConnectionRefused => write!(f, "{address} refused"),
            io::ErrorKind::TimedOut => write!(f, "{address} timed out"),
            _ => write!(f, "{address}: {}", brief(&self.error)),
        }
    }
}

fn brief(error: &io::Error) -> String {
    error.to_string().chars().take(LONGEST).collect()
}

const MOST_SHOWN: usize = 12;
const LONGEST: usize = 200;
