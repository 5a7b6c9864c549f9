//! What could be shown next, for people: judged by what each credential says of itself.

use std::time::{Duration, SystemTime};

use hawser_pki::Chain;

use super::token_source::TokenSource;
use crate::{
    presentation::Age,
    token::{self, Span, TokenFacts},
};

/// One thing that istiod could be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prospect {
    /// What it is.
    pub what: String,
    /// Whether istiod is likely to believe it.
    pub usable: bool,
    /// Whether it may come by itself: a source failed that has to be asked, and can be again.
    pub may_come: bool,
    /// Why not, or what to know.
    pub note: Option<String>,
    /// When it stops being believed, as far as it says.
    pub expires: Option<SystemTime>,
    /// Whom it stands for.
    pub subject: Option<String>,
    /// For whom it is meant; certificates are for everybody.
    pub audiences: Vec<String>,
}

impl Prospect {
    /// Something that is not there.
    pub(crate) fn absent(what: String, why: impl Into<String>) -> Self {
        Self { what, note: Some(why.into()), ..Self::default() }
    }

    /// A source that was not asked yet: it may well have something.
    pub(crate) fn unasked(what: String) -> Self {
        let note = Some("asked for when it is needed".to_owned());
        Self { what, usable: true, note, ..Self::default() }
    }

    pub(crate) fn certificate(what: String, chain: &Chain, now: SystemTime) -> Self {
        let note = out_of_time(chain, now);
        Self {
            what,
            usable: note.is_none(),
            note,
            expires: Some(chain.not_after()),
            subject: chain.spiffe_id().ok().map(|id| id.to_string()),
            may_come: false,
            audiences: Vec::new(),
        }
    }

    pub(crate) fn token(source: &TokenSource, token: &str, now: SystemTime) -> Self {
        let what = source.to_string();
        let facts = match token::open(token) {
            Ok(facts) => facts,
            // Some authorities take other tokens, so it is shown all the same.
            Err(problem) => return Self::absent(what, problem.to_string()),
        };
        let fault = fault(source, &facts, now);
        Self {
            what,
            usable: fault.is_none(),
            note: fault,
            expires: facts.expires,
            subject: facts.subject,
            may_come: false,
            audiences: facts.audiences,
        }
    }
}

/// Whether a token has expired beyond doubt: by more than what a clock may be wrong by.
pub(crate) fn age(token: &str, now: SystemTime) -> Age {
    let expires = token::open(token).ok().and_then(|facts| facts.expires);
    let over = expires.and_then(|expires| now.duration_since(expires).ok());
    if over.is_some_and(|over| over > DOUBT) { Age::Stale } else { Age::Fresh }
}

/// Why a certificate is not valid now.
pub(crate) fn out_of_time(chain: &Chain, now: SystemTime) -> Option<String> {
    if chain.valid_at(now) {
        return None;
    }
    Some(match chain.not_before().duration_since(now) {
        Ok(ahead) if !ahead.is_zero() => {
            format!("valid only in {}; check this machine's clock", Span(ahead))
        }
        _ => {
            let ago = now.duration_since(chain.not_after()).unwrap_or_default();
            format!("expired {} ago", Span(ago))
        }
    })
}

fn fault(source: &TokenSource, facts: &TokenFacts, now: SystemTime) -> Option<String> {
    let remedy = source.remedy();
    if let Some(ago) = facts.expires.and_then(|expires| now.duration_since(expires).ok()) {
        return Some(format!("expired {} ago; {remedy}", Span(ago)));
    }
    let audience = source.audience();
    if !facts.audiences.iter().any(|found| found == audience) {
        let found = token::listed(&facts.audiences);
        return Some(format!("made for audience {found}, not for {audience}; {remedy}"));
    }
    None
}

const DOUBT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
