//! Every address of istiod, and of the certificate authority where that is another, looked at once;
//! each check asks about one step.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use hawser_istiod::{Endpoint, Shows, Sight, Survey, Surveyed, token::Span};
use hawser_pki::Described;
use hawser_rt::Chain;
use tokio::task::JoinSet;

use crate::{
    bundle,
    check::{self, Files},
    config::Config,
    doctor::{Finding, Patient},
    options,
};

/// What was seen of everybody that there is to talk to.
#[derive(Debug)]
pub(in crate::doctor) struct Seen(Vec<Survey>);

/// Looks at everybody, once for all checks.
async fn survey(patient: &Patient) -> Result<&Seen, Finding> {
    if patient.is_alone() {
        return Err(Finding::ok(STANDALONE));
    }
    let look = async {
        let config = patient.config.as_ref().map_err(ToString::to_string)?;
        let mut looks = JoinSet::new();
        for (place, way) in ways(config).into_iter().enumerate() {
            let istiod = check::unshown(way).map_err(|error| Chain(&error).to_string())?;
            looks.spawn(async move { (place, istiod.survey().await) });
        }
        let mut surveys = looks.join_all().await;
        surveys.sort_by_key(|(place, _)| *place);
        let surveys = surveys.into_iter().map(|(_, survey)| survey).collect();
        Ok(Seen(surveys))
    };
    let seen = patient.istiod.get_or_init(|| look).await;
    seen.as_ref().map_err(|why: &String| Finding::unknown(why.clone()))
}

/// The ways to everybody: one, as a rule. None of them is waited for long.
pub(super) fn ways(config: &Config) -> Vec<hawser_istiod::Options> {
    let mut ways = vec![options::xds(config)];
    if config.ca != config.istiod {
        ways.push(options::ca(config));
    }
    for way in &mut ways {
        way.connect_timeout = way.connect_timeout.min(PATIENCE);
    }
    ways
}

impl Seen {
    fn endpoints(&self) -> impl Iterator<Item = &Surveyed> {
        self.0.iter().flat_map(|survey| &survey.endpoints)
    }

    fn sights(&self) -> impl Iterator<Item = (&Endpoint, &Sight)> {
        self.endpoints().flat_map(|surveyed| {
            surveyed.sights.iter().map(move |sight| (&surveyed.endpoint, sight))
        })
    }

    /// What each address shows that shows anything.
    fn shown(&self) -> impl Iterator<Item = (&Endpoint, SocketAddr, &Shows)> {
        self.sights().filter_map(|(endpoint, sight)| match &sight.tls {
            Some(Ok(shows)) => Some((endpoint, sight.peer, shows)),
            _ => None,
        })
    }

    fn is_plain(&self) -> bool {
        self.endpoints().all(|surveyed| !surveyed.endpoint.tls)
    }
}

/// One of several that fails is to be watched; all of them, and nothing works.
struct Tally {
    fine: Vec<String>,
    wrong: Vec<String>,
}

impl Tally {
    fn of(each: impl Iterator<Item = Result<String, String>>) -> Self {
        let mut tally = Self { fine: Vec::new(), wrong: Vec::new() };
        for one in each {
            match one {
                Ok(fine) => tally.fine.push(fine),
                Err(wrong) => tally.wrong.push(wrong),
            }
        }
        tally
    }

    fn found(&self, remedy: impl Into<String>) -> Finding {
        let all = |some: &[String]| some.join("; ");
        match (self.fine.is_empty(), self.wrong.is_empty()) {
            (_, true) => Finding::ok(all(&self.fine)),
            (true, false) => Finding::failed(all(&self.wrong), remedy),
            (false, false) => {
                let evidence = format!("{}; but {}", all(&self.wrong), all(&self.fine));
                Finding::warning(evidence, remedy)
            }
        }
    }
}

