//! What comes from istiod: configuration, names; and what it is told.

use super::{
    super::super::dns::explain::resolver,
    super::page::{Hue, Page},
    ago, count,
};
use crate::status::{DnsStatus, RelayStatus, Snapshot, TypeStatus, mesh::short};

/// Who answers, since when, and when it last spoke.
pub(super) fn istiod(page: &mut Page, of: &Snapshot) {
    let Some(istiod) = &of.istiod else { return };
    let peer = istiod.peer.as_ref().filter(|_| istiod.connected).unwrap_or(&istiod.address);
    match (istiod.since, istiod.away) {
        (Some(since), None) => {
            page.fit("istiod", Hue::Plain, peer, &format!(" for {}", ago(of.at, since)));
        }
        (_, Some(away)) => {
            let rest = format!(", no answer for {}", ago(of.at, away));
            page.fit("istiod", Hue::Bad, peer, &rest);
        }
        (None, None) => page.fit("istiod", Hue::Warning, peer, ", not connected"),
    }
    let heard = istiod.heard.map_or_else(
        || "it has not sent anything yet".to_owned(),
        |heard| format!("last message {} ago", ago(of.at, heard)),
    );
    let failovers = match istiod.failovers {
        0 => String::new(),
        many => format!(", {}", count(many, "failover")),
    };
    page.row("", Hue::Faint, &format!("{heard}{failovers}"));
}

/// As what istiod knows the machine, and how that is.
pub(super) fn registration(page: &mut Page, of: &Snapshot) {
    let Some(mesh) = &of.registration else { return };
    let namespace = mesh.namespace.as_deref().unwrap_or("no namespace");
    let mut text = match &mesh.group {
        Some(group) => format!("group {group} in {namespace}"),
        None => format!("in {namespace}, in no group"),
    };
    text.push_str(&format!(" at {}", mesh.address.as_deref().unwrap_or("no address")));
    if let Some(network) = &mesh.network {
        text.push_str(&format!(" on {network}"));
    }
    let since = match (&mesh.group, mesh.since) {
        (Some(_), Some(since)) => format!(", registered for {}", ago(of.at, since)),
        (Some(_), None) => ", not registered now".to_owned(),
        (None, _) => String::new(),
    };
    page.fit("mesh", Hue::Plain, &text, &since);
    let (hue, told) = match &of.health {
        None if mesh.group.is_some() => {
            (Hue::Faint, "not probed: the mesh takes it for healthy".to_owned())
        }
        None => return,
        Some(health) if health.well && mesh.since.is_some() => {
            (Hue::Plain, "well, and istiod was told so".to_owned())
        }
        Some(health) if health.well => {
            (Hue::Plain, "well, and istiod is not there to hear it".to_owned())
        }
        Some(health) => {
            let reason = health.reason.as_deref().unwrap_or("no reason given");
            (Hue::Bad, format!("not well, so the mesh sends no traffic here: {reason}"))
        }
    };
    page.row("health", hue, &told);
}

/// What Envoy has taken, by type.
pub(super) fn config(page: &mut Page, of: &Snapshot) {
    let Some(relay) = &of.relay else { return };
    let (hue, text) = standing(of, relay);
    page.row("config", hue, &text);
    for (type_url, seen) in relay.types.iter().take(MOST) {
        columns(page, of.at, type_url, seen);
    }
    if relay.types.len() > MOST {
        page.row("", Hue::Faint, &format!("and {} more types", relay.types.len() - MOST));
    }
    let spared = relay.lacks.iter().filter(|lacks| !lacks.passes).count();
    if spared > 0 {
        let kinds = count(spared.try_into().unwrap_or(u64::MAX), "extension");
        page.row("", Hue::Faint, &format!("{kinds} left out that this Envoy cannot load"));
    }
    if relay.refused_peers > 0 {
        let strangers = count(relay.refused_peers, "stranger");
        page.row("", Hue::Faint, &format!("{strangers} were refused at its sockets"));
    }
}

fn standing(of: &Snapshot, relay: &RelayStatus) -> (Hue, String) {
    if let Some(stale) = &relay.stale {
        let (old, since) = (ago(of.at, stale.of), ago(of.at, stale.since));
        let text = format!("stale: works with what it took up to {old} ago, for {since}");
        return (Hue::Warning, text);
    }
    let envoys = relay.streams.saturating_sub(relay.programs);
    let taken = relay.types.values().any(|seen| seen.accepted.is_some());
    let missing = if of.wanted.envoy { Hue::Warning } else { Hue::Plain };
    let (hue, text) = match (envoys, relay.joined) {
        (0, _) if of.wanted.envoy => (missing, "Envoy has not asked for any"),
        (0, _) => (missing, "nobody asks for any"),
        (_, 0) if taken => (missing, "what Envoy took before; istiod does not answer it now"),
        (_, 0) => (missing, "asked for, not answered by istiod"),
        _ => (Hue::Good, "fresh"),
    };
    let programs = match relay.programs {
        0 => String::new(),
        many => format!("; {} beside Envoy", count(many.try_into().unwrap_or(u64::MAX), "program")),
    };
    (hue, format!("{text}{programs}"))
}

