//! Names that are known without asking DNS: the bundle's `hosts` file, honoured in the agent so
//! that `/etc/hosts` need not be touched.

use std::{collections::BTreeMap, net::IpAddr};

/// Addresses by name, as in a hosts file. Names compare without case and trailing dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(BTreeMap<String, Vec<IpAddr>>);

impl Hosts {
    /// The addresses of a name in the order they were given; none if it is not known here.
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        self.0.get(&canonical(name)).map_or(&[], Vec::as_slice)
    }
}

impl FromIterator<(String, IpAddr)> for Hosts {
    fn from_iter<I: IntoIterator<Item = (String, IpAddr)>>(entries: I) -> Self {
        let mut names = BTreeMap::<String, Vec<IpAddr>>::new();
        for (name, address) in entries {
            let addresses = names.entry(canonical(&name)).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Self(names)
    }
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_trailing_dot() {
        let hosts: Hosts = [
            ("Istiod.istio-system.svc".to_owned(), "10.0.0.2".parse().unwrap()),
            ("istiod.istio-system.svc.".to_owned(), "10.0.0.1".parse().unwrap()),
            ("istiod.istio-system.svc".to_owned(), "10.0.0.2".parse().unwrap()),
        ]
        .into_iter()
        .collect();

        let expected: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        assert_eq!(hosts.addresses("istiod.ISTIO-system.svc."), expected);
        assert!(hosts.addresses("istiod").is_empty());
    }
}
