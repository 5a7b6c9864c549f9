//! One certificate from the authority: a key, what it says to the request, and whether that fits.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_pki::{Bundle, Chain, Identity, KeyKind, PrivateKey, SpiffeId, csr};
use tokio::task::spawn_blocking;

use crate::{
    Error, Options,
    schedule::{Life, skew},
};

/// What is asked for, in all attempts of one series: a key costs more than a request.
#[derive(Debug)]
pub(crate) struct Prepared {
    key: PrivateKey,
    /// PEM.
    pub(crate) csr: String,
}

/// A certificate that came and fits.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) identity: Arc<Identity>,
    /// What the authority has believed.
    pub(crate) credential: String,
    pub(crate) took: Duration,
}

/// A request that led to nothing usable, now.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// A certificate that fits in all but time: it is usable when the clock has come to it.
    pub(crate) early: Option<Box<Answer>>,
}

/// A key and the request for it. RSA takes its time, so it is made beside the reactor.
pub(crate) async fn prepare(options: &Options) -> Result<Prepared, Error> {
    let (kind, id) = (options.key, options.id.clone());
    let (key, csr) = spawn_blocking(move || key_and_request(kind, &id))
        .await
        .map_err(|source| Error::GivenUp { source })?
        .map_err(|source| Error::Key { source })?;
    Ok(Prepared { key, csr })
}

fn key_and_request(
    kind: KeyKind,
    id: &SpiffeId,
) -> Result<(PrivateKey, String), hawser_pki::Error> {
    let key = PrivateKey::generate(kind)?;
    let csr = csr(&key, id)?;
    Ok((key, csr))
}

/// What a certificate has to be to be of use. Pure.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Who answers, for messages.
    pub ca: String,
    /// Whom it has to name.
    pub id: &'a SpiffeId,
    /// How long it was asked to live.
    pub ttl: Duration,
}

impl Wanted<'_> {
    /// What an answer to a request is worth, with how long it took and what was believed.
    pub(crate) fn judge(
        &self,
        prepared: &Prepared,
        answer: &[String],
        now: SystemTime,
        (took, credential): (Duration, String),
    ) -> Result<Answer, Refusal> {
        let key =
            PrivateKey::from_pem(prepared.key.pem()).map_err(|source| Error::Key { source })?;
        let identity = Arc::new(self.fitting(key, answer)?);
        let checked = self.check(&identity, now);
        let answer = Answer { identity, credential, took };
        match checked {
            Ok(()) => Ok(answer),
            Err(error @ Error::NotYetValid { .. }) => {
                Err(Refusal { error, early: Some(Box::new(answer)) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The identity that `key` and an answer to its request make. The last element is the roots;
    /// the rest is the chain, leaf first.
    pub fn fitting(&self, key: PrivateKey, answer: &[String]) -> Result<Identity, Error> {
        let Some((roots, chain)) = answer.split_last().filter(|(_, chain)| !chain.is_empty())
        else {
            return Err(Error::ShortAnswer { ca: self.ca.clone() });
        };
        let identity = || {
            let chain = Chain::from_pems(chain.iter().map(String::as_str))?;
            Identity::new(key, chain, Bundle::from_pem(roots)?)
        };
        identity()
            .map_err(|source| Error::Unusable { ca: self.ca.clone(), source: Box::new(source) })
    }

    /// Whether what fits is for the right workload, and valid at `now`.
    pub fn check(&self, identity: &Identity, now: SystemTime) -> Result<(), Error> {
        let ca = self.ca.clone();
        if identity.spiffe_id() != Some(self.id) {
            let issued = identity.name().to_owned();
            return Err(Error::OtherIdentity { ca, issued, expected: Box::new(self.id.clone()) });
        }
        if identity.valid_at(now) {
            return Ok(());
        }
        Err(match identity.not_before().duration_since(now) {
            Ok(within) => Error::NotYetValid { ca, within },
            Err(_) => Error::AlreadyExpired {
                ca,
                ago: now.duration_since(identity.not_after()).unwrap_or_default(),
                skew: skew(Life::of(identity), now, self.ttl),
            },
        })
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, early: None }
    }
}

#[cfg(test)]
mod tests;
