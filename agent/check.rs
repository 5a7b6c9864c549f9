//! Everything that can be known to be wrong before anything is started or called: the settings,
//! what they amount to, and the files that they point at.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use hawser_identity::Source;
use hawser_istiod::{Credentials, Istiod, Roots, credential::TokenSource, token};
use hawser_node::{Node, addresses};
use hawser_pki::{Bundle, Chain, SpiffeId};
use hawser_rt::{Chain as Causes, Clock};
use hawser_services::Services;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    config::{
        self, Config, parse,
        paths::{self, Paths},
        problem::{Problem, Problems},
        services::Wins,
        setting,
        source::{self, Sources, read_text},
        values::Values,
    },
    options,
    services::Wanted,
};

/// How much there has to be of what istiod is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// There has to be: there is no certificate yet.
    Needed,
    /// It does not matter, but the roots do.
    NotNeeded,
    /// Neither do they.
    Irrelevant,
}

/// The configuration if nothing is wrong; else all that is, at once.
pub fn all(paths: &Paths, sources: &Sources, token: Token) -> Result<Config, Problems> {
    let loaded = Config::load(paths, sources);
    let (mut problems, files) = match &loaded {
        Ok(config) => (usable(config), Files::of(config)),
        Err(problems) => (problems.0.clone(), Files::guessed(paths, &sources.values)),
    };
    if let (Ok(config), Token::Needed) = (&loaded, token) {
        problems.extend(shown_to_vault(config));
    }
    // Nobody is asked for a certificate where there is no istiod.
    let alone = loaded.as_ref().is_ok_and(Config::is_alone);
    let token = if alone { Token::Irrelevant } else { token };
    // An agent that starts has other roots than those of the file, and DNS to answer besides: what
    // is wrong with these is told by the dial.
    if token != Token::Irrelevant {
        problems.extend(files.roots());
    }
    if token == Token::Needed {
        problems.extend(files.token(SystemTime::now()));
    }
    match loaded {
        Ok(config) if problems.is_empty() => Ok(config),
        _ => Err(Problems(problems)),
    }
}

/// The file of services as the settings have it, whatever else is wrong with them.
#[derive(Debug)]
pub(crate) struct ServicesFile {
    /// Whether it is read at all.
    pub(crate) used: bool,
    pub(crate) wanted: Wanted,
}

impl ServicesFile {
    pub(crate) fn said(paths: &Paths, values: &Values) -> Self {
        let said = |key| setting::find(key).map(|known| values.setting(known).value);
        let said = |key| said(key).filter(|text| !text.is_empty());
        let file = match said("services.file").as_deref() {
            None | Some("none") => paths.services(),
            Some(file) => PathBuf::from(file),
        };
        let used = match said("services.use").as_deref().map(str::trim) {
            Some("off") => false,
            Some("alone" | "beside") => true,
            _ => file.exists(),
        };
        let low_ports = said("services.low_ports").and_then(|text| text.parse().ok());
        let settings = config::services::Services {
            file,
            beside: false,
            wins: Wins::File,
            low_ports: low_ports.unwrap_or(0),
        };
        let trust_domain = said("node.trust_domain").unwrap_or_default();
        let namespace = said("node.namespace").unwrap_or_default();
        Self { used, wanted: Wanted { settings, trust_domain, namespace } }
    }

    /// What it says; or all that is wrong with it.
    pub(crate) fn read(&self) -> Result<Services, Vec<Problem>> {
        self.wanted.check().map_err(|problems| problems.0.iter().map(in_file).collect())
    }
}

/// What is wrong with the file, as a line among those about settings.
fn in_file(problem: &hawser_services::Problem) -> Problem {
    let hawser_services::Problem { place, what, found, expected } = problem;
    let found = if found.is_empty() { String::new() } else { format!("found {found}: ") };
    Problem::with(format!("{place}: {what}"), format!("{found}expected {expected}"))
}

/// What single settings do not show: headers that cannot be sent, a node that cannot be named.
pub(crate) fn usable(config: &Config) -> Vec<Problem> {
    let ways = [("certificates", options::ca(config)), ("configuration", options::xds(config))];
    let mut problems: Vec<Problem> = Vec::new();
    for (what, way) in ways {
        if let Err(error) = unshown(way) {
            problems.push(Problem::with(format!("istiod for {what}"), Causes(&error).to_string()));
        }
    }
    let ips = addresses::order(config.node.ip, None, &source::addresses());
    if let Err(error) = Node::new(&options::facts(config, ips)) {
        problems.push(Problem::with("node", Causes(&error).to_string()));
    }
    problems
}

/// A way to istiod on which nothing is shown: to see whether it is one.
pub(crate) fn unshown(way: hawser_istiod::Options) -> Result<Istiod, hawser_istiod::Error> {
    Istiod::new(way, Credentials::none(), watch::channel(None).1, Clock::default())
}

