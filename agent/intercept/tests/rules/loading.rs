//! What loading does to a machine, and that anything that can be said can be loaded.

use hawser_intercept::plan::{
    Dns, Envoy, Gate, Inbound, Interfaces, Machine, Mode, Options, Outbound, Plan, Ports, Scope,
    Spared, Steer, Taken,
};
use hawser_rt::Cidr;
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use crate::{
    cases::{APP, OTHER, PROXY, all, machine, options},
    netns::Namespace,
    world::World,
};

/// Tables of others, one of them with our kind of chains.
const FOREIGN: &str = "table inet firewall {
    set banned { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }
    }
    chain input { type filter hook input priority 0; policy accept; ip saddr @banned drop
    }
}
table ip nat {
    chain OUTPUT { type nat hook output priority -100; policy accept; tcp dport 9999 redirect to :9998
    }
}
table ip6 hawser { chain output { }
}
table inet hawser2 { chain output { }
}
";

#[test]
fn rules_of_others_are_the_same_octets_before_and_after() {
    let namespace = Namespace::new();
    namespace.load(FOREIGN).unwrap();
    let before = namespace.listed();
    for (name, options, machine) in all() {
        let (plan, _) = Plan::new(&options, &machine);
        if plan.ruleset().contains("cgroupv2") {
            continue;
        }
        namespace.load(plan.ruleset()).unwrap_or_else(|said| panic!("{name}: {said}"));
        namespace.load("delete table inet hawser\n").unwrap();
        assert_eq!(namespace.listed(), before, "{name}");
    }
}

#[test]
fn what_is_loaded_again_is_what_was_there() {
    let namespace = Namespace::new();
    let (plan, _) = Plan::new(&options(), &machine());
    namespace.load(plan.ruleset()).unwrap();
    let once = namespace.listed();
    namespace.load(plan.ruleset()).unwrap();
    assert_eq!(namespace.listed(), once);
    assert_eq!(once.matches("table inet hawser").count(), 1);
}

#[test]
fn nothing_is_left_of_other_settings() {
    let namespace = Namespace::new();
    let load = |options: &Options| {
        namespace.load(Plan::new(options, &machine()).0.ruleset()).unwrap();
        namespace.listed()
    };
    let plain = load(&options());
    let other = load(&Options { mode: Mode::Tproxy, dns: None, ..options() });
    assert_ne!(plain, other);
    assert_eq!(load(&options()), plain);
}

#[test]
fn rules_that_cannot_be_loaded_leave_those_that_are_there() {
    let world = World::new();
    world.apply(&options(), &machine());
    let before = world.machine.listed();
    let (plan, _) = Plan::new(&options(), &machine());
    let broken = plan.ruleset().replace("redirect to :15001", "jump nowhere");
    assert!(broken != plan.ruleset() && world.machine.load(&broken).is_err());
    assert_eq!(world.machine.listed(), before);
    assert_eq!(world.call("203.0.113.5:80").at, "envoy out");
}

#[test]
fn with_every_gate_shut_nothing_is_redirected() {
    let world = World::new();
    world.load(&options(), &machine());
    assert_eq!(world.call("203.0.113.5:80").at, "outside");
    assert_eq!(world.call_as((PROXY, PROXY), "10.9.0.2:80").at, "program");
    assert_eq!(world.visit("10.9.0.2:80").at, "program");
    assert_eq!(world.ask("127.0.0.53:53"), "stub");
}

#[test]
fn what_goes_out_lives_on_when_the_gate_opens_and_when_it_shuts() {
    let world = World::new();
    world.load(&options(), &machine());
    let dial = || world.connect(&world.machine, (APP, APP), "203.0.113.5:80", None).unwrap();
    let mut before = dial();
    world.open(Gate::Outbound);
    let mut during = dial();
    world.shut(Gate::Outbound);
    let after = dial();
    let arrived = [&before, &during, &after].map(|call| call.arrival.at);
    assert_eq!(arrived, ["outside", "envoy out", "outside"]);
    assert!(before.lives() && during.lives());
    // And when the rules are loaded anew.
    world.apply(&options(), &machine());
    assert!(before.lives() && during.lives());
}

#[test]
fn what_opens_a_gate_for_a_while_shuts_it_by_itself_and_what_confirms_it_does_not() {
    let world = World::new();
    world.load(&options(), &machine());
    let envoy = |world: &World| world.call("203.0.113.5:80").at == "envoy out";
    world.element("add", Gate::Outbound, " timeout 1s");
    assert!(envoy(&world));
    world.until("it is shut", |world| !envoy(world));

    world.element("add", Gate::Outbound, " timeout 60s");
    let confirm =
        "delete element inet hawser outbound { tcp }\nadd element inet hawser outbound { tcp }\n";
    world.machine.load(confirm).unwrap();
    assert!(envoy(&world) && !world.machine.listed().contains("expires"));
}

fn cidr() -> impl Strategy<Value = Cidr> {
    let v4 = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(own, bits)| Cidr::new(own.into(), bits));
    let v6 = (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(own, bits)| Cidr::new(own.into(), bits));
    prop_oneof![v4, v6]
}

