//! What follows from services.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use hawser_proto::{
    Names,
    envoy::{
        envoy::config::{
            cluster::v3::Cluster, listener::v3::Listener, route::v3::RouteConfiguration,
        },
        google::protobuf::{Any, Struct, value::Kind},
    },
};
use serde_json::json;

use super::*;
use crate::model::{
    Callers, Forwarder, Gateway, Inbound, Protocol, ServerCertificate, Snippet, Transcode,
};

impl Service {
    /// One that is whole.
    pub(crate) fn example() -> Self {
        let port = NonZeroU16::new(80).unwrap();
        Self {
            host: "a.prod.svc.cluster.local".to_owned(),
            aliases: Vec::new(),
            port,
            local_port: port,
            protocol: Protocol::Http,
            identities: vec!["spiffe://cluster.local/ns/prod/sa/a".to_owned()],
            subset: String::new(),
            gateways: Vec::new(),
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            retries: 2,
            outliers: None,
            transcode: None,
            filters: Vec::new(),
            place: crate::problem::Place::default(),
        }
    }

    fn called(host: &str) -> Self {
        Self { host: host.to_owned(), ..Self::example() }
    }

    fn tcp(host: &str) -> Self {
        Self { protocol: Protocol::Tcp, ..Self::called(host) }
    }
}

fn gateway(name: &str, priority: u8, locality: &str) -> Gateway {
    Gateway {
        name: name.to_owned(),
        host: "192.0.2.1".to_owned(),
        port: NonZeroU16::new(15443).unwrap(),
        locality: locality.to_owned(),
        priority,
    }
}

fn of(services: impl Into<Vec<Service>>) -> Services {
    Services {
        trust_domain: "cluster.local".to_owned(),
        gateways: vec![gateway("one", 0, ""), gateway("two", 1, "")],
        services: services.into(),
        ..Services::default()
    }
}

fn made(services: &Services) -> Made {
    let addresses = Addresses::default().assign(services).unwrap();
    make(services, &addresses, &Local::default())
}

fn read<M: Message + Default>(made: &Made, type_url: &str, name: &str) -> M {
    M::decode(made.0[type_url][name].body.clone()).unwrap()
}

/// All that there is, in every shape.
fn everything() -> Services {
    let snippet = |name: &str| Snippet {
        name: name.to_owned(),
        config: json!({"@type": "type.googleapis.com/some.Filter", "b": 1, "a": {"z": [], "y": null}}),
        place: crate::problem::Place::default(),
    };
    let dressed = Service {
        protocol: Protocol::Grpc,
        filters: ["one", "two", "three", "four"].map(snippet).into(),
        transcode: Some(Transcode {
            descriptor: vec![1, 2, 3],
            path: "/api.pb".into(),
            services: vec!["shop.Cart".to_owned()],
            largest: 1 << 20,
        }),
        ..Service::called("cart.prod.svc.cluster.local")
    };
    let port = NonZeroU16::new(8443).unwrap();
    let inbound = |protocol, callers, last| Inbound {
        address: IpAddr::from([192, 0, 2, last]),
        port,
        to: (IpAddr::from([127, 0, 0, 1]), port),
        protocol,
        callers,
        place: crate::problem::Place::default(),
    };
    let prod = Callers::These(vec!["spiffe://cluster.local/ns/prod/*".to_owned()]);
    Services {
        access_log: Some("/dev/stdout".into()),
        inbound: vec![
            inbound(Protocol::Http, prod.clone(), 1),
            inbound(Protocol::Tcp, prod, 2),
            inbound(Protocol::Http2, Callers::Mesh, 3),
            inbound(Protocol::Http, Callers::Anybody, 4),
        ],
        ..of([dressed, Service::tcp("db.prod.svc.cluster.local"), Service::called("example.com")])
    }
}

#[test]
fn the_same_services_make_the_same_octets_and_all_of_it_is_called_ours() {
    let mut services = everything();
    let first = made(&services);
    for _ in 0..10 {
        assert_eq!(made(&services.clone()), first);
    }
    for (type_url, resources) in &first.0 {
        for name in resources.keys() {
            assert!(name.starts_with("hawser/") || *type_url == type_url::NAME_TABLE, "{name}");
        }
    }

    services.services[2].timeout += Duration::from_secs(1);
    let second = made(&services);
    let changed: Vec<_> = first
        .0
        .iter()
        .flat_map(|(type_url, resources)| {
            resources.iter().map(move |(name, one)| (type_url, name, one))
        })
        .filter(|(type_url, name, one)| second.0[*type_url][*name].version != one.version)
        .map(|(_, name, _)| name.as_str())
        .collect();
    assert_eq!(changed, ["hawser/http/80"]);
}

#[test]
fn one_more_service_of_http_changes_no_listener_and_no_other_cluster() {
    let first = made(&of([Service::called("a.prod.svc.cluster.local")]));
    let second = made(&of(
        ["a", "b", "c"].map(|name| Service::called(&format!("{name}.prod.svc.cluster.local")))
    ));

    assert_eq!(first.0[type_url::LISTENER], second.0[type_url::LISTENER]);
    let cluster = "hawser/80//a.prod.svc.cluster.local";
    assert_eq!(first.0[type_url::CLUSTER][cluster], second.0[type_url::CLUSTER][cluster]);
    assert_eq!(second.0[type_url::CLUSTER].len(), 3);
}

