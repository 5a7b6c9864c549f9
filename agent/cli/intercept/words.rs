//! A plan in words: what goes to Envoy, what is spared, and why.

use hawser_intercept::{
    plan::{Family, Mode, Options, PREFERENCE, Ports, Routes, Spared, Taken},
    view,
};
use serde_json::{Value, json};

use super::around::Planned;

/// All of it.
pub(super) fn summary(planned: &Planned) -> Value {
    let Planned { settings, machine, plan, .. } = planned;
    let options = &settings.options;
    json!({
        "enabled": settings.enabled,
        "mode": match options.mode {
            Mode::Redirect => "redirect",
            Mode::Tproxy => "tproxy",
            Mode::None => "none",
        },
        "redirected": plan.gates().iter().map(|gate| gate.set()).collect::<Vec<_>>(),
        "waits_for_ports": view::needed(plan, options),
        "outbound": {
            "to": options.envoy.outbound,
            "networks": taken(&options.outbound.networks),
            "ports_whatever_the_network": ports(&options.outbound.ports),
            "not_networks": texts(&options.outbound.exclude),
            "not_ports": ports(&options.outbound.exclude_ports),
            "also": texts(&machine.vips),
        },
        "inbound": {
            "to": options.envoy.inbound,
            "ports": match &options.inbound.ports {
                Taken::All => json!("*"),
                Taken::Only(named) => ports(named),
            },
            "not_ports": ports(&options.inbound.exclude),
        },
        "names": options.dns.as_ref().map(|dns| json!({
            "to": texts(&dns.listen),
            "of": if dns.all { json!("*") } else { texts(&machine.resolvers) },
        })),
        "whose": whose(options),
        "never": {
            "users": machine.uids,
            "groups": machine.gids,
            "interfaces": options.interfaces.exclude,
        },
        "spared": options.spared.iter().map(|spared| json!({
            "name": spared.name(),
            "why": why(*spared),
        })).collect::<Vec<_>>(),
        "as_outbound": options.interfaces.virtuals,
        "families": { "ipv4": machine.ipv4, "ipv6": machine.ipv6 },
        "routes": routes(plan.routes()),
        "when_envoy_is_away": {
            "on_failure": settings.on_failure,
            "hold_seconds": settings.hold.as_secs(),
        },
        "warnings": planned.warnings(),
    })
}

/// What is needed beside the table, as the commands that would make it.
pub(super) fn routes(routes: &Routes) -> Vec<String> {
    let six = |family| if family == Family::V6 { "-6 " } else { "" };
    let rules = routes.rules.iter().map(|rule| {
        let (six, mark, table) = (six(rule.family), rule.mark, rule.table);
        format!("ip {six}rule add pref {PREFERENCE} fwmark {mark:#x} lookup {table}")
    });
    let local = routes.routes.iter().map(|route| {
        format!("ip {}route add local default dev lo table {}", six(route.family), route.table)
    });
    let addresses =
        routes.addresses.iter().map(|address| format!("ip address add {address} dev lo"));
    rules.chain(local).chain(addresses).collect()
}

fn whose(options: &Options) -> Value {
    let scope = &options.scope;
    json!({
        "users": taken(&scope.users),
        "groups": taken(&scope.groups),
        "units": taken(&scope.units),
        "not_users": scope.exclude_users,
        "not_groups": scope.exclude_groups,
        "not_units": scope.exclude_units,
    })
}

fn why(spared: Spared) -> &'static str {
    match spared {
        Spared::Ssh => "port 22, in and out: the way back to the machine",
        Spared::Own => "ports of the agent and of Envoy itself",
        Spared::Metadata => "the metadata servers of clouds: an identity of the machine's own",
        Spared::Time => "what sets the clock, without which no certificate holds",
    }
}

fn taken<T: ToString>(taken: &Taken<T>) -> Value {
    match taken {
        Taken::All => json!("*"),
        Taken::Only(named) => texts(named),
    }
}

fn texts<T: ToString>(all: &[T]) -> Value {
    all.iter().map(ToString::to_string).collect()
}

fn ports(all: &[Ports]) -> Value {
    let text = |ports: &Ports| match (ports.first, ports.last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    all.iter().map(text).collect()
}
