//! What is wrong, by a snapshot, and the next command for it. The one table of troubles and remedies:
//! the screen, `--json` and metrics show what is found here.

#[cfg(test)]
mod tests;

use hawser_intercept::guard::Phase;
use serde::{Deserialize, Serialize};

use super::{
    IdentityStatus, Snapshot, State,
    units::{envoy, intercept},
};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Its name, for scripts: it never changes.
    pub code: String,
    /// What it is about: `identity`, `istiod`, `envoy`, …
    pub part: String,
    /// What it is.
    pub what: String,
    /// Since when, as far as that is known. Seconds since 1970.
    pub since: Option<u64>,
    /// What to do next: a command, what follows a `#` says why.
    pub next: String,
}

/// Something that can be wrong.
struct Ailment {
    code: &'static str,
    part: &'static str,
    look: fn(&Snapshot) -> Option<Found>,
    /// What to do, if what is found knows of nothing better.
    next: &'static str,
}

/// How it is.
#[derive(Debug, Default)]
struct Found {
    what: String,
    since: Option<u64>,
    next: Option<&'static str>,
}

/// All that can be wrong, in the order in which it is to be mended.
const AILMENTS: &[Ailment] = &[
    ailment("maintenance", "agent", maintained, "hawser maintenance off # ends it"),
    ailment("draining", "agent", draining, "hawser drain --undo # ends it"),
    ailment("settings-wrong", "agent", settings_wrong, "hawser check"),
    ailment("settings-pending", "agent", settings_pending, "systemctl restart hawser"),
    ailment("services-wrong", "services", services_wrong, "hawser check"),
    ailment("identity-none", "identity", no_certificate, DOCTOR),
    ailment("identity-expired", "identity", expired, DOCTOR),
    ailment("identity-not-renewed", "identity", not_renewed, DOCTOR),
    ailment("identity-nothing-to-show", "identity", nothing_to_show, NEW_TOKEN),
    ailment("identity-not-believed", "identity", not_believed, "hawser identity show"),
    ailment("identity-not-kept", "identity", not_kept, "df -h /var/lib/hawser"),
    ailment("istiod-away", "istiod", istiod_away, DOCTOR),
    ailment("stream-away", "config", stream_away, DOCTOR),
    ailment("stale", "config", stale, "hawser doctor # fresh when istiod answers"),
    ailment("envoy-gone", "envoy", envoy_gone, "journalctl -u hawser-envoy -n 50"),
    ailment("envoy-starting", "envoy", envoy_starting, "hawser status --wait-ready"),
    ailment("envoy-not-ready", "envoy", envoy_not_ready, DOCTOR),
    ailment("envoy-old-bootstrap", "envoy", old_bootstrap, "journalctl -u hawser-envoy -n 50"),
    ailment("envoy-refuses", "config", envoy_refuses, "hawser xds show # what Envoy goes on with"),
    ailment("envoy-lacks", "config", envoy_lacks, "hawser doctor # Istio's build of Envoy has it"),
    ailment("module-missing", "config", module_missing, "journalctl -u hawser -g 'module not'"),
    ailment("program-refuses", "config", program_refuses, DOCTOR),
    ailment("configuration-not-kept", "config", configuration_not_kept, "df -h /var/lib/hawser"),
    ailment("no-resolver", "dns", no_resolver, "hawser config # set dns.upstreams"),
    ailment("resolver-loops", "dns", resolver_loops, "hawser dns explain example.org"),
    ailment("resolvers-silent", "dns", resolvers_silent, "hawser dns explain example.org"),
    ailment("rules-missing", "rules", rules_missing, "journalctl -u hawser-intercept -n 50"),
    ailment("rules-drifted", "rules", rules_drifted, "hawser intercept show # who changes them?"),
    ailment("workload-unwell", "health", unwell, DOCTOR),
    ailment("files-not-written", "identity", files_not_written, "hawser identity show"),
];

const fn ailment(
    code: &'static str,
    part: &'static str,
    look: fn(&Snapshot) -> Option<Found>,
    next: &'static str,
) -> Ailment {
    Ailment { code, part, look, next }
}

/// Everything that is wrong.
pub fn troubles(of: &Snapshot) -> Vec<Trouble> {
    let trouble = |ailment: &Ailment| {
        let Found { what, since, next } = (ailment.look)(of)?;
        Some(Trouble {
            code: ailment.code.to_owned(),
            part: ailment.part.to_owned(),
            what,
            since,
            next: next.unwrap_or(ailment.next).to_owned(),
        })
    };
    AILMENTS.iter().filter_map(trouble).collect()
}

