//! What passes through the agent: certificates and configuration, and what is kept of them.

use std::time::SystemTime;

use hawser_envoy::unit::Unit;

use super::{
    super::{Finding, Outcome, Patient},
    silent, some,
};
use crate::{
    cli::span::span,
    status::{RelayStatus, TypeStatus},
};

/// Who may not, and has tried.
pub(super) fn strangers(patient: &Patient) -> Finding {
    let relay = match relay(patient) {
        Ok(relay) => relay,
        Err(finding) => return finding,
    };
    match relay.refused_peers {
        0 => Finding::ok("nobody was turned away"),
        count => Finding::warning(
            format!("{count} connections to the agent's sockets were refused"),
            "`journalctl -u hawser -g refused` names the user; if that is Envoy's, set envoy.user",
        )
        .because("only root, the agent's own user and envoy.user may connect"),
    }
}

/// Certificates.
pub(super) fn secrets(patient: &Patient) -> Finding {
    let Some(snapshot) = &patient.snapshot else { return silent() };
    let secrets = &snapshot.secrets;
    let (streams, accepted, rejected) = (secrets.streams, secrets.accepted, secrets.rejected);
    let said = format!("{streams} streams; {accepted} secrets taken, {rejected} refused");
    if rejected > 0 && accepted == 0 {
        return Finding::failed(
            format!("Envoy refuses its certificates: {said}"),
            "`journalctl -u hawser-envoy -g -i secret` says why; `hawser identity renew` makes new ones",
        );
    }
    if streams == 0 && envoy_runs(patient) {
        return Finding::warning(
            format!("Envoy runs and asks for no certificate: {said}"),
            "`systemctl restart hawser-envoy`",
        )
        .because(
            "it was started with another bootstrap, or nothing in its configuration needs one",
        );
    }
    Finding::ok(said)
}

fn envoy_runs(patient: &Patient) -> bool {
    let started = Unit::under(patient.paths.root()).started();
    let led = patient.snapshot.as_ref().and_then(|snapshot| snapshot.envoy.as_ref()?.pid);
    let pid = started.map(|started| started.pid).or(led);
    pid.is_some_and(|pid| patient.file(&format!("/proc/{pid}/comm")).exists())
}

/// Configuration.
pub(super) fn accepted(patient: &Patient) -> Finding {
    let relay = match relay(patient) {
        Ok(relay) => relay,
        Err(finding) => return finding,
    };
    let refused: Vec<_> = relay.types.iter().filter(|(_, seen)| seen.refuses).collect();
    if let Some((type_url, seen)) = refused.first() {
        let others: Vec<_> = refused.iter().skip(1).map(|(url, _)| short(url)).collect();
        let mut said = format!("Envoy refuses {} {}", short(type_url), version(seen));
        if !others.is_empty() {
            said.push_str(&format!(", and {}", others.join(", ")));
        }
        let why = seen.rejected.clone().unwrap_or_else(|| "it does not say why".to_owned());
        return Finding::failed(
            said,
            "mend what makes it in the mesh (an EnvoyFilter, as a rule): `istioctl analyze`; \
             meanwhile Envoy works with what it took before: `hawser xds show`",
        )
        .because(why);
    }
    if let Some(program) = relay.refusing.first() {
        return Finding::warning(
            format!("{} refuses {}", program.program, short(&program.type_url)),
            "see what that program supports of xDS",
        )
        .because(program.reason.clone());
    }
    let taken = relay.types.values().filter(|seen| seen.accepted.is_some()).count();
    Finding::ok(format!("{taken} types of configuration were taken"))
}

fn version(seen: &TypeStatus) -> String {
    let sent = seen.sent.as_ref();
    sent.map(|sent| format!("version {}", sent.version)).unwrap_or_default()
}

/// `type.googleapis.com/envoy.config.listener.v3.Listener` as `Listener`.
fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}