/// The files that a configuration points at.
pub(crate) struct Files {
    /// What istiod's certificates are checked against.
    pub(crate) roots: Vec<PathBuf>,
    /// None where a certificate can come in another way.
    pub(crate) token: Option<PathBuf>,
    id: Option<SpiffeId>,
}

impl Files {
    pub(crate) fn of(config: &Config) -> Self {
        let mut roots: Vec<PathBuf> = Vec::new();
        // A pair that somebody else brings has its roots with it.
        let asked = matches!(config.identity.source, Source::Authority | Source::Auto { .. });
        for from in [&config.istiod.roots, &config.ca.roots] {
            if let Roots::File(path) = &from.roots
                && (asked || !from.learned)
                && !roots.contains(path)
            {
                roots.push(path.clone());
            }
        }
        let token = match (config.identity.tokens.as_slice(), has_pair(config)) {
            ([TokenSource::File(path)], false) if asked => Some(path.clone()),
            _ => None,
        };
        Self { roots, token, id: Some(config.node.id.clone()) }
    }

    /// For a configuration that is wrong elsewhere: where the files are as far as can be told.
    fn guessed(paths: &Paths, values: &Values) -> Self {
        let said = |key, file| match setting::find(key).map(|known| values.setting(known).value) {
            Some(text) if !text.is_empty() => parse::file(&text),
            _ => Some(paths.bundle_file(file)),
        };
        Self {
            roots: said("istiod.root_cert", paths::ROOT_CERT).into_iter().collect(),
            token: said("istiod.token", paths::TOKEN),
            id: None,
        }
    }

    /// The roots that istiod's certificates are checked against.
    fn roots(&self) -> impl Iterator<Item = Problem> {
        self.roots.iter().filter_map(|path| {
            let wrong = root_file(path).err()?;
            Some(Problem::with(path.display().to_string(), wrong))
        })
    }

    /// The token, which has to be good for as long as there is no certificate.
    fn token(&self, now: SystemTime) -> Option<Problem> {
        let path = self.token.as_ref()?;
        let wrong = match read_text(path).map(Zeroizing::new) {
            Err(error) => Some(format!("cannot be read: {error}")),
            Ok(text) => match token::inspect(text.trim(), now) {
                Err(problem) => Some(Causes(&problem).to_string()),
                Ok(facts) => for_somebody_else(self.id.as_ref(), facts.subject.as_deref()),
            },
        };
        wrong.map(|wrong| Problem::with(path.display().to_string(), wrong))
    }
}

/// What Vault is to be shown, and is believed by, where certificates come from there.
fn shown_to_vault(config: &Config) -> Vec<Problem> {
    let Source::Vault { role, .. } = &config.identity.source else { return Vec::new() };
    let unread = role.login.files().into_iter().filter_map(|path| {
        let error = read_text(&path).map(Zeroizing::new).err()?;
        let what = format!("cannot be read: {error}; Vault is to be shown it");
        Some(Problem::with(path.display().to_string(), what))
    });
    let ca = role
        .ca
        .iter()
        .filter_map(|path| Some(Problem::with(path.display().to_string(), root_file(path).err()?)));
    unread.chain(ca).collect()
}

/// Whether there is a pair from elsewhere that istiod can be shown: this machine's, and valid now.
pub(crate) fn has_pair(config: &Config) -> bool {
    let chain = || {
        let dir = config.identity.provisioned.as_ref()?;
        dir.join("key.pem").exists().then_some(())?;
        Chain::from_pem(&read_text(&dir.join("cert-chain.pem")).ok()?).ok()
    };
    chain().is_some_and(|chain| {
        let own = chain.spiffe_id().is_ok_and(|id| id == config.node.id);
        own && chain.valid_at(SystemTime::now())
    })
}

/// istiod issues what the token says, whatever the machine is configured as.
pub(crate) fn for_somebody_else(id: Option<&SpiffeId>, subject: Option<&str>) -> Option<String> {
    let id = id?;
    let account = subject?.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = account.split_once(':')?;
    let same = (namespace, name) == (id.namespace(), id.service_account());
    (!same).then(|| {
        format!(
            "it is for service account {name} in namespace {namespace}, and this machine is {id}; \
             make both with one run of `istioctl x workload entry configure`"
        )
    })
}

/// The roots in a file, or why there are none.
pub(crate) fn root_file(path: &Path) -> Result<Bundle, String> {
    let text = read_text(path).map_err(|error| format!("cannot be read: {error}"))?;
    Bundle::from_pem(&text)
        .map_err(|error| format!("{}; expected the root certificate in PEM", Causes(&error)))
}
