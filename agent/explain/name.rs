//! What a name resolves to on this machine, and who says so.

use std::net::IpAddr;

use hawser_dns::explain::{Does, Rule};
use serde_json::json;

use super::{Kind, Step};
use crate::status::{dns::Explained, services::ServiceRow};

/// What is known of a name.
#[derive(Debug, Clone)]
pub struct Known {
    /// What the agent says, or what it has kept says.
    pub told: Explained,
    /// What came from resolvers, where the name is relayed.
    pub resolved: Result<Vec<IpAddr>, String>,
    /// What the file of services says of its host, if it does.
    pub listed: Vec<ServiceRow>,
}

/// Where the program connects to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The addresses, the first tried first.
    pub addresses: Vec<IpAddr>,
    /// Whether the mesh knows the name and has said them.
    pub ours: bool,
}

/// The step, and what it leads to.
pub fn step(known: &Known) -> (Step, Resolved) {
    let told = &known.told.explanation;
    let name = told.name.trim_end_matches('.');
    if let Some(line) = known.told.hosts.first() {
        let addresses: Vec<IpAddr> = known.told.hosts.iter().map(|line| line.address).collect();
        let mut step =
            Step::new(Kind::Name, format!("/etc/hosts, line {}: {}", line.line, list(&addresses)))
                .facts(json!({ "source": "hosts", "addresses": addresses }));
        if told.does == Does::Answers && told.addresses != addresses {
            step =
                step.and(format!("the mesh would say {}, and is not asked", list(&told.addresses)));
        }
        return (step, Resolved { addresses, ours: false });
    }
    match told.does {
        Does::Answers => from_mesh(known, name),
        Does::Relays => from_resolvers(known, name),
        Does::Refuses | Does::Drops => {
            let code = told.code.clone().unwrap_or_default();
            let step = Step::new(Kind::Name, format!("the agent refuses {name}: {code}"))
                .facts(json!({ "source": "refused", "addresses": [] }))
                .breaks("a program is told that there is no answer", next(name));
            (step, Resolved::default())
        }
    }
}

fn from_mesh(known: &Known, name: &str) -> (Step, Resolved) {
    let told = &known.told.explanation;
    let matched = told.matched.as_deref().unwrap_or(name);
    let why = match told.rule {
        Rule::Host => "a host of the mesh".to_owned(),
        Rule::Alias => format!("{matched} is another name of a host of the mesh"),
        Rule::Wildcard => format!("by {matched}"),
        _ => "the mesh answers it".to_owned(),
    };
    let registry = told.entry.as_ref().map(|entry| format!(" ({})", entry.registry));
    let why = format!("{why}{}", registry.unwrap_or_default());
    let stale = known.told.table.as_ref().filter(|table| table.stale);
    let addresses = told.addresses.clone();
    let what = match addresses.as_slice() {
        [] => format!("the mesh knows {name}, and no address of it"),
        some => format!("the mesh says {}", list(some)),
    };
    let entry = told.entry.as_ref().map(|entry| entry.host.clone());
    // Of a name that istiod has too, whoever wins has said the address.
    let ours = |row: &&ServiceRow| row.address.is_some_and(|own| addresses.contains(&own));
    let listed: Vec<&ServiceRow> = known.listed.iter().filter(ours).collect();
    let source = if listed.is_empty() { "mesh" } else { "file" };
    let mut step = Step::new(Kind::Name, what).and(why).facts(json!({
        "source": source, "addresses": addresses, "host": entry, "stale": stale.is_some(),
        "services": listed,
    }));
    for row in listed.iter().take(MOST) {
        step = step.and(format!("{}: {} on port {}", row.place, row.protocol, row.local_port));
    }
    if let Some(domain) = &told.search_domain {
        step = step.and(format!("with the search domain {domain} taken off its end"));
    }
    if stale.is_some() {
        step = step.and("from names that were kept; istiod has not spoken since");
    }
    if addresses.is_empty() {
        step = step.breaks("a program is told that there is no address", next(name));
    }
    (step, Resolved { addresses, ours: true })
}

fn from_resolvers(known: &Known, name: &str) -> (Step, Resolved) {
    let told = &known.told.explanation;
    let why = match told.rule {
        Rule::Excluded => "dns.exclude keeps the mesh out of it",
        Rule::NoTable => "nothing is known of the mesh yet",
        _ => "the mesh does not know it",
    };
    match &known.resolved {
        Ok(addresses) if !addresses.is_empty() => {
            let step = Step::new(Kind::Name, format!("resolvers say {}", list(addresses)))
                .and(why)
                .facts(json!({ "source": "resolvers", "addresses": addresses }));
            (step, Resolved { addresses: addresses.clone(), ours: false })
        }
        Ok(_none) => (none(name, why, "resolvers know no address of it"), Resolved::default()),
        Err(reason) => (none(name, why, &format!("resolvers: {reason}")), Resolved::default()),
    }
}

