//! What would be redirected on this machine by a bundle, in a few lines.

use hawser_intercept::plan::{Gate, Plan, Ports, Taken};
use hawser_node::addresses;

use crate::{
    config::{Config, source},
    options,
};

/// A line for each way that is redirected, then what does not do what it seems to.
pub(super) fn summary(config: &Config) -> Vec<String> {
    if !config.intercept.enabled || config.identity.only {
        return vec!["none: intercept.enabled is false".to_owned()];
    }
    let wanted = options::intercept(config);
    let here = addresses::order(config.node.ip, None, &source::addresses());
    let machine = options::intercept::machine(config, &here);
    let (plan, warnings) = Plan::new(&wanted, &machine);
    let way = |gate: &Gate| match gate {
        Gate::Outbound => format!(
            "out: TCP to {} goes to Envoy, port {}",
            listed(&wanted.outbound.networks, ToString::to_string),
            wanted.envoy.outbound
        ),
        Gate::Inbound => format!(
            "in: TCP to ports {} goes to Envoy, port {}",
            listed(&wanted.inbound.ports, ports),
            wanted.envoy.inbound
        ),
        Gate::Dns => "names: questions go to the agent".to_owned(),
    };
    let mut lines: Vec<String> = plan.gates().iter().map(way).collect();
    if lines.is_empty() {
        lines.push("none: nothing is to be redirected".to_owned());
    }
    lines.extend(warnings.iter().map(ToString::to_string));
    lines.extend(config.intercept.unheeded.iter().cloned());
    lines
}

fn listed<T>(taken: &Taken<T>, text: impl Fn(&T) -> String) -> String {
    match taken {
        Taken::All => "*".to_owned(),
        Taken::Only(named) => named.iter().map(text).collect::<Vec<_>>().join(","),
    }
}

fn ports(ports: &Ports) -> String {
    match (ports.first, ports.last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}
