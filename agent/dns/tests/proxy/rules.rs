//! Any table and any name, against the rules in their plainest form: texts, maps and no cleverness.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hawser_dns::name::Name;
use hawser_dns::table::{Found, Realm, Table, Via};
use hawser_dns::{Scope, Search, Style};
use hawser_proto::istio::nds::{NameInfo, NameTable};
use hawser_proto::{Names, names::Entry};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_table_agrees_with_the_rules(
        names in mesh(),
        asked in vec(name(), 30),
        search in vec(select(&["a", "b.a", "ns1.svc.a", "svc.a", "c", "no domain"][..]), 0..4),
        exclude in vec(select(&["b.a", "c", "*.b"][..]), 0..2),
        istio: bool,
    ) {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let scope = Scope {
            namespace: "ns1".to_owned(),
            domain: "ns1.svc.a".to_owned(),
            exclude: owned(&exclude),
            style: if istio { Style::Istio } else { Style::Plain },
        };
        let search = owned(&search);
        let (table, _) = Table::build(&names, &scope);
        let model = Model::new(&names, &scope, &search);
        for asked in asked {
            let name = Name::parse(&asked).unwrap();
            let found = table.find(&name, &Search::new(&search));
            prop_assert_eq!(found.map(|found| seen(&found, &name)), model.find(&asked), "{}", asked);
            let trace = table.trace(&name, &Search::new(&search));
            prop_assert_eq!(trace.via, found.map(|found| found.via), "{}", asked);
            prop_assert!(trace.via.is_none() || trace.matched.is_some() && trace.host.is_some());
        }
        for last in 0..12 {
            let address = address(last);
            let host = table.reverse(address).map(<[u8]>::to_vec);
            let expected = model.reverse(address);
            let expected = expected.map(|host| Name::parse(&host).unwrap().octets().to_vec());
            prop_assert_eq!(host, expected, "{}", address);
        }
    }
}

/// Some of them are such as istiod allocates.
fn address(last: u8) -> IpAddr {
    let [first, second] = if last % 4 == 3 { [240, 240] } else { [10, 0] };
    [first, second, 0, last].into()
}

/// Names from few labels, so that they meet.
fn name() -> impl Strategy<Value = String> {
    let label = select(&["a", "b", "c", "svc", "ns1", "xsvc", "xns1", "_t"][..]);
    (any::<bool>(), any::<bool>(), vec(label, 1..6)).prop_map(|(wild, port, labels)| {
        let name = labels.join(".");
        match (wild, port) {
            (true, _) => format!("*.{name}"),
            (false, true) => format!("_p._t.{name}"),
            (false, false) => name,
        }
    })
}

fn mesh() -> impl Strategy<Value = Names> {
    let host =
        (name(), 0_u8..10).prop_map(|(name, dot)| if dot == 0 { format!("{name}.") } else { name });
    vec((host, any::<bool>(), any::<u8>(), 0_u8..3), 0..14).prop_map(|hosts| {
        let entry = |(host, service, n, count): (String, bool, u8, u8)| {
            let ips = (0..count).map(|more| address(n % 5 * 2 + more).to_string()).collect();
            let (registry, shortname, namespace) = match service {
                true => (
                    "Kubernetes",
                    ["a", "b", "c"][usize::from(n % 3)],
                    ["ns1", "b"][usize::from(n % 2)],
                ),
                false => ("External", "", ""),
            };
            let info = NameInfo {
                ips,
                registry: registry.to_owned(),
                shortname: shortname.to_owned(),
                namespace: namespace.to_owned(),
                alt_hosts: if n % 7 == 0 { vec!["b.c".to_owned()] } else { Vec::new() },
            };
            (host, info)
        };
        Names::from(&NameTable { table: hosts.into_iter().map(entry).collect() })
    })
}

const CLUSTER: &str = "svc.a";

/// What a name leads to.
#[derive(Clone, Debug)]
struct Held {
    host: String,
    ips: Vec<IpAddr>,
    rank: u8,
    mesh: bool,
}