/// Every endpoint has an address.
pub(super) async fn resolves(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let tally = Tally::of(seen.endpoints().map(|surveyed| {
        let Surveyed { endpoint, listed, addresses, .. } = surveyed;
        let host = &endpoint.host;
        match addresses {
            Ok(found) => {
                let found: Vec<String> = found.iter().map(|peer| peer.ip().to_string()).collect();
                let by = if *listed { "" } else { ", by DNS" };
                Ok(format!("{host}: {}{by}", found.join(", ")))
            }
            Err(error) => Err(format!("{host} cannot be resolved: {error}")),
        }
    }));
    let hosts = patient.paths.bundle_file(crate::config::paths::HOSTS);
    let mut unresolved = seen.endpoints().filter(|surveyed| surveyed.addresses.is_err());
    let host = unresolved.next().map_or("NAME", |surveyed| &surveyed.endpoint.host);
    let remedy = format!(
        "`echo ADDRESS {host} >> {}`, with the address of istiod's gateway: `kubectl -n \
         istio-system get service istio-eastwestgateway`",
        hosts.display()
    );
    let finding = tally.found(remedy);
    let gone = patient.bundle().zip(patient.config.as_ref().ok());
    match gone.and_then(|(bundle, config)| bundle::gone_names(&bundle, config)) {
        Some(gone) if !tally.wrong.is_empty() => finding.because(gone),
        None if !tally.wrong.is_empty() => {
            finding.because("neither the bundle's hosts file nor this machine's DNS knows it")
        }
        _ => finding,
    }
}

/// Every address takes connections.
pub(super) async fn reachable(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let tally = Tally::of(seen.sights().map(|(_, sight)| match &sight.connected {
        Ok(took) => Ok(format!("{} answers in {} ms", sight.peer, took.as_millis())),
        Err(error) => Err(format!("{}: {}", sight.peer, why(error))),
    }));
    let failed =
        seen.sights().find_map(|(_, sight)| Some((sight, sight.connected.as_ref().err()?)));
    let Some((sight, error)) = failed else { return tally.found("") };
    let (peer, port) = (sight.peer.ip(), sight.peer.port());
    let dropped = error.kind() == io::ErrorKind::TimedOut;
    let finding = tally.found(match dropped {
        true => format!("open TCP port {port} from this machine to {peer}: `nc -vz {peer} {port}`"),
        false => format!(
            "`kubectl -n istio-system get service` shows whether istiod or its gateway has port \
             {port} at {peer}; `nc -vz {peer} {port}` from here"
        ),
    });
    finding.because(match dropped {
        true => {
            "nothing comes back: a firewall or a security group drops it, or the address is gone"
        }
        false => "somebody is there, and nobody listens at that port",
    })
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}

/// Whoever takes connections speaks TLS, where that is expected.
pub(super) async fn encrypted(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    if seen.is_plain() {
        return Finding::ok("without TLS, as configured: istiod's plaintext port");
    }
    let tally = Tally::of(seen.sights().filter_map(|(_, sight)| {
        Some(match sight.tls.as_ref()? {
            Ok(shows) => Ok(format!("{} is {}", sight.peer, called(&shows.leaf))),
            Err(error) => Err(format!("{} does not speak TLS: {}", sight.peer, why(error))),
        })
    }));
    tally.found(
        "`istiod.address` has to be istiod's port for TLS, 15012: `hawser config istiod.address` \
         says where it is from",
    )
}

/// By which of its names people know a certificate.
fn called(leaf: &Described) -> String {
    leaf.names.first().cloned().unwrap_or_else(|| leaf.subject.clone())
}

/// It is time for what each of them shows.
pub(super) async fn in_time(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let now = patient.now;
    for (_, peer, shows) in seen.shown() {
        if let Ok(by) = shows.leaf.not_before.duration_since(now)
            && !by.is_zero()
        {
            return Finding::failed(
                format!("{peer} shows a certificate that is valid in {} only", Span(by)),
                CLOCK,
            )
            .because(format!("this machine's clock is at least {} behind", Span(by)));
        }
        if let Ok(ago) = now.duration_since(shows.leaf.not_after) {
            return Finding::failed(
                format!("{peer} shows a certificate that expired {} ago", Span(ago)),
                format!("{CLOCK}; if the clock is right: `kubectl -n istio-system rollout restart deployment/istiod`"),
            )
            .because(format!("this machine's clock is {} ahead, or istiod has not renewed it", Span(ago)));
        }
    }
    Finding::ok("what it shows is valid now")
}

