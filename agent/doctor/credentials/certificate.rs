//! The certificate: the one that the agent serves, and the one that is kept for its next start.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_identity::{Error, FILE, VERSION, kept_in};
use hawser_istiod::token::Span;
use hawser_pki::Identity;
use hawser_rt::Chain;
use zeroize::Zeroizing;

use crate::{
    bundle::{self, Bundle},
    doctor::{Finding, Patient},
    status::identity::IdentityStatus,
};

/// What is kept of the certificate.
pub(in crate::doctor) enum Kept {
    Nothing,
    Unseen(io::Error),
    /// Only the service has the key to it.
    Sealed,
    /// It cannot be used, and why.
    Unusable(String),
    Pair(Arc<Identity>),
}

impl Kept {
    /// Read in place: nothing is set aside here.
    pub(in crate::doctor) fn of(patient: &Patient) -> Self {
        let Ok(config) = &patient.config else { return Self::Nothing };
        let mut file = Zeroizing::new(Vec::new());
        let read = File::open(patient.paths.state().join(FILE));
        match read.and_then(|open| open.take(MAX_FILE).read_to_end(&mut file)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::Nothing,
            Err(error) => return Self::Unseen(error),
        }
        let body = match hawser_state::decode(&file, VERSION) {
            Ok(body) => Zeroizing::new(body.to_vec()),
            Err(damage) => return Self::Unusable(Chain(&damage).to_string()),
        };
        match kept_in(body, None, &config.node.id) {
            Ok(kept) => Self::Pair(kept.identity),
            Err(Error::Sealed) => Self::Sealed,
            Err(error) => Self::Unusable(Chain(&error).to_string()),
        }
    }
}

/// What is kept can be used.
pub(super) fn kept(patient: &Patient) -> Finding {
    let path = patient.paths.state().join(FILE);
    let path = path.display();
    match Kept::of(patient) {
        Kept::Nothing => Finding::ok("nothing is kept yet"),
        Kept::Unseen(error) => Finding::unknown(patient.unseen(&path.to_string(), &error)),
        Kept::Sealed => Finding::ok(format!("{path} is sealed, for the service alone")),
        Kept::Pair(_) => Finding::ok(format!("{path} holds key, chain and roots that fit")),
        Kept::Unusable(why) => Finding::failed(
            format!("{path}: {why}"),
            "`systemctl restart hawser` sets it aside and obtains another, for which there has to \
             be a good token: `hawser join BUNDLE` brings one",
        )
        .because("the certificate would not survive a restart"),
    }
}

/// The end of the certificate there is, and where it is.
struct Until {
    what: &'static str,
    from: Option<SystemTime>,
    end: SystemTime,
}

impl Until {
    fn of(patient: &Patient) -> Option<Self> {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        if let Some(snapshot) = &patient.snapshot {
            let IdentityStatus { not_before, not_after, .. } = &snapshot.identity;
            let (from, end) = (not_before.and_then(at), at((*not_after)?)?);
            return Some(Self { what: "the certificate that is served", from, end });
        }
        let Kept::Pair(pair) = Kept::of(patient) else { return None };
        let (from, end) = (Some(pair.not_before()), pair.not_after());
        Some(Self { what: "the certificate that is kept", from, end })
    }
}

/// Whether this machine can do without a token.
pub(super) fn is_valid(patient: &Patient) -> bool {
    match Kept::of(patient) {
        _ if patient.preflight => false,
        // What cannot be seen is not held against anybody.
        Kept::Unseen(_) | Kept::Sealed => true,
        _ => Until::of(patient).is_some_and(|until| until.end > patient.now),
    }
}

/// There is one, and it is its time.
pub(super) fn valid(patient: &Patient) -> Finding {
    let Some(Until { what, from, end }) = Until::of(patient) else {
        return absent(patient);
    };
    if let Some(from) = from.filter(|from| *from > patient.now) {
        let until = Span(from.duration_since(patient.now).unwrap_or_default());
        return Finding::failed(format!("{what} is valid in {until} only"), CLOCK)
            .because("this machine's clock is behind");
    }
    match end.duration_since(patient.now) {
        Ok(left) => Finding::ok(format!("{what} is valid for {} more", Span(left))),
        Err(past) => {
            let told = format!("{what} expired {} ago", Span(past.duration()));
            let trouble = trouble(patient);
            let finding = Finding::failed(told, RENEW);
            match trouble {
                Some(trouble) => finding.because(trouble),
                None => finding.because("nobody has renewed it: the agent was not running"),
            }
        }
    }
}

