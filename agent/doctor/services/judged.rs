//! What the calls come to, a step after the other: reached, known, certified, expected, believed, let
//! in.

use std::collections::{BTreeMap, BTreeSet};

use hawser_istiod::token::Span;
use hawser_pki::{Described, Identity};
use rustls::{
    AlertDescription,
    CertificateError::{BadSignature, UnknownIssuer},
    Error::InvalidCertificate,
};

use super::{
    call::{Came, Shown, Then, word},
    survey::{Called, Seen, survey},
};
use crate::{
    doctor::{Finding, Outcome, Patient},
    status::services::sni,
};

/// What was found of calls: of those that came so far, each fine or wrong.
struct Tally {
    fine: BTreeSet<String>,
    wrong: BTreeMap<String, String>,
    /// What has a way that is fine.
    works: BTreeSet<String>,
    /// What has one that is not.
    broken: BTreeSet<String>,
}

impl Tally {
    /// By what a call is for, and its outcome: what is fine or wrong with it, in words. What has not
    /// come so far says nothing.
    fn of<'a>(
        calls: impl Iterator<Item = &'a Called>,
        by: impl Fn(&Called) -> String,
        look: impl Fn(&Called) -> Option<Result<String, String>>,
    ) -> Self {
        let (fine, wrong) = (BTreeSet::new(), BTreeMap::new());
        let mut tally = Self { fine, wrong, works: BTreeSet::new(), broken: BTreeSet::new() };
        for called in calls {
            match look(called) {
                Some(Ok(what)) => {
                    tally.fine.insert(what);
                    tally.works.insert(by(called));
                }
                Some(Err(what)) => {
                    tally.wrong.insert(what, called.route());
                    tally.broken.insert(by(called));
                }
                None => {}
            }
        }
        tally
    }

    fn is_fine(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Whatever has another way that is fine works: that is to be watched.
    fn result(&self) -> Outcome {
        let lost = self.broken.difference(&self.works).next().is_some();
        match (self.is_fine(), lost) {
            (true, _) => Outcome::Ok,
            (false, true) => Outcome::Failed,
            (false, false) => Outcome::Warning,
        }
    }

    fn found(&self, seen: &Seen, remedy: impl Into<String>) -> Finding {
        let some = |all: Vec<&String>| {
            let more = all.len().saturating_sub(MOST_TOLD);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let told: Vec<&str> = all.into_iter().take(MOST_TOLD).map(String::as_str).collect();
            format!("{}{more}", told.join("; "))
        };
        let part = match seen.tried < seen.of {
            true => format!(" ({} of {} services were tried)", seen.tried, seen.of),
            false => String::new(),
        };
        match self.result() {
            Outcome::Ok => Finding::ok(format!("{}{part}", some(self.fine.iter().collect()))),
            result => {
                let evidence = format!("{}{part}", some(self.wrong.keys().collect()));
                Finding { result, ..Finding::failed(evidence, remedy) }
            }
        }
    }
}

fn by_service(called: &Called) -> String {
    format!("{}:{}", called.service.host, called.service.port)
}

/// Every gateway takes connections.
pub(super) async fn reached(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let by = |_: &Called| "a gateway".to_owned();
    let tally = Tally::of(seen.calls.iter(), by, |called| {
        Some(match &called.came {
            Came::Unreached(why) => Err(format!("no connection to {}: {why}", called.place())),
            _ => Ok(format!("{} answers", called.place())),
        })
    });
    let first = seen.calls.iter().find(|called| matches!(called.came, Came::Unreached(_)));
    let Some(first) = first else { return tally.found(seen, "") };
    let (host, port) = (&first.gateway.host, first.gateway.port);
    tally
        .found(
            seen,
            format!(
                "`nc -vz {host} {port}`; `kubectl -n istio-system get service \
                 istio-eastwestgateway` shows the address and the port"
            ),
        )
        .because("nobody is at that address, or something between here and there is in the way")
}

/// No gateway closes a connection because of the name that it is for.
pub(super) async fn known(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let tally = Tally::of(seen.calls.iter(), by_service, |called| match &called.came {
        Came::Unreached(_) => None,
        Came::Closed(why) => Some(Err(format!("{}: {why}", called.route()))),
        Came::Shown(_) | Came::Refused(_) => Some(Ok(called.route())),
    });
    let closed = seen.calls.iter().find(|called| matches!(called.came, Came::Closed(_)));
    let Some(first) = closed else { return tally.found(seen, "") };
    let service = &first.service;
    let (name, namespace) = parts(&service.host);
    let finding = tally.found(
        seen,
        format!(
            "`kubectl -n {namespace} get service {name}` shows whether it has port {}; {} says \
             what this machine calls",
            service.port, service.place
        ),
    );
    finding.because(format!(
        "the gateway has nothing for SNI {}: no such service, port or subset, or it is no gateway \
         for other networks (AUTO_PASSTHROUGH)",
        sni(service)
    ))
}

