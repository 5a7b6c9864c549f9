//! Whether this machine's clock can be right, as far as a bundle and those it came from say.
//!
//! Everything that follows is judged by the clock: a token that is taken for expired, a root that
//! has not begun yet. So a clock that is wrong is told alone, and first.

use std::time::{Duration, SystemTime};

use hawser_istiod::token::{self, Span};
use hawser_pki::{Bundle as Roots, Chain};
use rustls::CertificateError;

use super::Bundle;
use crate::config::{paths, problem::Problem};

/// What is wrong with the clock, if anything shows it.
pub(super) fn wrong(
    bundle: &Bundle,
    date: Option<&(SystemTime, String)>,
    now: SystemTime,
) -> Option<Problem> {
    if let Some((date, host)) = date {
        let difference = match date.duration_since(now) {
            Ok(behind) => (behind, "behind"),
            Err(ahead) => (ahead.duration(), "ahead of"),
        };
        return Some(difference)
            .filter(|(by, _)| *by > TOLERANCE)
            .map(|(by, way)| problem(&format!("it is {} {way} that of {host}", Span(by))));
    }
    behind(bundle, now).map(|behind| problem(&behind))
}

/// By how much the clock is behind at least, if a file of the bundle is from after now.
pub(crate) fn behind(bundle: &Bundle, now: SystemTime) -> Option<String> {
    let token = bundle.text(paths::TOKEN).and_then(|token| token::open(token).ok());
    let roots = bundle.text(paths::ROOT_CERT).and_then(|pem| Roots::from_pem(pem).ok());
    let chain = bundle.text(paths::CHAIN).and_then(|pem| Chain::from_pem(pem).ok());
    let begun = [
        (paths::TOKEN, "was made", token.and_then(|token| token.issued)),
        (paths::ROOT_CERT, "begins", roots.and_then(|roots| roots.first_start())),
        (paths::CHAIN, "begins", chain.map(|chain| chain.not_before())),
    ];
    begun.into_iter().find_map(|(file, what, begun)| {
        let behind = begun?.duration_since(now).ok().filter(|behind| *behind > TOLERANCE)?;
        Some(format!("it is at least {} behind: {file} {what} after now", Span(behind)))
    })
}

/// What a certificate that is out of time says of the clock, in the words of a sentence.
pub(crate) fn ahead_or_behind(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(wrong) = error else { return None };
    match wrong {
        CertificateError::NotValidYetContext { time, not_before } => {
            let by = not_before.as_secs().saturating_sub(time.as_secs());
            Some(format!(
                "this machine's clock is at least {} behind: the certificate begins after now; \
                 {REMEDY}",
                Span(Duration::from_secs(by))
            ))
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let by = Span(Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs())));
            Some(format!(
                "its certificate expired {by} ago, or this machine's clock is {by} ahead; {REMEDY}"
            ))
        }
        _ => None,
    }
}

fn problem(what: &str) -> Problem {
    Problem::with("this machine's clock", format!("{what}; {REMEDY}"))
}

/// istiod's certificates begin so long before they are issued.
const TOLERANCE: Duration = Duration::from_secs(120);
const REMEDY: &str = "set it (`timedatectl set-ntp true`) and join again";