fn absent(patient: &Patient) -> Finding {
    match (&patient.snapshot, Kept::of(patient)) {
        (None, Kept::Nothing) => Finding::ok("none yet: the first start obtains it"),
        (None, Kept::Unseen(error)) => Finding::unknown(patient.unseen("the state", &error)),
        (None, Kept::Sealed) => Finding::unknown("it is sealed, and the agent is not there to say"),
        (None, Kept::Unusable(_) | Kept::Pair(_)) => {
            Finding::failed("what is kept of it cannot be used", RENEW)
        }
        (Some(_), _) => {
            let finding = Finding::failed("the agent has none", RENEW);
            let trouble = trouble(patient);
            finding.because(trouble.unwrap_or_else(|| "it has not got one yet".to_owned()))
        }
    }
}

fn trouble(patient: &Patient) -> Option<String> {
    patient.snapshot.as_ref()?.identity.trouble.clone()
}

/// There is time left to renew it in, and renewing works.
pub(super) fn runway(patient: &Patient) -> Finding {
    let Some(Until { what, from, end }) = Until::of(patient) else {
        return Finding::ok("there is none to renew yet");
    };
    let left = end.duration_since(patient.now).unwrap_or_default();
    let life = from.and_then(|from| end.duration_since(from).ok()).unwrap_or(left);
    let evidence = format!("{what} is valid for {} more", Span(left));
    match (trouble(patient), &patient.snapshot) {
        (Some(trouble), _) => {
            Finding::warning(format!("{evidence}, and is not renewed"), RENEW).because(trouble)
        }
        (None, None) => Finding::ok(evidence),
        (None, Some(_)) if left < life / 20 => {
            Finding::warning(format!("{evidence}, of {}", Span(life)), "`hawser identity renew`")
                .because("it ought to have been renewed long ago: has the clock been set?")
        }
        (None, Some(_)) => Finding::ok(evidence),
    }
}

/// It is this machine's, and one that the mesh believes.
pub(super) fn id(patient: &Patient) -> Finding {
    let Ok(config) = &patient.config else { return Finding::unknown("no settings") };
    let kept = || match Kept::of(patient) {
        Kept::Pair(pair) => Some(pair.name().to_owned()),
        _ => None,
    };
    let served = patient.snapshot.as_ref().and_then(|snapshot| snapshot.identity.spiffe_id.clone());
    let expected = config.node.id.to_string();
    let remark = patient.snapshot.as_ref().and_then(|snapshot| snapshot.identity.remark.clone());
    let found = served.or_else(kept);
    if let (Some(found), Some(remark)) = (&found, remark) {
        return Finding::failed(format!("{found}: {remark}"), OF_THE_MESH)
            .because("whoever issues it is not the mesh's authority, or gives it no SPIFFE id");
    }
    match found {
        Some(found) if patient.is_alone() => Finding::ok(found),
        None => Finding::ok(format!("there is none yet; it will be for {expected}")),
        Some(found) if found == expected => Finding::ok(found),
        Some(found) => Finding::failed(
            format!("the certificate is for {found}, and this machine is configured as {expected}"),
            "`systemctl restart hawser` for what is configured now, or put POD_NAMESPACE, \
             SERVICE_ACCOUNT and TRUST_DOMAIN back (`hawser config` says where they are from)",
        )
        .because("settings have changed since the agent was started"),
    }
}

/// A pair that somebody has brought is whole, this machine's and valid.
pub(super) fn provisioned(patient: &Patient) -> Finding {
    let Ok(config) = &patient.config else { return Finding::unknown("no settings") };
    let Some(place) = &config.identity.provisioned else {
        return Finding::ok("none is used");
    };
    let Some(bundle) = Bundle::installed(place).filter(Bundle::has_pair) else {
        return Finding::ok(format!("there is none in {}", place.display()));
    };
    match bundle::pair(&bundle, config, patient.now) {
        Ok(()) => Finding::ok(format!("the pair in {} is good", place.display())),
        Err((file, wrong)) => {
            let evidence = format!("{}: {wrong}", place.join(file).display());
            let remedy = "have the mesh's authority issue another pair, and put it there whole";
            match is_valid(patient) {
                true => Finding::warning(evidence, remedy)
                    .because("the machine's own certificate does in its place, while it is valid"),
                false => Finding::failed(evidence, remedy),
            }
        }
    }
}

const MAX_FILE: u64 = 4 << 20;
const CLOCK: &str = "`timedatectl set-ntp true`";
const RENEW: &str = "`hawser identity renew` says what stands in the way; `hawser join BUNDLE` with \
                     a fresh bundle brings a token that obtains another";
const OF_THE_MESH: &str = "have it issued under the mesh's root, with the SPIFFE id that its \
                           policies mean; `hawser identity show` says where it comes from";