fn none(name: &str, why: &str, reason: &str) -> Step {
    Step::new(Kind::Name, format!("no answer for {name}"))
        .and(why)
        .and(reason)
        .facts(json!({ "source": "resolvers", "addresses": [] }))
        .breaks("the name does not resolve", next(name))
}

fn next(name: &str) -> String {
    format!("hawser dns explain {name}")
}

/// So many ports of a host are told.
const MOST: usize = 4;

/// Addresses in a line.
pub fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn known(told: &Value, resolved: Result<Vec<IpAddr>, String>) -> Known {
        let mut whole = json!({
            "name": "hello.demo.", "kind": 1, "rule": "host", "matched": "hello.demo.",
            "search_domain": null, "entry": null, "tried": [], "does": "answers",
            "code": "NOERROR", "addresses": [], "kept": null,
            "table": null, "resolvers": [], "hosts": [], "neighbours": [],
        });
        for (key, value) in told.as_object().unwrap() {
            whole[key] = value.clone();
        }
        Known { told: serde_json::from_value(whole).unwrap(), resolved, listed: Vec::new() }
    }

    #[test]
    fn a_name_of_the_file_of_services_is_told_with_its_place() {
        let row = |address: &str| ServiceRow {
            host: "hello.demo".to_owned(),
            aliases: Vec::new(),
            port: 80,
            local_port: 8080,
            protocol: "http".to_owned(),
            address: address.parse().ok(),
            identities: Vec::new(),
            subset: String::new(),
            gateways: Vec::new(),
            sni: String::new(),
            place: "/etc/hawser/services.yaml:7".to_owned(),
        };
        let mut known = known(&json!({ "addresses": ["127.240.0.1"] }), Ok(vec![]));
        known.listed = vec![row("127.240.0.1")];
        let (said, _) = step(&known);
        assert_eq!(said.more[1], "/etc/hawser/services.yaml:7: http on port 8080");
        assert_eq!(said.facts["source"], "file");

        // Where istiod is believed, it is not the file that says it.
        known.listed = vec![row("127.240.0.9")];
        let (said, _) = step(&known);
        assert_eq!((said.more.len(), &said.facts["source"]), (1, &json!("mesh")));
    }

    #[test]
    fn whoever_answers_first_is_told_and_what_leads_nowhere_breaks() {
        let there = || Ok(vec!["192.0.2.7".parse().unwrap()]);
        let relays = json!({ "does": "relays", "rule": "unknown" });
        let hosts = json!({ "addresses": ["10.96.0.10"], "hosts": [{ "line": 3, "address": "192.0.2.9" }] });
        let cases = [
            (
                json!({ "addresses": ["10.96.0.10"] }),
                Ok(vec![]),
                "the mesh says 10.96.0.10",
                true,
                false,
            ),
            (json!({}), Ok(vec![]), "the mesh knows hello.demo, and no address of it", true, true),
            (hosts, Ok(vec![]), "/etc/hosts, line 3: 192.0.2.9", false, false),
            (relays.clone(), there(), "resolvers say 192.0.2.7", false, false),
            (relays.clone(), Ok(vec![]), "no answer for hello.demo", false, true),
            (relays, Err("NXDOMAIN".to_owned()), "no answer for hello.demo", false, true),
            (
                json!({ "does": "refuses", "code": "REFUSED" }),
                Ok(vec![]),
                "the agent refuses hello.demo: REFUSED",
                false,
                true,
            ),
        ];
        for (told, resolved, what, ours, breaks) in cases {
            let (step, found) = step(&known(&told, resolved));
            assert_eq!(
                (step.what.as_str(), found.ours, step.breaks.is_some()),
                (what, ours, breaks)
            );
            assert_eq!(found.addresses.is_empty(), breaks, "{what}");
        }
    }

    #[test]
    fn what_hosts_hide_is_told() {
        let told = json!({ "addresses": ["10.96.0.10"], "hosts": [{ "line": 3, "address": "192.0.2.9" }] });
        let (step, _) = step(&known(&told, Ok(vec![])));
        assert_eq!(step.more, ["the mesh would say 10.96.0.10, and is not asked"]);
    }
}
