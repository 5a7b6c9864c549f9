//! istiod's certificate authority: asked with one credential after the other.

use std::time::Duration;

use hawser_istiod::{Connection, Credentials, Istiod, Prospect};
use hawser_proto::{
    envoy::google::protobuf::{Struct, Value, value::Kind},
    istio::ca::{
        IstioCertificateRequest, istio_certificate_service_client::IstioCertificateServiceClient,
    },
};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use crate::{
    Error, Options,
    metrics::Metrics,
    request::{Answer, Prepared, Refusal, Wanted},
};

/// The way to it.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    pub(crate) ca: &'a Istiod,
    pub(crate) credentials: &'a Credentials,
    pub(crate) options: &'a Options,
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
        (
            wanted.judge(prepared, &answer, self.options.clock.now(), (took, credential)),
            Some(connection),
        )
    }

    /// Something that the authority has answered, to the first that it believes.
    async fn answer(&self, prepared: &Prepared) -> Result<(Vec<String>, Connection), Error> {
        let request = self.request(&prepared.csr);
        for shown in 0..MOST_SHOWN {
            if shown > 0 {
                self.metrics.retried();
            }
            let connection = self.ca.connect().await;
            let connection =
                connection.map_err(|source| Error::Reach { source: Box::new(source) })?;
            let status = match timeout(PATIENCE, ask(&connection, &request)).await {
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

    fn request(&self, csr: &str) -> IstioCertificateRequest {
        let signer = Value { kind: Some(Kind::StringValue(self.options.signer.clone())) };
        IstioCertificateRequest {
            csr: csr.to_owned(),
            validity_duration: i64::try_from(self.options.ttl.as_secs()).unwrap_or(i64::MAX),
            metadata: Some(Struct { fields: [("CertSigner".to_owned(), signer)].into() }),
        }
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
fn listed(outlook: Vec<Prospect>) -> String {
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

/// istiod signs in milliseconds; one that does not has other worries.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// What the other side says of its reasons; the rest is not ours to log.
const LONGEST_MESSAGE: usize = 512;
/// Credentials that are shown in one attempt.
const MOST_SHOWN: u32 = 16;
