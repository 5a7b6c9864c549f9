//! Which names systemd-resolved is to send to the agent.

use std::collections::BTreeSet;

use hawser_proto::{Names, names::Entry};

use crate::wanted::{MOST, is_domain};

/// What is asked of the agent whatever is in its table, and what is not.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The namespace of the workload.
    pub namespace: String,
    /// Its DNS domain: `NAMESPACE.svc.cluster.local`, say.
    pub domain: String,
    /// Domains that the operator names.
    pub domains: Vec<String>,
    /// Domains about which the mesh is not believed.
    pub exclude: Vec<String>,
}

/// The domains to register: those of the mesh and of the operator, then the hosts of the table
/// that are below none of them. Sorted, none below another, and no more than systemd-resolved
/// takes; and how many were left out for that.
///
/// A host that is one label is left out: `~com` would take a whole part of the Internet along.
pub fn domains(names: &Names, asked: &Asked) -> (Vec<String>, usize) {
    let given = asked.domains.iter().map(String::as_str).chain([of_mesh(asked)]);
    let given = outermost(&given.filter_map(domain).collect());
    let excluded: BTreeSet<_> = asked.exclude.iter().filter_map(|name| domain(name)).collect();
    let wanted =
        |name: &String| name.contains('.') && !is_below(name, &given) && !is_below(name, &excluded);
    let hosts = names.iter().flat_map(|entry| suffixes(&entry)).filter(wanted).collect();
    let hosts = outermost(&hosts);
    let room = MOST.saturating_sub(given.len());
    let left_out = hosts.len().saturating_sub(room);
    let mut all: Vec<_> =
        given.into_iter().take(MOST).chain(hosts.into_iter().take(room)).collect();
    all.sort_unstable();
    (all, left_out)
}

/// The domain in which the services of the workload's cluster are.
fn of_mesh(asked: &Asked) -> &str {
    match asked.domain.split_once('.') {
        Some((first, rest)) if first == asked.namespace => rest,
        _ => &asked.domain,
    }
}

/// What a host is registered as: a service of a cluster as all of that cluster, anything else as it
/// is.
fn suffixes(entry: &Entry<'_>) -> Vec<String> {
    let service = format!("{}.{}.", entry.shortname, entry.namespace);
    let of_cluster = entry.registry == "Kubernetes" && service.len() > 2;
    let suffix = |host: &str| {
        let host = if of_cluster { host.strip_prefix(&service).unwrap_or(host) } else { host };
        domain(host.strip_prefix("*.").unwrap_or(host))
    };
    [entry.host].into_iter().chain(entry.alt_hosts()).filter_map(suffix).collect()
}

fn domain(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    is_domain(&name).then_some(name)
}

/// Whether a name is one of these, or below one.
fn is_below(name: &str, domains: &BTreeSet<String>) -> bool {
    let mut rest = Some(name);
    while let Some(domain) = rest {
        if domains.contains(domain) {
            return true;
        }
        rest = domain.split_once('.').map(|(_, above)| above);
    }
    false
}

/// Those that are below none of the others.
fn outermost(domains: &BTreeSet<String>) -> BTreeSet<String> {
    let above = |name: &String| name.split_once('.').map(|(_, above)| above.to_owned());
    let inner = |name: &String| above(name).is_some_and(|above| is_below(&above, domains));
    domains.iter().filter(|name| !inner(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use hawser_proto::istio::nds::{NameInfo, NameTable};

    use super::*;

    fn asked() -> Asked {
        Asked {
            namespace: "vms".to_owned(),
            domain: "vms.svc.cluster.local".to_owned(),
            ..Asked::default()
        }
    }

    fn mesh(hosts: &[(&str, &str, &str)]) -> Names {
        let entry = |&(host, shortname, namespace): &(&str, &str, &str)| {
            let registry = if shortname.is_empty() { "External" } else { "Kubernetes" };
            let (registry, shortname) = (registry.to_owned(), shortname.to_owned());
            let info = NameInfo {
                registry,
                shortname,
                namespace: namespace.to_owned(),
                ..NameInfo::default()
            };
            (host.to_owned(), info)
        };
        Names::from(&NameTable { table: hosts.iter().map(entry).collect() })
    }

    #[test]
    fn without_a_table_there_is_the_domain_of_the_mesh() {
        let none = Names::default();
        assert_eq!(domains(&none, &asked()), (vec!["svc.cluster.local".to_owned()], 0));
        let foreign = Asked { namespace: "other".to_owned(), ..asked() };
        assert_eq!(domains(&none, &foreign).0, ["vms.svc.cluster.local"]);
        assert_eq!(domains(&none, &Asked::default()).0, [""; 0]);
    }

    #[test]
    fn services_are_their_cluster_and_other_hosts_are_themselves() {
        let names = mesh(&[
            ("hello.demo.svc.cluster.local", "hello", "demo"),
            ("pod-0.web.demo.svc.cluster.local", "pod-0.web", "demo"),
            ("details.ns2.svc.cluster.remote", "details", "ns2"),
            ("ratings.ns2.svc.cluster.remote", "ratings", "ns2"),
            ("odd.svc.cluster.odd", "other", "ns2"),
            ("www.Example.com.", "", ""),
            ("api.www.example.com", "", ""),
            ("*.wild.example", "", ""),
            ("db", "", ""),
            ("*.com", "", ""),
            ("*", "", ""),
            ("bad name.example", "", ""),
        ]);
        let expected = [
            "odd.svc.cluster.odd",
            "svc.cluster.local",
            "svc.cluster.remote",
            "wild.example",
            "www.example.com",
        ];
        assert_eq!(domains(&names, &asked()), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn what_the_operator_says_comes_first() {
        let names = mesh(&[
            ("www.example.com", "", ""),
            ("example.org", "", ""),
            ("git.corp.example", "", ""),
        ]);
        let asked = Asked {
            domains: vec!["Mesh.".to_owned(), "example.com".to_owned(), "no name".to_owned()],
            exclude: vec!["corp.example".to_owned()],
            ..asked()
        };
        let expected = ["example.com", "example.org", "mesh", "svc.cluster.local"];
        assert_eq!(domains(&names, &asked).0, expected);
    }

    #[test]
    fn there_are_no_more_than_systemd_takes() {
        let hosts: Vec<_> = (0..1000).map(|number| format!("h{number:04}.example")).collect();
        let hosts: Vec<_> = hosts.iter().map(|host| (host.as_str(), "", "")).collect();
        let (found, left_out) = domains(&mesh(&hosts), &asked());
        assert_eq!((found.len(), left_out), (MOST, 1000 - (MOST - 1)));
        assert!(found.contains(&"svc.cluster.local".to_owned()));
        assert!(found.is_sorted());
    }
}