fn columns(page: &mut Page, now: u64, type_url: &str, seen: &TypeStatus) {
    let name = match short(type_url) {
        "Cluster" => "clusters",
        "Listener" => "listeners",
        "ClusterLoadAssignment" => "endpoints",
        "RouteConfiguration" => "routes",
        "ScopedRouteConfiguration" => "scopes",
        "TypedExtensionConfig" => "extensions",
        other => other,
    };
    let taken = seen.accepted.as_ref();
    let resources = seen.kept.or(taken.map(|taken| taken.resources));
    let resources = resources.map_or_else(|| "-".to_owned(), |many| many.to_string());
    let (hue, state) = match (&seen.sent, taken) {
        _ if seen.refuses => (Hue::Bad, "the newest is refused".to_owned()),
        (Some(sent), Some(taken)) if sent.version != taken.version => {
            (Hue::Warning, format!("sent {} ago, not taken yet", ago(now, sent.at)))
        }
        (Some(sent), None) => {
            (Hue::Warning, format!("sent {} ago, not taken yet", ago(now, sent.at)))
        }
        (_, Some(taken)) => (Hue::Plain, format!("taken {} ago", ago(now, taken.at))),
        (None, None) => (Hue::Faint, "asked for, nothing came yet".to_owned()),
    };
    let version = taken.map_or("", |taken| taken.version.as_str());
    page.columns(hue, [name, &resources, version, &state]);
}

/// The names of the mesh, and what was asked.
pub(super) fn names(page: &mut Page, of: &Snapshot) {
    if of.relay.is_none() {
        return;
    }
    let whom = match &of.services {
        None => "istiod",
        Some(services) if services.is_alone() => "the file of services",
        Some(_) => "istiod and the file of services",
    };
    let kept = of.dns.as_ref().and_then(|dns| dns.table.as_ref());
    let (hue, text) = match (of.names, kept) {
        (_, Some(kept)) if kept.stale => {
            let old = ago(of.at, kept.at);
            let text =
                format!("{} kept, stale: {whom} said so {old} ago, and has not since", kept.hosts);
            (Hue::Warning, text)
        }
        (Some(names), Some(kept)) => {
            (Hue::Plain, format!("{names} from {whom}, {} ago", ago(of.at, kept.at)))
        }
        (Some(names), None) => (Hue::Plain, format!("{names} from {whom}")),
        (None, _) => (Hue::Warning, "none yet; every name is relayed".to_owned()),
    };
    page.row("names", hue, &text);
    if let Some(dns) = &of.dns {
        answers(page, dns);
    }
}

fn answers(page: &mut Page, dns: &DnsStatus) {
    let listen: Vec<String> = dns.listen.iter().map(ToString::to_string).collect();
    page.fit("dns", Hue::Plain, &listen.join(" "), &format!(", {} asked", dns.queries));
    let numbers = [
        (dns.answered, "mesh"),
        (dns.cached, "cached"),
        (dns.stale, "cached out of time"),
        (dns.upstream, "relayed"),
        (dns.relay_failed, "failed"),
        (dns.refused, "refused"),
        (dns.shed, "too many at once"),
        (dns.forbidden, "of strangers"),
    ];
    let told = |(many, what): &(u64, &str)| (*many > 0).then(|| format!("{many} {what}"));
    let told: Vec<String> = numbers.iter().filter_map(told).collect();
    if !told.is_empty() {
        page.row("", Hue::Plain, &told.join(", "));
    }
    for one in dns.resolvers.iter().take(FEW) {
        let hue = match one.state.as_str() {
            "good" | "new" => Hue::Plain,
            "slow" => Hue::Warning,
            _ => Hue::Bad,
        };
        page.row("", hue, &format!("resolver {}", resolver(one)));
    }
    if dns.resolvers.len() > FEW {
        page.row("", Hue::Faint, &format!("and {} more resolvers", dns.resolvers.len() - FEW));
    }
    for other in dns.neighbours.iter().take(FEW) {
        page.row("", Hue::Faint, &format!("{}: {}", other.who, other.meaning));
    }
}

/// Types that have a row.
const MOST: usize = 6;
const FEW: usize = 2;
