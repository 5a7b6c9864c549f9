//! What holds for any octets, any table and any name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hawser_dns::answer::{Action, Errand, Transport, answer, fail};
use hawser_dns::name::Name;
use hawser_dns::table::{Found, Via};
use hawser_dns::{Scope, Table, reply, resolv};
use hawser_proto::istio::nds::NameTable;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::client::{A, AAAA, HTTPS, MX, query, read};
use crate::fixture::{external, mesh, names, scope, service};
use crate::upstream::with_addresses;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_octets_are_answered_well_or_not_at_all(packet in vec(any::<u8>(), 0..600), tcp: bool) {
        answered_well(&packet, tcp);
    }

    #[test]
    fn a_query_with_some_octets_changed_is_answered_well_or_not_at_all(
        name in select(NAMES),
        kind in select(&[A, AAAA, MX, HTTPS, 255][..]),
        payload in proptest::option::of(any::<u16>()),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        tcp: bool,
    ) {
        let mut packet = query(1, name, kind, payload);
        for (at, value) in changes {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        answered_well(&packet, tcp);
    }

    #[test]
    fn any_reply_is_believed_or_not_and_fits(
        octets in vec(any::<u8>(), 0..600),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        addresses in 0_u8..100,
        limit in 512_usize..1500,
        known: bool,
    ) {
        let packet = query(0x1234, "www.example", A, Some(1232));
        let errand = Errand { question_end: packet.len() - 11, limit, edns: None, known };
        let question = &packet[12..errand.question_end];
        let ips: Vec<_> = (0..addresses).map(|n| [10, 0, 0, n]).collect();
        let mut good = with_addresses(&packet, &ips, Some("owner.example."));
        for (at, value) in changes {
            let at = at.index(good.len());
            good[at] = value;
        }
        for mut message in [octets, good] {
            if reply::check(&message, 0x1234, question).is_some() {
                reply::pass_on(&mut message, &packet, &errand);
                prop_assert!(message.len() <= limit);
                prop_assert_eq!(&message[..2], &packet[..2]);
            }
        }
    }

    #[test]
    fn any_text_is_a_list_of_resolvers(text in vec(any::<u8>(), 0..400), line in "nameserver \\PC{0,60}") {
        prop_assert!(resolv::parse(&text, |_| None).servers.len() <= 8);
        resolv::parse(line.as_bytes(), |_| Some(1));
    }

    #[test]
    fn any_text_is_a_name_or_not(text in "\\PC{0,300}") {
        if let Some(name) = Name::parse(&text) {
            let (read, given) = (name.to_string(), text.to_lowercase());
            prop_assert_eq!(read.trim_end_matches('.'), given.trim_end_matches('.'));
        }
    }

    #[test]
    fn a_table_agrees_with_the_rules(
        hosts in vec((labels(), any::<bool>(), 0_u8..3), 0..12),
        asked in vec(labels(), 20),
        search in vec(select(&["a", "b.a", "ns1.svc.a", "c"][..]), 0..3),
    ) {
        let ip = |n: usize| format!("10.0.0.{n}");
        let mut entries = BTreeMap::new();
        for (n, (host, service, count)) in hosts.into_iter().enumerate() {
            entries.insert(host, (n, service, count));
        }
        let info = |&(n, is_service, count): &(usize, bool, u8)| {
            let ips: Vec<_> = (0..count).map(|extra| ip(n * 3 + usize::from(extra))).collect();
            let ips: Vec<_> = ips.iter().map(String::as_str).collect();
            let namespace = ["ns1", "b"][n % 2];
            if is_service { service(["a", "b", "c"][n % 3], namespace, &ips) } else { external(&ips) }
        };
        let names: NameTable =
            names(entries.iter().map(|(host, entry)| (host.as_str(), info(entry))).collect());
        let scope = Scope {
            namespace: "ns1".to_owned(),
            domain: "ns1.svc.a".to_owned(),
            search: search.iter().map(|&domain| domain.to_owned()).collect(),
        };
        let (table, _) = Table::build(&names, &scope);
        let model = model(&names, &scope);
        for name in asked {
            let found = table.find(&Name::parse(&name).unwrap());
            prop_assert_eq!(found.map(|found| view(&found)), expected(&model, &scope, &name), "{}", name);
        }
    }
}

const NAMES: &[&str] = &[
    "www.google.com",
    "productpage.ns1.ns1.svc.cluster.local",
    "details.ns2.svc.cluster.remote",
    "a.b.wildcard",
    "ipv6.localhost",
    "www.example",
];