fn list<T: std::fmt::Debug>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(one, 0..4)
}

fn taken<T: std::fmt::Debug + Clone>(
    one: impl Strategy<Value = T>,
) -> impl Strategy<Value = Taken<T>> {
    prop_oneof![1 => Just(Taken::All), 2 => list(one).prop_map(Taken::Only)]
}

fn ports() -> impl Strategy<Value = Ports> {
    (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| Ports { first: a.min(b), last: a.max(b) })
}

fn account() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["app", "other", "unknown"]).prop_map(str::to_owned)
}

fn interface() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.@:_-]{0,13}[*]?"
}

fn directions() -> impl Strategy<Value = (Inbound, Outbound)> {
    let loopback = (8..=32_u8).prop_map(|bits| Cidr::new([127, 0, 0, 1].into(), bits).masked());
    let inbound = (taken(ports()), list(ports()));
    let outbound = (taken(cidr()), list(cidr()), list(ports()), list(ports()), loopback);
    (inbound, outbound).prop_map(
        |((ports, exclude), (networks, spared, named, excluded, loopback))| {
            let outbound = Outbound {
                networks,
                exclude: spared,
                ports: named,
                exclude_ports: excluded,
                loopback,
            };
            (Inbound { ports, exclude }, outbound)
        },
    )
}

fn scope() -> impl Strategy<Value = Scope> {
    (taken(account()), taken(account()), list(account()), list(account())).prop_map(
        |(users, groups, exclude_users, exclude_groups)| Scope {
            users,
            groups,
            exclude_users,
            exclude_groups,
            ..crate::cases::everybody()
        },
    )
}

fn asked() -> impl Strategy<Value = Option<Dns>> {
    let place = (any::<std::net::IpAddr>(), 1..=u16::MAX).prop_map(Into::into);
    prop::option::of((prop::collection::vec(place, 1..4), any::<bool>()))
        .prop_map(|dns| dns.map(|(listen, all)| Dns { listen, all }))
}

fn any_options() -> impl Strategy<Value = Options> {
    let modes = prop::sample::select(vec![Mode::Redirect, Mode::Tproxy, Mode::None]);
    let interfaces = (list(interface()), list(interface()));
    let numbers = (1..=u16::MAX, 1..=u16::MAX, 1..=u16::MAX, 1..=u32::MAX);
    let spared = prop::sample::subsequence(Spared::ALL.to_vec(), 0..=4);
    let rest = (any::<bool>(), any::<Option<bool>>(), spared, list(1..=u16::MAX));
    (modes, directions(), scope(), interfaces, asked(), numbers, rest).prop_map(
        |(mode, (inbound, outbound), scope, (exclude, virtuals), dns, numbers, rest)| Options {
            mode,
            inbound,
            outbound,
            scope,
            interfaces: Interfaces { exclude, virtuals },
            dns,
            envoy: Envoy { outbound: numbers.0, inbound: numbers.1, tunnel: numbers.2 },
            steer: Steer { mark: numbers.3, table: 133 },
            drop_invalid: rest.0,
            ipv6: rest.1,
            spared: rest.2,
            own_ports: rest.3,
        },
    )
}

fn any_machine() -> impl Strategy<Value = Machine> {
    let users = list(prop::sample::select(vec![0, APP, OTHER, PROXY]));
    let groups = list(prop::sample::select(vec![0, APP, PROXY, u32::MAX - 1]));
    let known = (users, groups, list(any::<u16>().prop_map(u32::from)));
    let families = (any::<bool>(), any::<bool>());
    (known, list(any::<std::net::IpAddr>()), list(cidr()), families).prop_map(
        |((uids, gids, forwarders), resolvers, vips, (ipv4, ipv6))| Machine {
            uids,
            gids,
            resolvers,
            forwarders,
            vips,
            ipv4,
            ipv6,
            ..machine()
        },
    )
}

#[test]
fn whatever_can_be_said_can_be_loaded() {
    let namespace = Namespace::new();
    let mut runner = TestRunner::deterministic();
    let every = (any_options(), any_machine());
    let samples: Vec<_> =
        (0..SAMPLES).map(|_| every.new_tree(&mut runner).unwrap().current()).collect();
    let plan = |(options, machine): &(Options, Machine)| Plan::new(options, machine);
    let text = |sample| plan(sample).0.ruleset().to_owned();
    // Each replaces the one before, so all of them are one input.
    if namespace.check(&samples.iter().map(text).collect::<String>()).is_err() {
        for sample in &samples {
            if let Err(said) = namespace.check(&text(sample)) {
                panic!("{said}\n{sample:#?}\n{}", text(sample));
            }
        }
        panic!("one by one they can be loaded, and not one after the other");
    }
    let warnings = samples.iter().flat_map(|sample| plan(sample).1);
    assert!(warnings.into_iter().all(|warning| warning.setting.starts_with("intercept.")));
}

const SAMPLES: usize = 200;
