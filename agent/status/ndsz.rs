//! `/debug/ndsz`: the name table as Istio's agent shows it, with the names that it makes of each
//! service; for the tools that know it.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    io::{self, Write},
    net::IpAddr,
};

use hawser_dns::{Scope, listing::alternates};
use hawser_proto::{Names, names::Entry};
use serde::Serialize;

/// What protobuf calls `NameInfo`, in its JSON form.
#[derive(Debug, Serialize)]
struct Info<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    registry: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    shortname: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(rename = "altHosts", skip_serializing_if = "Vec::is_empty")]
    alt_hosts: Vec<&'a str>,
}

/// Writes it.
pub(super) fn write(names: &Names, scope: &Scope, out: &mut impl Write) -> io::Result<()> {
    // A name that several services claim is shown once. Of each no more than a hash is kept: at
    // worst a name in ten billion is left out.
    let hasher = RandomState::new();
    let mut shown: HashSet<u64> = names.iter().map(|entry| hasher.hash_one(entry.host)).collect();
    let mut first = true;
    out.write_all(b"{\"table\":{")?;
    for entry in names.iter() {
        pair(out, &mut first, entry.host, &Info::of(&entry))?;
    }
    for entry in names.iter() {
        let alternate = Info::alternate(&entry);
        if alternate.ips.is_empty() {
            continue;
        }
        for name in alternates(&entry, scope) {
            if shown.insert(hasher.hash_one(name.as_str())) {
                pair(out, &mut first, &name, &alternate)?;
            }
        }
    }
    out.write_all(b"}}")
}

fn pair(out: &mut impl Write, first: &mut bool, name: &str, info: &Info<'_>) -> io::Result<()> {
    if !std::mem::take(first) {
        out.write_all(b",")?;
    }
    serde_json::to_writer(&mut *out, name)?;
    out.write_all(b":")?;
    Ok(serde_json::to_writer(&mut *out, info)?)
}

impl<'a> Info<'a> {
    fn of(entry: &Entry<'a>) -> Self {
        Self {
            ips: entry.ips().collect(),
            registry: entry.registry,
            shortname: entry.shortname,
            namespace: entry.namespace,
            alt_hosts: entry.alt_hosts().collect(),
        }
    }

    /// What is shown with another name of the entry: its addresses, IPv4 first.
    fn alternate(entry: &Entry<'a>) -> Self {
        let of = |v4: bool| {
            let kind = move |ip: &&str| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == v4);
            entry.ips().filter(kind)
        };
        Self {
            ips: of(true).chain(of(false)).collect(),
            registry: "Kubernetes",
            shortname: "",
            namespace: "",
            alt_hosts: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hawser_proto::istio::nds::{NameInfo, NameTable};
    use serde_json::{Value, json};

    use super::*;

    fn info(registry: &str, shortname: &str, ips: &[&str]) -> NameInfo {
        NameInfo {
            ips: ips.iter().map(|&ip| ip.to_owned()).collect(),
            registry: registry.to_owned(),
            shortname: shortname.to_owned(),
            namespace: if shortname.is_empty() { "" } else { "ns1" }.to_owned(),
            alt_hosts: Vec::new(),
        }
    }

    #[test]
    fn the_table_is_shown_as_protobuf_writes_it_with_what_is_made_of_it() {
        let table = [
            ("page.ns1.svc.cluster.local", info("Kubernetes", "page", &["2001:db8::1", "9.9.9.9"])),
            ("empty.ns1.svc.cluster.local", info("Kubernetes", "empty", &[])),
            ("page.ns1.", info("External", "", &["8.8.8.8"])),
        ];
        let table = table.into_iter().map(|(host, info)| (host.to_owned(), info)).collect();
        let scope = Scope {
            namespace: "ns1".to_owned(),
            domain: "ns1.svc.cluster.local".to_owned(),
            ..Scope::default()
        };
        let mut text = Vec::new();
        write(&Names::from(&NameTable { table }), &scope, &mut text).unwrap();

        let shown: Value = serde_json::from_slice(&text).unwrap();
        let alternate = json!({"ips": ["9.9.9.9", "2001:db8::1"], "registry": "Kubernetes"});
        assert_eq!(
            shown,
            json!({"table": {
                "page.ns1.svc.cluster.local": {
                    "ips": ["2001:db8::1", "9.9.9.9"],
                    "registry": "Kubernetes",
                    "shortname": "page",
                    "namespace": "ns1",
                },
                "empty.ns1.svc.cluster.local":
                    {"registry": "Kubernetes", "shortname": "empty", "namespace": "ns1"},
                "page.ns1.": {"ips": ["8.8.8.8"], "registry": "External"},
                "page.ns1.svc.cluster.local.": alternate,
                "page.ns1.svc.": alternate,
                "page.": alternate,
            }})
        );
        assert_eq!(text.iter().filter(|octet| **octet == b'\n').count(), 0);
    }

    #[test]
    fn no_names_are_an_empty_table() {
        let mut text = Vec::new();
        write(&Names::default(), &Scope::default(), &mut text).unwrap();
        assert_eq!(text, b"{\"table\":{}}");
    }
}