/// Whether istiod stands by it.
pub(super) fn fresh(patient: &Patient) -> Finding {
    let relay = match relay(patient) {
        Ok(relay) => relay,
        Err(finding) => return finding,
    };
    let Some(stale) = &relay.stale else {
        return match &relay.source {
            Some(source) => Finding::ok(format!("{source} confirms it")),
            None => Finding::ok("Envoy has asked for none yet"),
        };
    };
    let now = patient.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (of, since) = (now.saturating_sub(stale.of), now.saturating_sub(stale.since));
    let finding = Finding::warning(
        format!(
            "Envoy works with what it took {} ago, and nobody has confirmed it for {}",
            span(of.cast_signed()),
            span(since.cast_signed())
        ),
        "`hawser doctor --only istiod` says why istiod does not answer",
    );
    match &relay.trouble {
        Some(trouble) => finding.because(trouble.clone()),
        None => finding,
    }
}

/// What Envoy cannot load.
pub(super) fn whole(patient: &Patient) -> Finding {
    let relay = match relay(patient) {
        Ok(relay) => relay,
        Err(finding) => return finding,
    };
    let stopped: Vec<String> = relay
        .replaced
        .iter()
        .map(|it| {
            format!(
                "{} ({}): {}",
                it.name,
                if it.stops { "nothing passes" } else { "left out" },
                it.reason
            )
        })
        .collect();
    if !stopped.is_empty() {
        let finding = Finding::warning(
            format!("modules of filters are not to be had: {}", some(&stopped)),
            "see that the address of the module is right and can be reached from this machine",
        );
        return match relay.replaced.iter().any(|it| it.stops) {
            true => Finding { result: Outcome::Failed, ..finding },
            false => finding,
        };
    }
    let passed = relay.lacks.iter().filter(|lacks| lacks.passes);
    let passed: Vec<String> =
        passed.map(|it| format!("{} in {} ({})", it.name, it.place, it.type_url)).collect();
    if !passed.is_empty() {
        return Finding::warning(
            format!("this Envoy has no {}", some(&passed)),
            "install Istio's build of Envoy (envoy.binary), or take that out of the mesh's configuration",
        )
        .because("what it cannot load, it refuses with all that holds it");
    }
    if relay.unreadable > 0 {
        return Finding::warning(
            format!(
                "{} messages of istiod's could not be read, and were kept from Envoy",
                relay.unreadable
            ),
            "see what stands between this machine and istiod: a proxy, a load balancer",
        );
    }
    match relay.lacks.len() {
        0 => Finding::ok("everything is loaded"),
        left => Finding::ok(format!(
            "{left} parts that only Istio's build has are left out, as they can be"
        )),
    }
}

/// What there is for a start without istiod.
pub(super) fn kept(patient: &Patient) -> Finding {
    let dir = patient.paths.last_good();
    let at = dir.display();
    if let Ok(relay) = relay(patient) {
        let kept = &relay.kept;
        return match &kept.trouble {
            Some(trouble) => Finding::warning(
                format!("configuration is not kept in {at}: {trouble}"),
                format!("`df {at}; ls -la {at}`: it has to be the agent's, with room; then `systemctl restart hawser`"),
            )
            .because("after a reboot without istiod there would be an older one, or none"),
            None => Finding::ok(format!("{} resources, {} bytes in {at}", kept.resources, kept.bytes)),
        };
    }
    if patient.config.as_ref().is_ok_and(|config| config.identity.only) {
        return Finding::ok("identity.only is true: there is nothing to keep");
    }
    match std::fs::read_dir(&dir) {
        Ok(files) => Finding::ok(format!("{} files in {at}", files.count())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::warning(
            format!("nothing is kept in {at}"),
            "`systemctl start hawser hawser-envoy`",
        )
        .because("Envoy has not taken any configuration on this machine yet"),
        Err(error) => Finding::unknown(patient.unseen(&at.to_string(), &error)),
    }
}

/// The flow of configuration, if there is one.
fn relay(patient: &Patient) -> Result<&RelayStatus, Finding> {
    let snapshot = patient.snapshot.as_ref().ok_or_else(silent)?;
    let only = || Finding::ok("identity.only is true: this agent only keeps certificates");
    snapshot.relay.as_ref().ok_or_else(only)
}
