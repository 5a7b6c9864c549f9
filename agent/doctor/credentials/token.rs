//! The token: what a machine shows until it has a certificate, and when that is lost.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use hawser_identity::Source;
use hawser_istiod::{
    credential::TokenSource,
    token::{self, Span, TokenFacts},
};
use zeroize::Zeroizing;

use super::certificate;
use crate::{
    check,
    config::{Config, source::read_text},
    doctor::{Finding, Outcome, Patient, machine},
};

/// The token file, and whether anything hangs on it.
struct File {
    path: PathBuf,
    text: io::Result<Zeroizing<String>>,
    needed: bool,
}

impl File {
    /// None where tokens come from elsewhere, or none are wanted.
    fn of(patient: &Patient) -> Option<Self> {
        let config = patient.config.as_ref().ok()?;
        if !matches!(config.identity.source, Source::Authority | Source::Auto { .. }) {
            return None;
        }
        let mut sources = config.identity.tokens.iter();
        let path = sources.find_map(|source| match source {
            TokenSource::File(path) => Some(path.clone()),
            _ => None,
        })?;
        let text = read_text(&path).map(Zeroizing::new);
        let only = config.identity.tokens.len() == 1;
        let needed = only && !check::has_pair(config) && !certificate::is_valid(patient);
        Some(Self { path, text, needed })
    }

    /// What it says, if it says anything.
    fn facts(&self) -> Option<TokenFacts> {
        token::open(self.text.as_ref().ok()?.trim()).ok()
    }

    /// What is wrong with it matters only where there is nothing else.
    fn wrong(&self, what: impl Into<String>, otherwise: Outcome) -> Finding {
        let finding = Finding::failed(what, AGAIN);
        match (self.needed, otherwise) {
            (true, _) => finding,
            (false, Outcome::Ok) => Finding::ok(format!("{}, {NOT_NEEDED}", finding.evidence)),
            (false, result) => Finding { result, ..finding }
                .because("only its certificate keeps this machine in the mesh"),
        }
    }
}

/// It is there, can be read, and is one.
pub(super) fn there(patient: &Patient) -> Finding {
    let Some(file) = File::of(patient) else {
        return Finding::ok("no token file is used here");
    };
    let path = file.path.display();
    let text = match &file.text {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return file.wrong(format!("there is no {path}"), Outcome::Ok);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied && !patient.is_root => {
            return Finding::unknown(patient.unseen(&path.to_string(), error));
        }
        Err(error) => {
            return file.wrong(format!("{path} cannot be read: {error}"), Outcome::Warning);
        }
    };
    if let Err(problem) = token::open(text.trim()) {
        let token::TokenProblem::NotJwt { what } = problem else {
            return Finding::unknown(problem.to_string());
        };
        return file.wrong(format!("{path} is no token: {what}"), Outcome::Warning);
    }
    // What a machine joins with is given to the agent's user when it is installed.
    let user = locked_out(patient, &file.path).filter(|_| patient.called.is_none());
    match user {
        Some(user) if file.needed => Finding::failed(
            format!("{path} cannot be read by user {user}, which the agent runs as"),
            format!("`chown {user} {path}`"),
        ),
        _ => Finding::ok(format!("{path} is a token")),
    }
}

/// The user that the agent runs as, if a file is not for it.
fn locked_out(patient: &Patient, path: &Path) -> Option<u32> {
    let user = machine::owner_id(patient)?;
    let found = fs::metadata(path).ok()?;
    let readable = match found.uid() == user {
        true => found.mode() & 0o400 != 0,
        // By its group, for all that is known here.
        false => found.mode() & 0o044 != 0,
    };
    (!readable && user != 0).then_some(user)
}

/// It has not run out, as far as that matters.
pub(super) fn fresh(patient: &Patient) -> Finding {
    let Some((file, facts)) = opened(patient) else { return nothing() };
    let path = file.path.display();
    let Some(expires) = facts.expires else {
        return Finding::ok(format!("{path} does not expire"));
    };
    match expires.duration_since(patient.now) {
        Ok(left) if left < SOON && file.needed => Finding::warning(
            format!("{path} is good for {} more", Span(left)),
            "start the agent before that (`systemctl start hawser`), or write a fresh bundle",
        ),
        Ok(left) => Finding::ok(format!("{path} is good for {} more", Span(left))),
        Err(past) => {
            let what = format!("{path} expired {} ago", Span(past.duration()));
            file.wrong(what, Outcome::Ok)
        }
    }
}

/// It was made for istiod.
pub(super) fn audience(patient: &Patient) -> Finding {
    let Some((file, facts)) = opened(patient) else { return nothing() };
    let path = file.path.display();
    if facts.is_for_istiod() {
        return Finding::ok(format!("{path} is made for istiod"));
    }
    let found = match facts.audiences.is_empty() {
        true => "nobody".to_owned(),
        false => facts.audiences.join(", "),
    };
    let what = format!("{path} is made for {found}, and istiod takes those for istio-ca");
    file.wrong(what, Outcome::Warning)
}

/// It speaks for the service account that this machine is.
pub(super) fn subject(patient: &Patient) -> Finding {
    let (Some((file, facts)), Ok(config)) = (opened(patient), &patient.config) else {
        return nothing();
    };
    let path = file.path.display();
    match check::for_somebody_else(Some(&config.node.id), facts.subject.as_deref()) {
        None => Finding::ok(format!("{path} is for {}", whom(&facts, config))),
        Some(_) => file
            .wrong(
                format!(
                    "{path} is for {}, and this machine is {}",
                    whom(&facts, config),
                    config.node.id
                ),
                Outcome::Warning,
            )
            .because("istiod issues what the token says, whatever the machine is configured as"),
    }
}

fn whom(facts: &TokenFacts, config: &Config) -> String {
    facts.subject.clone().unwrap_or_else(|| config.node.id.to_string())
}

fn opened(patient: &Patient) -> Option<(File, TokenFacts)> {
    let file = File::of(patient)?;
    let facts = file.facts()?;
    Some((file, facts))
}

fn nothing() -> Finding {
    Finding::ok("there is no token to look at, and none is needed")
}

/// One that ends sooner may not see the first certificate.
const SOON: Duration = Duration::from_secs(300);
const NOT_NEEDED: &str = "and is not needed: there is a certificate";
const AGAIN: &str =
    "`istioctl x workload entry configure` writes a fresh bundle; `hawser join BUNDLE` with it";