/// What it comes to.
pub fn state(of: &Snapshot) -> State {
    let has = |code: &str| of.troubles.iter().any(|trouble| trouble.code == code);
    match of {
        Snapshot { maintenance: Some(_), .. } => State::Maintenance,
        Snapshot { draining: Some(_), .. } => State::Draining,
        Snapshot { waits_for, .. } if !waits_for.is_empty() || has("envoy-starting") => {
            State::Starting
        }
        Snapshot { troubles, .. } if troubles.is_empty() => State::Ready,
        _ => State::Degraded,
    }
}

impl Found {
    fn that(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    fn since(self, since: Option<u64>) -> Self {
        Self { since, ..self }
    }

    fn next(self, next: &'static str) -> Self {
        Self { next: Some(next), ..self }
    }

    /// The remedy for a certificate that is not to be had, if it is not the way to istiod.
    fn by(self, identity: &IdentityStatus) -> Self {
        match identity.source.as_str() {
            "files" => self.next("hawser identity show # whoever writes the files has to renew"),
            "SPIFFE provider" => self.next("hawser identity show # its provider has to renew"),
            "command" => self.next("hawser identity renew # runs the program again"),
            _ if has_nothing(identity) => self.next(NEW_TOKEN),
            _ => self,
        }
    }
}

fn maintained(of: &Snapshot) -> Option<Found> {
    let spell = of.maintenance.as_ref()?;
    Some(Found::that(spell.to_string()).since(Some(spell.since)))
}

fn draining(of: &Snapshot) -> Option<Found> {
    of.draining.clone().map(Found::that)
}

fn settings_wrong(of: &Snapshot) -> Option<Found> {
    (of.settings.wrong > 0).then(|| Found::that(of.settings.note().unwrap_or_default()))
}

fn settings_pending(of: &Snapshot) -> Option<Found> {
    let pending = &of.settings.pending;
    let names = pending.join(", ");
    (!pending.is_empty()).then(|| Found::that(format!("changed, and not in force yet: {names}")))
}

fn services_wrong(of: &Snapshot) -> Option<Found> {
    let services = of.services.as_ref()?;
    let (first, more) = (services.problems.first()?, and(services.problem_count));
    let used = if services.kept { "what was kept from before" } else { "what it said before" };
    let what = format!("the file of services is no good, {used} is in use: {first}{more}");
    Some(Found::that(what).since(services.wrong_since))
}

fn not_believed(of: &Snapshot) -> Option<Found> {
    let remark = of.identity.remark.as_ref()?;
    Some(Found::that(format!("services do not believe the certificate: {remark}")))
}

fn no_certificate(of: &Snapshot) -> Option<Found> {
    let (None, Some(why)) = (&of.identity.spiffe_id, &of.identity.trouble) else { return None };
    let found = Found::that(format!("no certificate yet: {why}"));
    Some(found.since(of.identity.trouble_since).by(&of.identity))
}

fn expired(of: &Snapshot) -> Option<Found> {
    of.identity.expires_in.filter(|left| *left <= 0)?;
    let why = of.identity.trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let found = Found::that(format!("the certificate has expired{why}"));
    Some(found.since(of.identity.not_after).by(&of.identity))
}

fn not_renewed(of: &Snapshot) -> Option<Found> {
    of.identity.expires_in.filter(|left| *left > 0)?;
    let found = Found::that(format!("no new certificate: {}", of.identity.trouble.as_ref()?));
    Some(found.since(of.identity.trouble_since).by(&of.identity))
}

fn nothing_to_show(of: &Snapshot) -> Option<Found> {
    let all_is_well = of.identity.spiffe_id.is_some() && of.identity.trouble.is_none();
    let first = of.identity.would_show.first().filter(|_| all_is_well)?;
    let note = first.note.as_deref().unwrap_or("unusable");
    has_nothing(&of.identity).then(|| {
        Found::that(format!("nothing to show istiod for the next one: {}: {note}", first.what))
    })
}

/// Whether there is nothing that istiod would believe, and nothing that may come.
fn has_nothing(identity: &IdentityStatus) -> bool {
    let (shown, istiod) = (&identity.would_show, identity.source == "istiod");
    istiod && !shown.is_empty() && shown.iter().all(|it| !it.usable && !it.may_come)
}

fn not_kept(of: &Snapshot) -> Option<Found> {
    let why = of.identity.not_kept.as_ref()?;
    Some(Found::that(format!("the certificate does not survive a restart: {why}")))
}

fn istiod_away(of: &Snapshot) -> Option<Found> {
    let istiod = of.istiod.as_ref()?;
    let away = istiod.away.filter(|away| of.at.saturating_sub(*away) >= BRIEFLY)?;
    let why = istiod.trouble.as_deref().unwrap_or("it takes connections and says nothing");
    let why = why.strip_prefix("istiod is not reachable: ").unwrap_or(why);
    Some(Found::that(format!("istiod does not answer: {why}")).since(Some(away)))
}

fn stream_away(of: &Snapshot) -> Option<Found> {
    // The agent's own stream tells of an istiod that is away altogether.
    let answers = of.istiod.as_ref()?.away.is_none();
    let relay = of.relay.as_ref().filter(|relay| answers && relay.attempts > 1)?;
    Some(Found::that(format!("Envoy's stream is not answered: {}", relay.trouble.as_ref()?)))
}

fn stale(of: &Snapshot) -> Option<Found> {
    let stale = of.relay.as_ref()?.stale.as_ref()?;
    let found = "stale: works with what it took before, and nobody confirms it";
    Some(Found::that(found).since(Some(stale.since)))
}

fn envoy_gone(of: &Snapshot) -> Option<Found> {
    if !of.wanted.envoy {
        return None;
    }
    let envoy = of.envoy.as_ref()?;
    match envoy.state.as_str() {
        "elsewhere" => {}
        "restarting" | "stopped" => {
            return Some(Found::that(format!("Envoy is {}", envoy.state)).next(JOURNAL));
        }
        _ => return None,
    }
    let Some(unit) = &of.units.envoy else {
        let answers = envoy.says.as_ref().is_some_and(|says| says.server.is_some());
        return (!answers)
            .then(|| Found::that("Envoy was not started").next("systemctl start hawser-envoy"));
    };
    let missing = unit.missing()?;
    Some(match &unit.ended {
        Some(envoy::EndedStatus { at, remedy, .. }) => {
            Found::that(format!("{missing}; {remedy}")).since(Some(*at))
        }
        None => Found::that(missing).next("systemctl start hawser-envoy"),
    })
}

fn envoy_starting(of: &Snapshot) -> Option<Found> {
    let says = of.envoy.as_ref()?.says.as_ref().filter(|says| !says.ready)?;
    let server = says.server.as_deref()?;
    let starts = ["PRE_INITIALIZING", "INITIALIZING"].contains(&server);
    let reason = says.reason.as_deref().unwrap_or("it is not ready");
    let since = of.units.envoy.as_ref().and_then(|unit| unit.since);
    let found = Found::that(format!("Envoy starts: {reason}")).since(since);
    let long = of.at.saturating_sub(since.unwrap_or(of.since)) > SOON;
    starts.then(|| if long { found.next(DOCTOR) } else { found })
}

fn envoy_not_ready(of: &Snapshot) -> Option<Found> {
    let says = of.envoy.as_ref()?.says.as_ref().filter(|says| !says.ready)?;
    // What is told already.
    if envoy_gone(of).is_some() || envoy_starting(of).is_some() || of.draining.is_some() {
        return None;
    }
    let reason = says.reason.as_deref().unwrap_or("it does not say why");
    Some(Found::that(format!("Envoy is not ready: {reason}")))
}

fn old_bootstrap(of: &Snapshot) -> Option<Found> {
    let refused = of.units.envoy.as_ref()?.refused.as_ref()?;
    let what = format!("Envoy runs with its last bootstrap; the newest is no good: {refused}");
    Some(Found::that(what))
}

fn envoy_refuses(of: &Snapshot) -> Option<Found> {
    let refused = of.relay.as_ref()?.types.iter().filter(|(_, seen)| seen.refuses);
    let refused: Vec<_> = refused.collect();
    let (type_url, seen) = refused.first()?;
    let why = seen.rejected.as_deref().unwrap_or("it does not say why");
    let name = super::mesh::short(type_url);
    let found = Found::that(format!("Envoy refuses {name}{}: {why}", and(refused.len())));
    let may_not_listen = why.contains("cannot bind") && why.contains("Permission denied");
    Some(if may_not_listen { found.next(LOW_PORTS) } else { found })
}

fn envoy_lacks(of: &Snapshot) -> Option<Found> {
    let lacks: Vec<_> = of.relay.as_ref()?.lacks.iter().filter(|lacks| lacks.passes).collect();
    let first = lacks.first()?;
    let (place, name, more) = (&first.place, &first.name, and(lacks.len()));
    let kind = super::mesh::short(&first.type_url);
    Some(Found::that(format!("Envoy cannot load {kind}{more}, refuses what holds {place} {name}")))
}

fn module_missing(of: &Snapshot) -> Option<Found> {
    let replaced = &of.relay.as_ref()?.replaced;
    let first = replaced.iter().find(|it| it.stops).or(replaced.first())?;
    let fate = if first.stops { "stops all traffic" } else { "lets traffic pass without it" };
    let (name, more, why) = (&first.name, and(replaced.len()), &first.reason);
    Some(Found::that(format!("filter {name}{more} {fate}, its module is not to be had: {why}")))
}

fn program_refuses(of: &Snapshot) -> Option<Found> {
    let refusing = &of.relay.as_ref()?.refusing;
    let first = refusing.first()?;
    let (who, more, why) = (&first.program, and(refusing.len()), &first.reason);
    let kind = super::mesh::short(&first.type_url);
    Some(Found::that(format!("program {who} refuses {kind}{more}: {why}")))
}

fn configuration_not_kept(of: &Snapshot) -> Option<Found> {
    let why = of.relay.as_ref()?.kept.trouble.as_ref()?;
    Some(Found::that(format!("configuration is not kept for a start without istiod: {why}")))
}

fn no_resolver(of: &Snapshot) -> Option<Found> {
    let none = of.dns.as_ref()?.resolvers.is_empty();
    none.then(|| Found::that("no resolver: names outside the mesh are not resolved"))
}

fn resolver_loops(of: &Snapshot) -> Option<Found> {
    let resolver = of.dns.as_ref()?.resolvers.iter().find(|resolver| resolver.looping)?;
    let address = resolver.address;
    Some(Found::that(format!("resolver {address} asks the agent back, so it is not asked")))
}

fn resolvers_silent(of: &Snapshot) -> Option<Found> {
    let resolvers = &of.dns.as_ref()?.resolvers;
    let silent = |state: &str| state == "silent";
    let all = !resolvers.is_empty() && resolvers.iter().all(|it| silent(&it.state));
    let first = resolvers.first().filter(|_| all)?;
    let why = first.last_error.as_deref().unwrap_or("no answer");
    Some(Found::that(format!("no resolver answers: {}: {why}", first.address)))
}

fn rules_missing(of: &Snapshot) -> Option<Found> {
    if !of.wanted.rules {
        return None;
    }
    let Some(report) = &of.units.intercept else {
        let what = "nothing is redirected: hawser-intercept.service has told of no rules";
        return Some(Found::that(what).next("systemctl start hawser-intercept"));
    };
    let found = Found::that(report.missing()?).since(Some(report.since));
    Some(match report.phase {
        _ if report.trouble.is_some() => found,
        Phase::Waiting | Phase::Holding | Phase::Lifted => {
            found.next("journalctl -u hawser-envoy -n 50 # the rules wait for Envoy")
        }
        Phase::Reverted => found.next("hawser intercept apply"),
        _ => found,
    })
}

fn rules_drifted(of: &Snapshot) -> Option<Found> {
    let intercept::Status { drift, repairs, .. } = of.units.intercept.as_ref()?;
    let drift = drift.as_ref().filter(|it| of.at.saturating_sub(it.at) < LATELY)?;
    let what = format!("somebody changed the rules ({}), put back {repairs} times", drift.what);
    Some(Found::that(what).since(Some(drift.at)))
}

fn unwell(of: &Snapshot) -> Option<Found> {
    let health = of.health.as_ref().filter(|health| !health.well)?;
    // What is told already.
    if of.draining.is_some() || of.maintenance.is_some() {
        return None;
    }
    let why = health.reason.as_deref().unwrap_or("no reason given");
    Some(Found::that(format!("not well, so the mesh sends no traffic here: {why}")))
}

fn files_not_written(of: &Snapshot) -> Option<Found> {
    let why = of.identity.export.as_ref()?.trouble.as_ref()?;
    Some(Found::that(format!("files for other programs are not written: {why}")))
}

/// How many more there are of it.
fn and(count: usize) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}

const LOW_PORTS: &str = "cat /usr/share/hawser/low-ports.conf # lets Envoy listen below 1024; or set services.low_ports";
const DOCTOR: &str = "hawser doctor";
const NEW_TOKEN: &str = "hawser join BUNDLE # a new bundle brings a new token";
const JOURNAL: &str = "journalctl -u hawser -n 50";
/// How long istiod may be away unnoticed, in seconds: it ends each connection now and then.
const BRIEFLY: u64 = 5;
/// How long an Envoy may take to be ready before it is worth a look, in seconds.
const SOON: u64 = 60;
/// For how long rules that were put back are a trouble, in seconds.
const LATELY: u64 = 600;
