//! The names of the file and those of istiod, as one table.
//!
//! A name is a host or another name of one. Where both have it, the one that is believed keeps it: of the
//! other, the host goes with all that was said of it, and another name goes alone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use hawser_proto::{
    Names,
    istio::nds::{NameInfo, NameTable},
    names::Entry,
};

use crate::config::services::Wins;

/// One table, and the names that both have.
pub fn joined(mesh: Option<&Names>, file: &Names, wins: Wins) -> (Names, Vec<String>) {
    let Some(mesh) = mesh.filter(|mesh| !mesh.is_empty()) else {
        return (file.clone(), Vec::new());
    };
    let of_file: HashSet<&str> = file.iter().flat_map(names).collect();
    let both: BTreeSet<&str> =
        mesh.iter().flat_map(names).filter(|name| of_file.contains(name)).collect();
    let (believed, other) = match wins {
        Wins::File => (file, mesh),
        Wins::Mesh => (mesh, file),
    };
    let table = if both.is_empty() { other.clone() } else { without(other, &both) };
    (table.with(believed), both.into_iter().map(str::to_owned).collect())
}

/// What a table says of everything but those names.
fn without(table: &Names, gone: &BTreeSet<&str>) -> Names {
    let is_whole = |entry: Entry<'_>| !names(entry).any(|name| gone.contains(name));
    let rest: BTreeMap<String, NameInfo> = table
        .iter()
        .filter(|entry| !is_whole(*entry) && !gone.contains(entry.host))
        .map(|entry| {
            let kept = entry.alt_hosts().filter(|name| !gone.contains(name));
            let info = NameInfo {
                ips: entry.ips().map(str::to_owned).collect(),
                registry: entry.registry.to_owned(),
                shortname: entry.shortname.to_owned(),
                namespace: entry.namespace.to_owned(),
                alt_hosts: kept.map(str::to_owned).collect(),
            };
            (entry.host.to_owned(), info)
        })
        .collect();
    let rest = NameTable { table: rest.into_iter().collect() };
    table.only(is_whole).with(&Names::from(&rest))
}

/// The host, and its other names.
fn names(entry: Entry<'_>) -> impl Iterator<Item = &str> {
    std::iter::once(entry.host).chain(entry.alt_hosts())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts, each with its address and its other names.
    fn table(hosts: &[(&str, &str, &[&str])]) -> Names {
        let entry = |(host, ip, others): &(&str, &str, &[&str])| {
            let info = NameInfo {
                ips: vec![(*ip).to_owned()],
                alt_hosts: others.iter().map(|name| (*name).to_owned()).collect(),
                ..NameInfo::default()
            };
            ((*host).to_owned(), info)
        };
        Names::from(&NameTable { table: hosts.iter().map(entry).collect() })
    }

    #[test]
    fn names_that_only_one_has_are_in_the_table() {
        let (mesh, file) = (table(&[("a", "10.0.0.1", &["x"])]), table(&[("b", "127.0.0.1", &[])]));
        let all = table(&[("a", "10.0.0.1", &["x"]), ("b", "127.0.0.1", &[])]);
        for wins in [Wins::File, Wins::Mesh] {
            assert_eq!(joined(Some(&mesh), &file, wins), (all.clone(), Vec::new()));
            assert_eq!(joined(None, &file, wins), (file.clone(), Vec::new()));
            assert_eq!(joined(Some(&Names::default()), &file, wins), (file.clone(), Vec::new()));
            assert_eq!(joined(Some(&mesh), &Names::default(), wins), (mesh.clone(), Vec::new()));
        }
    }

    #[test]
    fn a_name_that_both_have_is_that_of_whom_is_believed_and_is_named() {
        let mesh = table(&[("a", "10.0.0.1", &["x", "y"]), ("b", "10.0.0.2", &[])]);
        let file = table(&[("a", "127.0.0.1", &["b"]), ("c", "127.0.0.3", &["y"])]);
        let both = ["a", "b", "y"].map(str::to_owned).to_vec();

        let (names, conflicts) = joined(Some(&mesh), &file, Wins::File);
        assert_eq!((names, conflicts), (file.clone(), both.clone()));

        let (names, conflicts) = joined(Some(&mesh), &file, Wins::Mesh);
        let all =
            [("a", "10.0.0.1", &["x", "y"][..]), ("b", "10.0.0.2", &[]), ("c", "127.0.0.3", &[])];
        assert_eq!((names, conflicts), (table(&all), both));
    }

    #[test]
    fn a_host_keeps_what_nobody_else_claims() {
        let mesh = table(&[("a", "10.0.0.1", &["x", "y"])]);
        let file = table(&[("x", "127.0.0.1", &[])]);
        let (names, conflicts) = joined(Some(&mesh), &file, Wins::File);
        assert_eq!(names, table(&[("a", "10.0.0.1", &["y"]), ("x", "127.0.0.1", &[])]));
        assert_eq!(conflicts, ["x"]);
    }
}