/// Name and namespace of a host of Kubernetes.
fn parts(host: &str) -> (&str, &str) {
    let mut parts = host.split('.');
    let name = parts.next().unwrap_or(host);
    (name, parts.next().unwrap_or("default"))
}

fn shown(called: &Called) -> Option<&Shown> {
    match &called.came {
        Came::Shown(shown) => Some(shown),
        Came::Unreached(_) | Came::Closed(_) | Came::Refused(_) => None,
    }
}

/// With which word this machine's certificate is refused; none if it is not, or nobody came so far.
fn refused(called: &Called) -> Option<Option<AlertDescription>> {
    match &called.came {
        Came::Unreached(_) | Came::Closed(_) => None,
        Came::Refused(alert) => Some(Some(*alert)),
        Came::Shown(shown) => Some(match shown.then {
            Then::Refused(alert) => Some(alert),
            _ => None,
        }),
    }
}

/// Whoever answers leads to a root of this machine.
pub(super) async fn rooted(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let own = match &seen.own {
        Ok(own) => own,
        Err(why) => return Finding::unknown(format!("the roots are not known: {why}")),
    };
    let tally = Tally::of(seen.calls.iter(), by_service, |called| {
        let Shown { leaf, top, trusted, .. } = shown(called)?;
        Some(match trusted.as_ref()? {
            Ok(()) => Ok(format!("certified by {}", leaf.issuer)),
            Err(error) => {
                let why = match error {
                    InvalidCertificate(UnknownIssuer | BadSignature) => {
                        "which is no root of this machine".to_owned()
                    }
                    error => error.to_string(),
                };
                Err(format!("{}: {}, {why}", called.route(), came(leaf, top)))
            }
        })
    });
    if tally.is_fine() {
        return match tally.fine.is_empty() {
            true => Finding::unknown("what is shown is out of time, and cannot be judged"),
            false => tally.found(seen, ""),
        };
    }
    tally.found(seen, ROOTS).because(format!("this machine believes {}", believes(own)))
}

/// Who certifies what was shown, as far as that was shown.
fn came(leaf: &Described, top: &Described) -> String {
    match leaf == top {
        true => format!("its certificate is issued by {}", top.issuer),
        false => {
            format!("its certificate is issued by {} (SHA-256 {}…)", top.subject, top.fingerprint)
        }
    }
}

fn believes(own: &Identity) -> String {
    let roots = own.roots.ders().iter().filter_map(|der| Described::of(der).ok()).take(MOST_TOLD);
    let roots: Vec<String> =
        roots.map(|root| format!("{} (SHA-256 {}…)", root.subject, root.fingerprint)).collect();
    roots.join(", ")
}

/// Whoever answers is one of those that the file names, at a time when its certificate is valid.
pub(super) async fn expected(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let mut mend = None;
    let tally = Tally::of(seen.calls.iter(), by_service, |called| {
        let leaf = &shown(called)?.leaf;
        let is = leaf.names.iter().find(|name| is_one(name, &called.service.identities));
        Some(match (is, patient.now.duration_since(leaf.not_after)) {
            (Some(_), Ok(ago)) => {
                let (route, ago) = (called.route(), Span(ago));
                Err(format!("{route}: its certificate expired {ago} ago"))
            }
            (Some(is), Err(_)) => Ok(is.clone()),
            (None, _) => {
                let is = leaf.names.first().cloned().unwrap_or_else(|| "nobody".to_owned());
                let expected = called.service.identities.join(" or ");
                Err(format!("{}: it is {is}, not {expected}", called.route()))
            }
        })
    });
    for called in &seen.calls {
        let Some(Shown { leaf, .. }) = shown(called) else { continue };
        if !leaf.names.iter().any(|name| is_one(name, &called.service.identities)) {
            let is = leaf.names.first().map_or("ID", String::as_str);
            let place = &called.service.place;
            mend.get_or_insert(format!("if that is who it should be: `identity: {is}` in {place}"));
        }
    }
    let late = "see why its certificate is not renewed: `kubectl logs POD -c istio-proxy`; \
                `timedatectl` shows whether this machine's clock is right";
    let wrong_id = mend.is_some();
    let finding = tally.found(seen, mend.unwrap_or_else(|| late.to_owned()));
    match (finding.result, wrong_id) {
        (Outcome::Ok, _) => finding,
        (_, true) => finding.because(
            "its service account is another one, or another service is behind the gateway; Envoy \
             sends it nothing",
        ),
        (_, false) => finding.because("Envoy sends nothing to whom it does not believe"),
    }
}