/// Names from few labels, so that they meet.
fn labels() -> impl Strategy<Value = String> {
    let label = select(&["a", "b", "c", "svc", "ns1"][..]);
    (any::<bool>(), vec(label, 1..6)).prop_map(|(wild, labels)| {
        let name = labels.join(".");
        if wild { format!("*.{name}") } else { name }
    })
}

fn answered_well(packet: &[u8], tcp: bool) {
    static TABLE: LazyLock<Table> = LazyLock::new(|| Table::build(&mesh(), &scope()).0);
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    let mut out = Vec::new();
    let mut dice = fastrand::Rng::with_seed(1);
    let action = answer(packet, Some(&TABLE), transport, &mut dice, &mut out);
    match action {
        Action::Drop => return,
        Action::Relay(errand) => fail(packet, &errand, &mut out),
        Action::Answer | Action::Refuse => {}
    }
    assert!(out.len() <= if tcp { 65535 } else { 4096 });
    assert_eq!(out[..2], packet[..2]);
    if action == Action::Refuse {
        assert_eq!(out.len(), 12);
    } else {
        let end = hawser_dns::message::Query::parse(packet).unwrap().question_end;
        assert_eq!(out[12..end], packet[12..end]);
        // hickory refuses some names and types that others ask for
        if plain(&packet[12..end]) {
            read(&out);
        }
    }
}

fn plain(question: &[u8]) -> bool {
    question.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet < 64 || *octet == b'.')
}

/// A name, with what it stands for: host, and whether it is an alias.
type Model = BTreeMap<String, Vec<String>>;

/// The rules in the plainest form: every name with its addresses.
fn model(names: &NameTable, scope: &Scope) -> Model {
    let mut hosts: Vec<_> = names.table.iter().collect();
    hosts.sort_by_key(|&(host, _)| host);
    let mut model = Model::new();
    for (host, info) in &hosts {
        model.insert((*host).clone(), info.ips.clone());
    }
    let cluster = "svc.a";
    let local = |host: &str| host == cluster || host.ends_with(&format!(".{cluster}"));
    for own in [true, false] {
        for (host, info) in &hosts {
            if info.registry != "Kubernetes"
                || !local(host)
                || (info.namespace == scope.namespace) != own
            {
                continue;
            }
            let (short, namespace) = (&info.shortname, &info.namespace);
            let mut aliases =
                vec![format!("{short}.{namespace}"), format!("{short}.{namespace}.svc")];
            if own {
                aliases.push(short.clone());
            }
            for alias in aliases {
                model.entry(alias).or_insert_with(|| info.ips.clone());
            }
        }
    }
    model
}

/// How a name was found, its name proper, and its addresses.
type View = (String, Vec<u8>);

fn expected(model: &Model, scope: &Scope, name: &str) -> Option<View> {
    let last = |ips: &[String]| -> Vec<u8> {
        ips.iter().map(|ip| ip.rsplit('.').next().unwrap().parse().unwrap()).collect()
    };
    let proper = |name: &str| {
        scope.search.iter().find_map(|domain| {
            let rest = name.strip_suffix(&format!(".{domain}"))?;
            let twice = rest == domain || rest.ends_with(&format!(".{domain}"));
            let ips = model.get(rest).filter(|_| !twice)?;
            Some((rest.to_owned(), last(ips)))
        })
    };
    let wild = name.starts_with("*.");
    if !wild {
        if let Some(ips) = model.get(name) {
            return Some(("name".to_owned(), last(ips)));
        }
        if let Some((rest, ips)) = proper(name) {
            return Some((format!("search {}", rest.len() + 1), ips));
        }
    }
    let mut rest = name;
    while let Some((_, suffix)) = rest.split_once('.') {
        let key = format!("*.{suffix}");
        let ips = model.get(&key).map(|ips| last(ips)).or_else(|| Some(proper(&key)?.1));
        if let Some(ips) = ips {
            return Some(("wildcard".to_owned(), ips));
        }
        rest = suffix;
    }
    None
}

fn view(found: &Found<'_>) -> View {
    let via = match found.via {
        Via::Name => "name".to_owned(),
        Via::Search { octets } => format!("search {octets}"),
        Via::Wildcard => "wildcard".to_owned(),
    };
    (via, found.v4.iter().map(|record| record[15]).collect())
}
