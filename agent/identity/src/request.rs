//! One request for a certificate: a new key, what istiod says to it, and whether that fits.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use hawser_istiod::{Connection, Istiod, Shown, read_token, token};
use hawser_pki::{Bundle, Chain, Identity, PrivateKey, csr};
use hawser_proto::{
    envoy::google::protobuf::{Struct, Value, value::Kind},
    istio::ca::{
        IstioCertificateRequest, istio_certificate_service_client::IstioCertificateServiceClient,
    },
};
use tokio::{task::spawn_blocking, time::timeout};
use tonic::{Code, Status};

use crate::{Error, rotate::Options};

/// A new identity, checked.
pub(crate) async fn identity(options: &Options, ca: &Istiod) -> Result<Identity, Error> {
    let connection =
        ca.connect().await.map_err(|source| Error::Reach { source: Box::new(source) })?;
    if connection.shown == Shown::Nothing {
        return Err(Error::NothingToShow { token: options.token.clone() });
    }
    let (key, request) = prepared(options).await?;
    let answer = ask(&connection, request).await;
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(status)) => return Err(refused(options, ca, &status).await),
        Err(_) => return Err(Error::Late { ca: ca.address(), seconds: PATIENCE.as_secs() }),
    };
    checked(options, ca.address(), key, &answer)
}

/// A key and the request for it. RSA takes its time, so it is made beside the reactor.
async fn prepared(options: &Options) -> Result<(PrivateKey, IstioCertificateRequest), Error> {
    let (kind, id) = (options.key, options.id.clone());
    let made = spawn_blocking(move || {
        let key = PrivateKey::generate(kind)?;
        let csr = csr(&key, &id)?;
        Ok((key, csr))
    });
    let made = made.await.map_err(|source| Error::GivenUp { source })?;
    let (key, csr) = made.map_err(|source| Error::Key { source })?;
    let signer = Value { kind: Some(Kind::StringValue(options.signer.clone())) };
    let request = IstioCertificateRequest {
        csr,
        validity_duration: i64::try_from(options.ttl.as_secs()).unwrap_or(i64::MAX),
        metadata: Some(Struct { fields: [("CertSigner".to_owned(), signer)].into() }),
    };
    Ok((key, request))
}

type Answered = Result<Result<Vec<String>, Status>, tokio::time::error::Elapsed>;

async fn ask(connection: &Connection, request: IstioCertificateRequest) -> Answered {
    let mut client = IstioCertificateServiceClient::new(connection.channel.clone())
        .max_decoding_message_size(MAX_ANSWER);
    let asked = client.create_certificate(connection.request(request));
    let answered = timeout(PATIENCE, asked).await?;
    Ok(answered.map(|answer| answer.into_inner().cert_chain))
}

/// istiod gives no reason for refusing a token; the token often does.
async fn refused(options: &Options, ca: &Istiod, status: &Status) -> Error {
    let (ca, token) = (ca.address(), options.token.clone());
    if status.code() == Code::Unauthenticated
        && let Some(source) = own_fault(&token).await
    {
        return Error::Token { ca, token, source };
    }
    Error::Refused { ca, code: status.code(), message: status.message().to_owned(), token }
}

async fn own_fault(path: &Path) -> Option<token::TokenProblem> {
    let text = read_token(path).await.ok()??;
    token::inspect(&text, SystemTime::now()).err()
}

/// The last element is the roots; the rest is the chain, leaf first.
fn checked(
    options: &Options,
    ca: String,
    key: PrivateKey,
    answer: &[String],
) -> Result<Identity, Error> {
    let Some((roots, chain)) = answer.split_last().filter(|(_, chain)| !chain.is_empty()) else {
        return Err(Error::ShortAnswer { ca });
    };
    let identity = || {
        let chain = Chain::from_pems(chain.iter().map(String::as_str))?;
        Identity::new(key, chain, Bundle::from_pem(roots)?)
    };
    let identity = match identity() {
        Ok(identity) => identity,
        Err(source) => return Err(Error::Unusable { ca, source: Box::new(source) }),
    };
    if identity.spiffe_id() != &options.id {
        let issued = Box::new(identity.spiffe_id().clone());
        return Err(Error::OtherIdentity { ca, issued, expected: Box::new(options.id.clone()) });
    }
    if !identity.valid_at(SystemTime::now()) {
        return Err(Error::NotValidNow { ca });
    }
    Ok(identity)
}

/// istiod signs in milliseconds; one that does not has other worries.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 4 * 1024 * 1024;