/// How a name was found, what it stands for, its addresses, and whether it is the mesh's alone.
type Seen = (&'static str, String, Vec<IpAddr>, bool);

struct Model {
    style: Style,
    names: BTreeMap<String, Held>,
    search: Vec<String>,
    /// Istio's: a name with the search domain behind it, and that name.
    expanded: BTreeMap<String, String>,
    exclude: Vec<String>,
}

impl Model {
    fn new(names: &Names, scope: &Scope, search: &[String]) -> Self {
        let exclude: Vec<_> =
            scope.exclude.iter().map(|suffix| suffix.trim_start_matches("*.").to_owned()).collect();
        let istio = scope.style == Style::Istio;
        let mut model = Self {
            style: scope.style,
            names: BTreeMap::new(),
            search: search.iter().filter(|domain| !domain.contains(' ')).cloned().collect(),
            expanded: BTreeMap::new(),
            exclude,
        };
        let mut services = Vec::new();
        for entry in names.iter() {
            let service = entry.registry == "Kubernetes";
            let ips: Vec<IpAddr> = entry.ips().map(|ip| ip.parse().unwrap()).collect();
            if istio && (ips.is_empty() || service && entry.host.ends_with('.')) {
                continue;
            }
            let host = entry.host.trim_end_matches('.').to_owned();
            let rank = if !service { 2 } else { u8::from(entry.namespace != scope.namespace) };
            let local = within(&host, CLUSTER);
            let held = Held { host, ips, rank, mesh: service || local };
            if !model.add(&held.host, &held) {
                continue;
            }
            if service && if istio { entry.host.ends_with(CLUSTER) } else { local } {
                services.push((entry, held));
            }
        }
        for own in [true, false] {
            for (entry, held) in services.iter().filter(|(_, held)| (held.rank == 0) == own) {
                for alias in aliases(entry, own) {
                    model.add(&alias, held);
                }
            }
        }
        if istio && let Some(first) = search.first().filter(|first| !first.contains(' ')) {
            model.expand(first);
        }
        model
    }

    /// Says whether it is new.
    fn add(&mut self, name: &str, held: &Held) -> bool {
        let new = !self.names.contains_key(name)
            && !self.exclude.iter().any(|suffix| within(name, suffix));
        if new {
            self.names.insert(name.to_owned(), held.clone());
        }
        new
    }

    fn expand(&mut self, domain: &str) {
        for (name, held) in &self.names {
            let expanded = format!("{name}.{domain}");
            let own = self.names.get(&expanded).is_some_and(|there| there.host == held.host);
            if !name.ends_with(domain) && !own {
                self.expanded.insert(expanded, name.clone());
            }
        }
    }

    fn find(&self, name: &str) -> Option<Seen> {
        if self.excludes(name) {
            return None;
        }
        let candidates = |name: &str| {
            let parts: Vec<_> = name.split('.').collect();
            (1..parts.len())
                .map(|from| format!("*.{}", parts[from..].join(".")))
                .collect::<Vec<_>>()
        };
        let known = |name: &str| self.known(name);
        let seen =
            |how, (stands, held): (String, &Held)| (how, stands, held.ips.clone(), held.mesh);
        if !name.starts_with("*.")
            && let Some(found) = known(name)
        {
            return Some(seen("name", found));
        }
        let parts: Vec<_> = name.splitn(3, '.').collect();
        if let (Style::Plain, [port, protocol, rest]) = (self.style, &parts[..])
            && port.starts_with('_')
            && protocol.starts_with('_')
            && let Some((_, held)) = known(rest)
            && held.mesh
        {
            return Some(("below", String::new(), Vec::new(), true));
        }
        candidates(name).iter().find_map(|key| {
            let (stands, held) = known(key)?;
            let stands = if stands == *key { String::new() } else { stands };
            Some(seen("wildcard", (stands, held)))
        })
    }

    /// What it stands for: itself, or what it is with a search domain taken off.
    fn known(&self, name: &str) -> Option<(String, &Held)> {
        if let Some(stands) = self.expanded.get(name) {
            return Some((stands.clone(), &self.names[stands]));
        }
        if let Some(held) = self.names.get(name) {
            return Some((name.to_owned(), held));
        }
        let plain = self.search.iter().filter(|_| self.style == Style::Plain);
        plain.into_iter().find_map(|domain| {
            let stands = name.strip_suffix(&format!(".{domain}"))?;
            // A wildcard is the part behind it.
            let twice = within(stands.trim_start_matches("*."), domain);
            Some((stands.to_owned(), self.names.get(stands).filter(|_| !twice)?))
        })
    }

    fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|suffix| {
            within(name, suffix)
                || self.search.iter().any(|domain| {
                    within(name, &format!("{suffix}.{domain}")) && !within(suffix, domain)
                })
        })
    }

    fn reverse(&self, address: IpAddr) -> Option<String> {
        if self.style == Style::Istio {
            return None;
        }
        let hosts = self.names.iter().filter(|(name, held)| **name == held.host);
        let allocated = address.to_string().starts_with("240.240.");
        let having = hosts.filter(|(name, held)| {
            !name.starts_with('*') && held.ips.contains(&address) && (held.mesh || allocated)
        });
        having.min_by_key(|(name, held)| (held.rank, (*name).clone())).map(|(name, _)| name.clone())
    }
}

fn aliases(entry: &Entry<'_>, own: bool) -> Vec<String> {
    let Entry { shortname, namespace, .. } = entry;
    let mut aliases =
        vec![format!("{shortname}.{namespace}"), format!("{shortname}.{namespace}.svc")];
    aliases.extend(entry.alt_hosts().map(str::to_owned));
    aliases.extend(own.then(|| (*shortname).to_owned()));
    aliases
}

fn within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The same of what was found.
fn seen(found: &Found<'_>, name: &Name) -> Seen {
    let text = |octets: &[u8]| {
        let read = Name::read(&[octets, &[0]].concat(), 0).unwrap();
        read.to_string().trim_end_matches('.').to_owned()
    };
    let whole = name.octets();
    let (how, stands) = match found.via {
        Via::Name => ("name", text(whole)),
        Via::Search { octets } => ("name", text(&whole[..octets])),
        Via::Wildcard => ("wildcard", String::new()),
        Via::WildcardSearch { start, end } => {
            ("wildcard", format!("*.{}", text(&whole[start..end])))
        }
        Via::Below => ("below", String::new()),
    };
    let ips = found.v4.iter().map(|record| <[u8; 4]>::try_from(&record[12..]).unwrap().into());
    (how, stands, ips.collect(), found.realm == Realm::Mesh)
}
