//! What a configuration does not show of a bundle: whether its files are good now, and together.

use std::{path::Path, time::SystemTime};

use hawser_istiod::{Roots as Believed, token::Span};
use hawser_pki::{Bundle as Roots, Chain, Identity, PrivateKey};
use hawser_rt::Chain as Causes;

use super::{Bundle, clock};
use crate::config::{Config, hosts, paths, problem::Problem, source::read_text};

/// What is wrong with this machine's clock, or with the dates of the root: told before anything
/// else is judged by them.
pub(crate) fn out_of_time(
    bundle: &Bundle,
    date: Option<&(SystemTime, String)>,
    now: SystemTime,
) -> Option<Problem> {
    clock::wrong(bundle, date, now).or_else(|| expired_root(bundle, now))
}

/// What is wrong with a bundle whose configuration is in order. `staged` is where its files are.
pub(crate) fn judge(
    bundle: &Bundle,
    staged: &Path,
    config: &Config,
    now: SystemTime,
) -> Vec<Problem> {
    if !bundle.has_pair() {
        return Vec::new();
    }
    if config.identity.provisioned.as_deref() != Some(staged) {
        let said = config.identity.provisioned.as_ref();
        let said = said.map_or("none".to_owned(), |said| said.display().to_string());
        let what = format!(
            "says {said}, so the pair of this bundle would not be shown; leave it (PROV_CERT) out"
        );
        return vec![Problem::with("identity.provisioned", what)];
    }
    let Err((file, wrong)) = pair(bundle, config, now) else { return Vec::new() };
    let file = bundle.place().join(file);
    vec![Problem::with(file.display().to_string(), wrong)]
}

/// The pair belongs together, leads to the root, is this machine's, and is valid now; else in which
/// file it is wrong, and how.
pub(crate) fn pair(
    bundle: &Bundle,
    config: &Config,
    now: SystemTime,
) -> Result<(), (&'static str, String)> {
    let unusable =
        |file, error: &dyn std::error::Error| (file, format!("{}; {ISSUE}", Causes(error)));
    let text = |file| bundle.text(file).unwrap_or_default();
    let key = PrivateKey::from_pem(text(paths::KEY));
    let key = key.map_err(|error| unusable(paths::KEY, &error))?;
    let chain = Chain::from_pem(text(paths::CHAIN));
    let chain = chain.map_err(|error| unusable(paths::CHAIN, &error))?;
    let believed = || match &config.istiod.roots.roots {
        Believed::File(path) => read_text(path).unwrap_or_default(),
        Believed::System => String::new(),
    };
    let roots = bundle.text(paths::ROOT_CERT).map_or_else(believed, str::to_owned);
    let roots = Roots::from_pem(&roots);
    let roots = roots.map_err(|error| unusable(paths::ROOT_CERT, &error))?;
    let identity = Identity::new(key, chain, roots);
    let identity = identity.map_err(|error| unusable(paths::CHAIN, &error))?;
    if let Ok(ago) = now.duration_since(identity.not_after())
        && !identity.valid_at(now)
    {
        return Err((paths::CHAIN, format!("expired {} ago; {ISSUE}", Span(ago))));
    }
    let (found, expected) = (identity.name(), &config.node.id);
    if identity.spiffe_id() != Some(expected) {
        let what = format!(
            "it is for {found}, and by cluster.env this machine is {expected}; \
             have both say the same"
        );
        return Err((paths::CHAIN, what));
    }
    Ok(())
}

fn expired_root(bundle: &Bundle, now: SystemTime) -> Option<Problem> {
    let roots = Roots::from_pem(bundle.text(paths::ROOT_CERT)?).ok()?;
    if roots.unexpired_at(now).is_some() {
        return None;
    }
    let ago = now.duration_since(roots.first_expiry()?).unwrap_or_default();
    let what = format!(
        "expired {} ago; write the bundle again with `istioctl x workload entry configure`, or \
         put this machine's clock right",
        Span(ago)
    );
    let file = bundle.place().join(paths::ROOT_CERT);
    Some(Problem::with(file.display().to_string(), what))
}

/// Names in `hosts` that nobody answers to since Istio 1.5, where istiod's own is not beside them.
pub(crate) fn gone_names(bundle: &Bundle, config: &Config) -> Option<String> {
    let text = bundle.text(paths::HOSTS)?;
    let istiod = config.istiod.endpoints.first()?;
    let known = |name: &str| !config.hosts.addresses(name).is_empty();
    if istiod.host.parse::<std::net::IpAddr>().is_ok() || known(&istiod.host) {
        return None;
    }
    let is_gone = |name: &String| GONE.contains(&name.split('.').next().unwrap_or_default());
    let mut names = hosts::parse(text).ok()?.into_iter().map(|(name, _)| name);
    let gone = names.find(is_gone)?;
    Some(format!(
        "{}: {gone} is gone since Istio 1.5: istiod does what it did; add a line \
         `ADDRESS {}` with the address of istiod or its gateway",
        bundle.place().join(paths::HOSTS).display(),
        istiod.host
    ))
}

const ISSUE: &str = "have the mesh's authority issue another pair";
/// The first part of the names of a control plane in many parts.
const GONE: [&str; 8] = [
    "istio-pilot",
    "istio-citadel",
    "istio-ca",
    "istio-mixer",
    "istio-policy",
    "istio-telemetry",
    "istio-galley",
    "istio-auth",
];
