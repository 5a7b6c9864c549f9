//! One certificate from the authority: a key, what it says to the request, and whether that fits.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_istiod::{Connection, Credentials, Istiod, Prospect};
use hawser_pki::{Bundle, Chain, Identity, KeyKind, PrivateKey, SpiffeId, csr};
use hawser_proto::{
    envoy::google::protobuf::{Struct, Value, value::Kind},
    istio::ca::{
        IstioCertificateRequest, istio_certificate_service_client::IstioCertificateServiceClient,
    },
};
use hawser_rt::Clock;
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tonic::{Code, Status};

use crate::{
    Error, Options,
    metrics::Metrics,
    schedule::{Life, skew},
};

/// What is asked for, in all attempts of one series: a key costs more than a request.
#[derive(Debug)]
pub(crate) struct Prepared {
    key: PrivateKey,
    request: IstioCertificateRequest,
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
    let signer = Value { kind: Some(Kind::StringValue(options.signer.clone())) };
    let request = IstioCertificateRequest {
        csr,
        validity_duration: i64::try_from(options.ttl.as_secs()).unwrap_or(i64::MAX),
        metadata: Some(Struct { fields: [("CertSigner".to_owned(), signer)].into() }),
    };
    Ok(Prepared { key, request })
}

fn key_and_request(
    kind: KeyKind,
    id: &SpiffeId,
) -> Result<(PrivateKey, String), hawser_pki::Error> {
    let key = PrivateKey::generate(kind)?;
    let csr = csr(&key, id)?;
    Ok((key, csr))
}

/// The way to the authority.
pub(crate) struct Way<'a> {
    pub(crate) ca: &'a Istiod,
    pub(crate) credentials: &'a Credentials,
    pub(crate) clock: &'a Clock,
    pub(crate) metrics: &'a Metrics,
}

impl Way<'_> {
    /// Asks, with one credential after the other, until one is believed.
    pub(crate) async fn certificate(
        &self,
        prepared: &Prepared,
        wanted: &Wanted<'_>,
    ) -> Result<Answer, Refusal> {
        let mut shown = 1;
        loop {
            let (outcome, connection) = self.judged(prepared, wanted).await;
            let Some(connection) = connection else { return outcome };
            if !matches!(outcome, Err(Refusal { error: Error::OtherIdentity { .. }, .. })) {
                connection.accepted();
                return outcome;
            }
            // What was shown belongs to somebody else; something else may be ours.
            if shown == MOST_SHOWN || !connection.mistaken() {
                return outcome;
            }
            shown += 1;
            self.metrics.retried();
        }
    }

    /// One answer, and the connection that it came on.
    async fn judged(
        &self,
        prepared: &Prepared,
        wanted: &Wanted<'_>,
    ) -> (Result<Answer, Refusal>, Option<Connection>) {
        let began = Instant::now();
        let (answer, connection) = match self.answer(prepared).await {
            Ok(answered) => answered,
            Err(error) => return (Err(error.into()), None),
        };
        let (took, credential) = (began.elapsed(), connection.what());
        (self.checked(prepared, wanted, &answer, (took, credential)), Some(connection))
    }

    fn checked(
        &self,
        prepared: &Prepared,
        wanted: &Wanted<'_>,
        answer: &[String],
        (took, credential): (Duration, String),
    ) -> Result<Answer, Refusal> {
        let key =
            PrivateKey::from_pem(prepared.key.pem()).map_err(|source| Error::Key { source })?;
        let identity = Arc::new(wanted.fitting(key, answer)?);
        let checked = wanted.check(&identity, self.clock.now());
        let answer = Answer { identity, credential, took };
        match checked {
            Ok(()) => Ok(answer),
            Err(error @ Error::NotYetValid { .. }) => {
                Err(Refusal { error, early: Some(Box::new(answer)) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Something that the authority has answered, to the first that it believes.
    async fn answer(&self, prepared: &Prepared) -> Result<(Vec<String>, Connection), Error> {
        for shown in 0..MOST_SHOWN {
            if shown > 0 {
                self.metrics.retried();
            }
            let connection = self.ca.connect().await;
            let connection =
                connection.map_err(|source| Error::Reach { source: Box::new(source) })?;
            let status = match timeout(PATIENCE, ask(&connection, &prepared.request)).await {
                Ok(Ok(answer)) => return Ok((answer, connection)),
                Ok(Err(status)) => status,
                Err(_) => {
                    connection.failed();
                    return Err(Error::Late { ca: self.ca.address(), seconds: PATIENCE.as_secs() });
                }
            };
            if status.code() == Code::Unavailable || std::error::Error::source(&status).is_some() {
                connection.failed();
            }
            let unknown = status.code() == Code::Unauthenticated;
            // Who is asking was settled before what they ask for was found wrong.
            if status.code() == Code::InvalidArgument {
                connection.accepted();
            }
            // There may be something else to show: at once, because this cannot get better.
            if !(unknown && connection.refused()) {
                return Err(self.refused(&status).await);
            }
        }
        let message = "one credential after the other".to_owned();
        Err(self.refused(&Status::unauthenticated(message)).await)
    }

    /// istiod gives no reason for refusing a credential; the credential often does.
    async fn refused(&self, status: &Status) -> Error {
        let (mut shown, mut may_come) = (String::new(), false);
        if status.code() == Code::Unauthenticated {
            let outlook = self.credentials.outlook().await;
            may_come = outlook.iter().any(|prospect| prospect.may_come);
            shown = listed(outlook);
        }
        let message = status.message().chars().take(LONGEST_MESSAGE).collect();
        Error::Refused { ca: self.ca.address(), code: status.code(), message, shown, may_come }
    }
}

/// What there is to show, each with what is wrong with it.
pub(crate) fn listed(outlook: Vec<Prospect>) -> String {
    if outlook.is_empty() {
        return "there is nothing".to_owned();
    }
    let described = outlook.into_iter().map(|one| match one.note {
        Some(note) => format!("{}: {note}", one.what),
        None => one.what,
    });
    described.collect::<Vec<_>>().join("; ")
}

async fn ask(
    connection: &Connection,
    request: &IstioCertificateRequest,
) -> Result<Vec<String>, Status> {
    let mut client = IstioCertificateServiceClient::new(connection.channel.clone())
        .max_decoding_message_size(MAX_ANSWER);
    let answer = client.create_certificate(connection.request(request.clone())).await?;
    Ok(answer.into_inner().cert_chain)
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
        if identity.spiffe_id() != self.id {
            let issued = Box::new(identity.spiffe_id().clone());
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

/// istiod signs in milliseconds; one that does not has other worries.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// What the other side says of its reasons; the rest is not ours to log.
const LONGEST_MESSAGE: usize = 512;
/// Credentials that are shown in one attempt.
const MOST_SHOWN: u32 = 16;

#[cfg(test)]
mod tests;
