//! Whether istiod answers, and believes what this machine shows.
//!
//! A stream is opened with what would be shown, and ended without a request: istiod looks at who
//! calls before it listens, and registers nobody who has asked for nothing.

use std::sync::Arc;

use hawser_istiod::{Credentials, Istiod, credential::TokenSource};
use hawser_rt::{Chain, Clock};
use hawser_xds::Refused;
use tokio::sync::watch;

use super::steps::{PATIENCE, STANDALONE, ways};
use crate::{
    check,
    config::Config,
    doctor::{Finding, Patient, credentials::Kept},
    options,
};

/// Everybody there is to talk to speaks as istiod does. Nothing is shown: a refusal is an answer.
pub(super) async fn answers(patient: &Patient) -> Finding {
    let Ok(config) = &patient.config else { return Finding::unknown("no settings") };
    if config.is_alone() {
        return Finding::ok(STANDALONE);
    }
    let mut fine = Vec::new();
    for (n, way) in ways(config).into_iter().enumerate() {
        let said = match check::unshown(way) {
            Err(error) => Err(Chain(&error).to_string()),
            Ok(istiod) if n == 0 => match hawser_xds::admitted(&istiod, PATIENCE).await {
                Ok(_) | Err(Refused::Disbelieved { .. }) => Ok(istiod.address()),
                Err(error) => Err(Chain(&error).to_string()),
            },
            // Another authority need not know of configuration.
            Ok(istiod) => match istiod.connect().await {
                Ok(_) => Ok(istiod.address()),
                Err(error) => Err(Chain(&error).to_string()),
            },
        };
        match said {
            Ok(who) => fine.push(who),
            Err(wrong) => return Finding::failed(wrong, BETWEEN),
        }
    }
    Finding::ok(format!("{} answers", fine.join(" and ")))
}

/// istiod takes the running agent for who it is; or would take this machine.
pub(super) async fn believed(patient: &Patient) -> Finding {
    let Ok(config) = &patient.config else { return Finding::unknown("no settings") };
    if config.is_alone() {
        return Finding::ok(STANDALONE);
    }
    if let Some(snapshot) = &patient.snapshot
        && let Some(shown) = &snapshot.identity.shown_last
        && snapshot.istiod.as_ref().is_none_or(|istiod| istiod.connected)
    {
        return Finding::ok(format!("it has believed the agent's {}", shown.what));
    }
    let asked = |source: &TokenSource| !matches!(source, TokenSource::File(_));
    if config.identity.tokens.iter().any(asked) && !matches!(Kept::of(patient), Kept::Pair(_)) {
        return Finding::unknown(
            "a token would have to be asked for: `hawser status` says how the agent fares",
        );
    }
    match Kept::of(patient) {
        Kept::Unseen(error) => return Finding::unknown(patient.unseen("what is shown", &error)),
        Kept::Sealed => {
            return Finding::unknown("the certificate is sealed, and only the agent can show it");
        }
        Kept::Nothing | Kept::Unusable(_) | Kept::Pair(_) => {}
    }
    match admitted(patient, config).await {
        Ok(shown) => Finding::ok(format!("it believes the {shown}")),
        Err(refused) => {
            let told = Finding::failed(Chain(&refused).to_string(), FRESH);
            match refused {
                Refused::Disbelieved { .. } => told.because(
                    "the token has expired or is another cluster's, its account is gone, or the                      certificate is of another mesh; `kubectl -n istio-system logs \
                     deployment/istiod` says which",
                ),
                _ => told,
            }
        }
    }
}

/// Shows what there is.
async fn admitted(patient: &Patient, config: &Config) -> Result<String, Refused> {
    let Some(way) = ways(config).into_iter().next() else { return Ok(String::new()) };
    let istiod = would_show(patient, config, way);
    let istiod = istiod.map_err(|error| Refused::Unreached { source: Box::new(error) })?;
    hawser_xds::admitted(&istiod, PATIENCE).await
}

/// A way on which this machine shows what it has, without a token being asked for.
fn would_show(
    patient: &Patient,
    config: &Config,
    way: hawser_istiod::Options,
) -> Result<Istiod, hawser_istiod::Error> {
    let pair = match Kept::of(patient) {
        Kept::Pair(pair) if pair.valid_at(patient.now) && !patient.preflight => Some(pair),
        _ => None,
    };
    let learned = pair.as_ref().map(|pair| Arc::new(pair.roots.clone()));
    let mut shown = options::credentials(config);
    shown.tokens.retain(|source| matches!(source, TokenSource::File(_)));
    let clock = Clock::default();
    let credentials = Credentials::new(shown, watch::channel(pair).1, clock.clone());
    Istiod::new(way, credentials, watch::channel(learned).1, clock)
}

const BETWEEN: &str = "see what is between here and istiod: TLS has to end at istiod; `kubectl -n \
                       istio-system logs deployment/istiod` says whether it was called";
const FRESH: &str =
    "`istioctl x workload entry configure` writes a fresh bundle; `hawser join BUNDLE` with it";