/// Whether it is one of these, of which those that end in `*` stand for all that begin so.
fn is_one(name: &str, of: &[String]) -> bool {
    of.iter().any(|own| match own.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == own,
    })
}

/// Nobody refuses what this machine shows.
pub(super) async fn believed(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let own = match &seen.own {
        Ok(own) => own,
        Err(why) => return Finding::unknown(format!("it could not be shown: {why}")),
    };
    let tally = Tally::of(seen.calls.iter(), by_service, |called| match refused(called)? {
        Some(alert) => Some(Err(format!("{}: refused with {}", called.route(), word(alert)))),
        None => Some(Ok(format!("{} is believed", own.name()))),
    });
    let first = seen.calls.iter().find_map(|called| Some((refused(called)??, shown(called))));
    match first {
        None => tally.found(seen, ""),
        Some((alert, shown)) => {
            let (cause, remedy) = reason(alert, own, shown);
            tally.found(seen, remedy).because(cause)
        }
    }
}

/// Why a certificate is refused with such a word, and what to do.
fn reason(
    alert: AlertDescription,
    own: &Identity,
    shown: Option<&Shown>,
) -> (String, &'static str) {
    let issued = own.chain.ders().first().and_then(|der| Described::of(der).ok());
    let issuer = issued.map_or_else(|| "somebody else".to_owned(), |leaf| leaf.issuer);
    match alert {
        AlertDescription::CertificateExpired => (
            "the certificate of this machine has expired, by the clock over there".to_owned(),
            "`hawser identity renew`; `timedatectl` shows whether this machine's clock is right",
        ),
        AlertDescription::CertificateRequired => (
            "this machine has shown none".to_owned(),
            "`hawser identity show` says why there is none",
        ),
        _ => (
            format!(
                "the certificate of this machine is issued by {issuer}, and they are certified by \
                 {}: it has to lead to the root of the mesh",
                shown.map_or("somebody else", |shown| shown.leaf.issuer.as_str())
            ),
            "have the certificate issued under the mesh's root, or the mesh believe its root \
             (`meshConfig.caCertificates`); `hawser identity show` says where it comes from",
        ),
    }
}

/// No policy keeps this machine out.
pub(super) async fn admitted(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let own = match &seen.own {
        Ok(own) => own,
        Err(why) => return Finding::unknown(format!("nothing could be shown: {why}")),
    };
    let asked = |called: &Called| Some(shown(called)?.then.clone());
    let tally = Tally::of(seen.calls.iter(), by_service, |called| match asked(called)? {
        Then::Answered { by_policy: true, .. } => {
            Some(Err(format!("{}: 403, RBAC: access denied", called.route())))
        }
        Then::Answered { status, .. } => Some(Ok(format!("{} answers {status}", called.route()))),
        Then::Ended(_) | Then::Quiet | Then::Refused(_) => None,
    });
    let Some(first) = tally.wrong.keys().next() else {
        return match tally.fine.is_empty() {
            true => Finding::unknown("nobody answers in HTTP, so no policy is seen at work"),
            false => tally.found(seen, ""),
        };
    };
    let host = first.split(':').next().unwrap_or_default();
    let (_, namespace) = parts(host);
    let finding = tally.found(
        seen,
        format!(
            "`kubectl -n {namespace} get authorizationpolicy`: one has to let {} in",
            own.name()
        ),
    );
    // What was asked is nothing that a program asks: a policy by path may still let those in.
    Finding { result: Outcome::Warning, ..finding }
        .because("an AuthorizationPolicy refuses `OPTIONS /` of this machine; others it may allow")
}

const MOST_TOLD: usize = 4;
const ROOTS: &str = "the roots of this machine have to hold the mesh's: `kubectl -n istio-system get \
                     configmap istio-ca-root-cert -o yaml` shows it, `hawser identity show` where \
                     those of this machine are from";