/// What each of them shows leads to a root of ours.
pub(super) async fn trusted(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let unusable = seen.0.iter().find_map(|survey| survey.roots.as_ref().err());
    if let Some(error) = unusable {
        return Finding::failed(Chain(error).to_string(), fetch(patient));
    }
    let tally = Tally::of(seen.shown().filter_map(|(_, peer, shows)| {
        Some(match shows.trusted.as_ref()? {
            Ok(()) => Ok(format!("{peer} is certified by {}", shows.leaf.issuer)),
            Err(error) => Err(format!("{peer}: {}, {}", came(shows), wrong(error))),
        })
    }));
    if tally.wrong.is_empty() {
        return tally.found("");
    }
    tally.found(fetch(patient)).because(format!("this machine believes {}", believed(patient)))
}

/// Who certifies what was shown, as far as that was shown.
fn came(shows: &Shows) -> String {
    let top = &shows.top;
    match top == &shows.leaf {
        true => format!("its certificate is issued by {}", top.issuer),
        false => {
            format!("its certificate is issued by {} (SHA-256 {}…)", top.subject, top.fingerprint)
        }
    }
}

fn wrong(error: &rustls::Error) -> String {
    use rustls::{
        CertificateError::{BadSignature, UnknownIssuer},
        Error::InvalidCertificate,
    };
    match error {
        // Roots of istiod's all have the same subject: a rotated one is found, and does not fit.
        InvalidCertificate(UnknownIssuer | BadSignature) => {
            "which is no root of this machine".to_owned()
        }
        error => error.to_string(),
    }
}

/// The roots of this machine, so that they can be compared.
fn believed(patient: &Patient) -> String {
    let Ok(config) = &patient.config else { return String::new() };
    let mut all = Vec::new();
    for path in Files::of(config).roots {
        let Ok(roots) = check::root_file(&path) else { continue };
        for root in roots.ders().iter().filter_map(|der| Described::of(der).ok()).take(MOST_ROOTS) {
            all.push(format!("{} (SHA-256 {}…)", root.subject, root.fingerprint));
        }
        all.push(format!("in {}", path.display()));
    }
    match all.is_empty() {
        true => "the system's roots".to_owned(),
        false => all.join(" "),
    }
}

fn fetch(patient: &Patient) -> String {
    let file = match &patient.config {
        Ok(config) => Files::of(config).roots.into_iter().next(),
        Err(_) => None,
    };
    let file = file.unwrap_or_else(|| patient.paths.bundle_file(crate::config::paths::ROOT_CERT));
    format!(
        "`kubectl -n istio-system get configmap istio-ca-root-cert -o \
         jsonpath='{{.data.root-cert\\.pem}}' > {}`",
        file.display()
    )
}

/// What each of them shows is for the name that is expected.
pub(super) async fn named(patient: &Patient) -> Finding {
    let seen = match survey(patient).await {
        Ok(seen) => seen,
        Err(finding) => return finding,
    };
    let mut others = BTreeMap::new();
    let tally = Tally::of(seen.shown().map(|(endpoint, peer, shows)| {
        let expected = endpoint.verified_name();
        match &shows.named {
            Ok(()) => Ok(format!("{peer} is {expected}")),
            Err(_) => {
                let names = match shows.leaf.names.is_empty() {
                    true => "no name at all".to_owned(),
                    false => shows.leaf.names.join(", "),
                };
                others.extend(shows.leaf.names.first().map(|name| (name.clone(), ())));
                Err(format!("{peer} shows a certificate for {names}, not for {expected}"))
            }
        }
    }));
    let name = others.keys().next().map_or("NAME", String::as_str);
    let finding = tally.found(format!(
        "if that is your istiod: `istiod.server_name = \"{name}\"` in {}, then `systemctl restart \
         hawser`",
        patient.paths.toml().display()
    ));
    match tally.wrong.is_empty() {
        true => finding,
        false => finding.because("it is another server, or istiod is known by another name"),
    }
}

/// No step takes longer, and there are three before the time of a check is up; what hangs here is not to hold up what can be said besides.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
const MOST_ROOTS: usize = 4;
pub(super) const STANDALONE: &str = "standalone: there is no istiod to this machine";
const CLOCK: &str = "`timedatectl set-ntp true`, then `timedatectl`";