#[test]
fn a_name_leads_to_whose_it_is_and_to_nobody_if_it_might_be_anybodys() {
    let named = |host: &str, aliases: &[&str]| Service {
        aliases: aliases.iter().copied().map(str::to_owned).collect(),
        ..Service::called(host)
    };
    let services = of([
        named("a.prod.svc.cluster.local", &["shop", "b.test"]),
        named("a.test.svc.cluster.local", &[]),
        named("b.test.svc.cluster.local", &["shop"]),
        named("example.com", &[]),
        named("*.example.com", &[]),
    ]);
    let addresses = Addresses::default().assign(&services).unwrap();
    for (namespace, bare) in [("prod", Some(0)), ("test", Some(1)), ("", None)] {
        let local = Local { namespace: namespace.to_owned(), ..Local::default() };
        let made = make(&services, &addresses, &local);
        let routes: RouteConfiguration = read(&made, type_url::ROUTE, "hawser/http/80");
        let hosts: Vec<_> = routes.virtual_hosts.iter().map(|host| host.domains.clone()).collect();
        let mut expected = vec![
            vec!["a.prod.svc.cluster.local", "shop", "b.test", "a.prod", "a.prod.svc"],
            vec!["a.test.svc.cluster.local", "a.test", "a.test.svc"],
            vec!["b.test.svc.cluster.local", "b.test.svc", "b"],
            vec!["example.com"],
            vec!["*.example.com"],
            vec!["*"],
        ];
        if let Some(index) = bare {
            expected[index].push("a");
        }
        assert_eq!(hosts, expected, "{namespace:?}");
        let all: Vec<_> = hosts.concat();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}

#[test]
fn gateways_stand_by_priority_then_by_how_near_they_are_or_as_the_service_has_them() {
    let gateways = [
        ("far", 0, "us/x"),
        ("zone", 0, "eu/a/1"),
        ("here", 0, "eu/a/2"),
        ("region", 0, "eu/b"),
        ("last", 1, "eu/a/2"),
        ("unknown", 0, ""),
    ];
    let table = [
        (
            "eu/a/2",
            vec![],
            vec![vec!["here"], vec!["zone"], vec!["region"], vec!["unknown", "far"], vec!["last"]],
        ),
        ("eu", vec![], vec![vec!["zone", "here", "region"], vec!["unknown", "far"], vec!["last"]]),
        ("", vec![], vec![vec!["unknown", "zone", "here", "region", "far"], vec!["last"]]),
        ("eu/a/2", vec!["last", "far"], vec![vec!["last"], vec!["far"]]),
    ];
    for (locality, named, expected) in table {
        let service = Service {
            gateways: named.iter().copied().map(str::to_owned).collect(),
            ..Service::example()
        };
        let mut services = of([service.clone()]);
        services.locality = locality.to_owned();
        services.gateways = gateways
            .map(|(name, priority, place)| Gateway {
                host: format!("{name}.example.com"),
                ..gateway(name, priority, place)
            })
            .into();

        let cluster: Cluster = read(&made(&services), type_url::CLUSTER, &service.cluster());

        let mut ranks = Vec::<BTreeSet<String>>::new();
        for group in cluster.load_assignment.unwrap().endpoints {
            assert!(group.priority as usize <= ranks.len(), "no gaps");
            ranks.resize(ranks.len().max(group.priority as usize + 1), BTreeSet::new());
            let text = format!("{:?}", group.lb_endpoints);
            let found = gateways.iter().map(|(name, ..)| *name);
            let found = found.filter(|name| text.contains(&format!("{name}.example.com")));
            ranks[group.priority as usize].extend(found.map(str::to_owned));
        }
        let expected: Vec<BTreeSet<String>> =
            expected.iter().map(|rank| rank.iter().copied().map(str::to_owned).collect()).collect();
        assert_eq!(ranks, expected, "{locality} {named:?}");
    }
}

#[test]
fn ports_that_may_not_be_taken_are_moved_and_what_the_gateway_is_told_is_not() {
    let services = of([Service::example(), Service::tcp("db.prod.svc.cluster.local")]);
    let addresses = Addresses::default().assign(&services).unwrap();
    let local = Local { low_ports: 8000, ..Local::default() };

    let made = make(&services, &addresses, &local);

    let listeners: Vec<_> = made.0[type_url::LISTENER].keys().collect();
    assert_eq!(listeners, ["hawser/127.240.0.1:8080", "hawser/127.240.0.2:8080"]);
    assert!(made.0[type_url::ROUTE].contains_key("hawser/http/8080"));
    assert_eq!(Service::example().sni(), "outbound_.80_._.a.prod.svc.cluster.local");
    let subset = Service { subset: "v1".to_owned(), ..Service::example() };
    assert_eq!(subset.sni(), "outbound_.80_.v1_.a.prod.svc.cluster.local");
    assert_eq!(local.port(NonZeroU16::new(1024).unwrap()), 1024);
}

#[test]
fn what_is_as_it_was_is_not_there_twice() {
    let before = of([Service::example(), Service::tcp("db.prod.svc.cluster.local")]);
    let mut after = before.clone();
    after.services[1].connect_timeout *= 2;
    let addresses = Addresses::default().assign(&before).unwrap();
    let made = make(&before, &addresses, &Local::default());
    let had = |of: &str, name: &str| Some(made.0.get(of)?.get(name)?.body.clone());

    let again = remake(&after, &addresses, &Local::default(), &had);

    assert_eq!(again, make(&after, &addresses, &Local::default()));
    let same = |of: &str, name: &str| {
        let [before, after] = [&made, &again].map(|made| made.0[of][name].body.as_ptr());
        before == after
    };
    assert!(same(type_url::CLUSTER, &before.services[0].cluster()));
    assert!(!same(type_url::CLUSTER, &before.services[1].cluster()));
    assert!(same(type_url::NAME_TABLE, ""));
}

#[test]
fn names_are_told_as_istiod_tells_them() {
    let aliased = Service { aliases: vec!["shop".to_owned()], ..Service::example() };
    let made = made(&of([aliased, Service::tcp("example.com")]));
    let names = Names::new(made.0[type_url::NAME_TABLE][""].body.clone()).unwrap();
    let names: Vec<_> = names
        .iter()
        .map(|entry| {
            let ips: Vec<_> = entry.ips().collect();
            let alt: Vec<_> = entry.alt_hosts().collect();
            (entry.host, entry.registry, entry.shortname, entry.namespace, ips, alt)
        })
        .collect();
    let service = "a.prod.svc.cluster.local";
    let expected = [
        (service, "Kubernetes", "a", "prod", vec!["127.240.0.1"], vec!["shop"]),
        ("example.com", "External", "", "", vec!["127.240.0.2"], vec![]),
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_forwarder_takes_all_at_its_own_address_from_whom_it_may() {
    let forwarder = Forwarder {
        address: IpAddr::from([10, 0, 0, 5]),
        allow: vec!["10.1.2.3/8".parse().unwrap()],
        tls: Some(ServerCertificate::Files { chain: "/c.pem".into(), key: "/k.pem".into() }),
    };
    let services = Services {
        forwarder: Some(forwarder),
        ..of([
            Service::example(),
            Service { local_port: NonZeroU16::new(5432).unwrap(), ..Service::tcp("db") },
        ])
    };

    let made = made(&services);

    let names: Vec<_> = made.0[type_url::LISTENER].keys().collect();
    assert_eq!(names, ["hawser/10.0.0.5:5432", "hawser/10.0.0.5:80"]);
    for name in names {
        let listener: Listener = read(&made, type_url::LISTENER, name);
        let chain = &listener.filter_chains[0];
        let from = &chain.filter_chain_match.as_ref().unwrap().source_prefix_ranges;
        let from: Vec<_> = from
            .iter()
            .map(|range| (range.address_prefix.as_str(), range.prefix_len.unwrap().value))
            .collect();
        assert_eq!(from, [("10.0.0.0", 8), ("10.0.0.5", 32)]);
        let tls = format!("{:?}", chain.transport_socket);
        assert!(tls.contains("DownstreamTlsContext"), "{tls}");
        assert!(listener.default_filter_chain.is_none());
    }
}

#[test]
fn json_is_told_as_it_is_and_no_number_loses_anything() {
    let config = json!({
        "@type": "type.googleapis.com/some.Filter",
        "none": null, "yes": true, "text": "x", "half": 0.5, "small": -7,
        "exact": 9_007_199_254_740_992_u64, "large": 9_007_199_254_740_993_u64, "list": [1, {"a": "b"}],
    });

    let any = snippet::typed(&config);

    assert_eq!(any.type_url, "type.googleapis.com/udpa.type.v1.TypedStruct");
    let typed = Any::decode(any.value.as_slice()).unwrap();
    assert_eq!(typed.type_url, "type.googleapis.com/some.Filter");
    let fields = Struct::decode(typed.value.as_slice()).unwrap().fields;
    let kind = |name: &str| fields[name].kind.clone().unwrap();
    assert_eq!(kind("none"), Kind::NullValue(0));
    assert_eq!(kind("yes"), Kind::BoolValue(true));
    assert_eq!(kind("text"), Kind::StringValue("x".to_owned()));
    assert_eq!(kind("half"), Kind::NumberValue(0.5));
    assert_eq!(kind("small"), Kind::NumberValue(-7.0));
    assert_eq!(kind("exact"), Kind::NumberValue(9_007_199_254_740_992.0));
    assert_eq!(kind("large"), Kind::StringValue("9007199254740993".to_owned()));
    assert!(matches!(kind("list"), Kind::ListValue(list) if list.values.len() == 2));
    assert_eq!(fields.len(), 8);
}
