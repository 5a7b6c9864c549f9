//! The file of services: what of it is in use, and the ways into the mesh.

use super::{
    super::page::{Hue, Page},
    ago, count,
};
use crate::status::{ServicesStatus, Snapshot};

/// Nothing where there is no file.
pub(super) fn services(page: &mut Page, of: &Snapshot) {
    let Some(services) = &of.services else { return };
    let standing = match (services.is_alone(), services.wins.as_str()) {
        (true, _) => ", standalone: no istiod".to_owned(),
        (false, "mesh") => ", beside istiod, which wins".to_owned(),
        (false, _) => ", beside istiod; the file wins".to_owned(),
    };
    let hue = if services.problems.is_empty() { Hue::Plain } else { Hue::Warning };
    let text = format!("{} of {}", services.services, services.file);
    page.fit("services", hue, &text, &standing);
    page.row("", Hue::Faint, &since(of.at, services));
    page.row("", Hue::Plain, &ways(services));
    if let Some(doors) = doors(services) {
        page.row("", Hue::Plain, &doors);
    }
    if let Some(first) = services.conflicts.first() {
        let names = count(number(services.conflict_count), "name");
        let who = if services.wins == "mesh" { "istiod" } else { "the file" };
        let text = format!("{names} that istiod has too, as {who} says: {first}");
        page.row("", Hue::Warning, &text);
    }
}

fn since(now: u64, services: &ServicesStatus) -> String {
    let hosts = count(number(services.hosts), "host");
    let whence = if services.kept { "kept from before, in use" } else { "in use" };
    format!("{hosts}, {whence} for {}", ago(now, services.since))
}

/// Who leads to the mesh.
fn ways(services: &ServicesStatus) -> String {
    match services.gateways.as_slice() {
        [] => "no gateway".to_owned(),
        [one] => format!("through {}", one.address),
        [first, ..] => {
            let more = services.gateway_count.saturating_sub(1);
            format!("through {} and {}", first.address, count(number(more), "other"))
        }
    }
}

/// Who may come from where.
fn doors(services: &ServicesStatus) -> Option<String> {
    let others = services.forwarder.map(|address| format!("forwards for others at {address}"));
    let ports = count(number(services.inbound), "port");
    let mesh = (services.inbound > 0).then(|| format!("{ports} open to the mesh"));
    let all: Vec<String> = others.into_iter().chain(mesh).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn number(many: usize) -> u64 {
    many.try_into().unwrap_or(u64::MAX)
}
