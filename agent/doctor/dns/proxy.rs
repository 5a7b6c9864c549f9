//! The agent's own part: its port, its answers, its names, and whom it relays to.

use std::{net::SocketAddr, time::Duration};

use hawser_dns::sign;
use tokio::time::timeout;

use super::{
    super::{
        Finding, Patient,
        agent::some,
        ports::{self, Over},
    },
    settings,
};
use crate::{cli::span::span, status::DnsStatus};

/// What the agent says of its names; else what there is to say.
fn status(patient: &Patient) -> Result<&DnsStatus, Finding> {
    settings(patient)?;
    let snapshot = patient.snapshot.as_ref();
    let snapshot = snapshot.ok_or_else(|| Finding::unknown("the agent does not answer"))?;
    let off = || Finding::ok("the agent that runs answers no names");
    snapshot.dns.as_ref().ok_or_else(off)
}

/// Who has the addresses that it is to listen on.
pub(super) fn port(patient: &Patient) -> Finding {
    let dns = match settings(patient) {
        Ok(dns) => dns,
        Err(finding) => return finding,
    };
    let running = patient.snapshot.as_ref().and_then(|snapshot| snapshot.dns.as_ref());
    let listen = running.map_or(&dns.listen, |running| &running.listen);
    let both = [Over::Udp, Over::Tcp].map(|over| ports::listeners(patient, over));
    let [Some(udp), Some(tcp)] = both else {
        return Finding::unknown("the kernel does not show who listens");
    };
    let agent = patient.snapshot.as_ref().map(|snapshot| snapshot.pid);
    let mut ours = Vec::new();
    for address in listen.iter().filter(|address| address.port() != 0) {
        let mut there = ports::at(&udp, *address);
        there.extend(ports::at(&tcp, *address));
        let holders = ports::holders(patient, &there);
        let is_ours = |one: &ports::Process| Some(one.pid) == agent || one.name == "hawser";
        if there.is_empty() || ports::leaves(patient, &holders) {
            continue;
        }
        if holders.iter().any(is_ours) || (holders.is_empty() && agent.is_some()) {
            ours.push(address.to_string());
            continue;
        }
        if let Some(unseen) = ports::unseen(patient, &holders, &address.to_string()) {
            return unseen;
        }
        let who = ports::told(patient, &there);
        return Finding::failed(
            format!("{who} has {address}, where the agent is to answer DNS"),
            format!("stop it, or set dns.listen in {}", patient.paths.toml().display()),
        )
        .because(because(&who, address));
    }
    let all: Vec<String> = listen.iter().map(ToString::to_string).collect();
    match (ours.is_empty(), agent.is_some()) {
        (false, _) => Finding::ok(format!("the agent listens on {}", some(&ours))),
        (true, false) => Finding::ok(format!("{} is free", some(&all))),
        (true, true) => {
            Finding::unknown(format!("nobody listens on {} as seen from here", some(&all)))
        }
    }
}

fn because(who: &str, address: &SocketAddr) -> String {
    if who.contains("systemd-resolve") && address.port() == 53 {
        return "systemd-resolved has 127.0.0.53:53 for itself: with dns.mode = \"resolved\" the \
                agent needs no port 53"
            .to_owned();
    }
    "the agent does not start where another has its port".to_owned()
}

/// Asks each address whether anybody lives behind it.
pub(super) async fn answers(patient: &Patient) -> Finding {
    let status = match status(patient) {
        Ok(status) => status,
        Err(finding) => return finding,
    };
    for address in &status.listen {
        let error = match timeout(PATIENCE, sign::of_life(*address)).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_late) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        return Finding::failed(
            format!("{address} does not answer: {error}"),
            "`journalctl -u hawser -n 50`; `systemctl restart hawser`",
        )
        .because("a thread of the agent stands still, or a rule of a firewall drops loopback");
    }
    let all: Vec<String> = status.listen.iter().map(ToString::to_string).collect();
    Finding::ok(format!("{} answer", some(&all)))
}

/// What it knows, and how old that is.
pub(super) fn table(patient: &Patient) -> Finding {
    let status = match status(patient) {
        Ok(status) => status,
        Err(finding) => return finding,
    };
    let Some(table) = &status.table else {
        return Finding::failed(
            "no names of the mesh are known",
            "`hawser doctor --only istiod` says why istiod sends none",
        )
        .because("istiod has sent none since this machine joined, so none are kept either");
    };
    let now = patient.now.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    let age = now.as_secs().saturating_sub(table.at).cast_signed();
    let said = format!("{} hosts, {} names, from {} ago", table.hosts, status.names, span(age));
    if table.stale {
        return Finding::warning(
            format!("{said}; istiod has not confirmed them since"),
            "`hawser doctor --only istiod` says why istiod does not answer",
        )
        .because("they are those that were kept, and services may have moved");
    }
    Finding::ok(said)
}

/// Who answers for names outside the mesh.
pub(super) fn upstreams(patient: &Patient) -> Finding {
    let status = match status(patient) {
        Ok(status) => status,
        Err(finding) => return finding,
    };
    let remedy = "see that they can be reached, or name others in dns.upstreams";
    if status.resolvers.is_empty() {
        return Finding::failed("there is nobody to relay names outside the mesh to", remedy);
    }
    let lost = |state: &str| matches!(state, "silent" | "looping");
    let told = |lost_ones: bool| -> Vec<String> {
        let resolvers = status.resolvers.iter();
        let wanted = resolvers.filter(|one| lost(&one.state) == lost_ones);
        wanted
            .map(|one| match &one.last_error {
                Some(error) if lost_ones => format!("{} {} ({error})", one.address, one.state),
                _ => format!("{} {}", one.address, one.state),
            })
            .collect()
    };
    let (good, silent) = (told(false), told(true));
    match (good.is_empty(), silent.is_empty()) {
        (_, true) => Finding::ok(some(&good)),
        (true, false) => Finding::failed(format!("none answers: {}", some(&silent)), remedy)
            .because("names outside the mesh are not resolved, but for what is kept"),
        (false, false) => {
            Finding::warning(format!("{}; but {}", some(&good), some(&silent)), remedy)
                .because("it is asked again from time to time, and others meanwhile")
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(3);
