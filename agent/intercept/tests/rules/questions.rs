//! Questions to resolvers: who is asked, who answers, and how the kernel keeps them apart.

use hawser_intercept::plan::{Dns, Gate, Machine, Options, Taken};

use crate::{
    cases::{APP, OTHER, PROXY, dns, ip, machine, names, options},
    world::{RESOLVERS, World},
};

const STUB: &str = "127.0.0.53:53";
const AGENT: (u32, u32) = (PROXY, PROXY);

fn resolvers() -> [String; 2] {
    RESOLVERS
        .map(|host| if host.contains(':') { format!("[{host}]:53") } else { format!("{host}:53") })
}

/// A machine whose resolv.conf lists these.
fn asks(hosts: &[&str]) -> Machine {
    Machine { resolvers: hosts.iter().map(|host| ip(host)).collect(), ..machine() }
}

fn everything() -> Options {
    Options { dns: Some(Dns { all: true, ..dns() }), ..options() }
}

#[test]
fn a_stub_of_the_machine_is_asked_by_the_agent_and_by_nobody_else() {
    let world = World::new();
    world.apply(&options(), &asks(&["127.0.0.53"]));
    assert_eq!(world.ask(STUB), "agent");
    assert_eq!(world.ask_as(&world.machine, AGENT, STUB), "stub");
    // Its own questions go to whom they are for: they would come back otherwise.
    for resolver in resolvers() {
        assert_eq!(world.ask(&resolver), "resolver");
    }
}

#[test]
fn resolvers_elsewhere_are_asked_by_the_agent_on_both_families() {
    let world = World::new();
    world.apply(&options(), &asks(&RESOLVERS));
    for resolver in resolvers() {
        assert_eq!(world.ask(&resolver), "agent");
        assert_eq!(world.ask_as(&world.machine, AGENT, &resolver), "resolver");
    }
    assert_eq!(world.ask(STUB), "stub");
}

#[test]
fn all_questions_are_the_agents_where_that_is_wanted_but_those_of_the_machines_own_resolver() {
    let world = World::new();
    let mut machine = asks(&["127.0.0.53"]);
    machine.forwarders = vec![OTHER];
    world.apply(&everything(), &machine);
    for resolver in resolvers().iter().map(String::as_str).chain([STUB]) {
        assert_eq!(world.ask(resolver), "agent");
    }
    for resolver in resolvers() {
        assert_eq!(world.ask_as(&world.machine, (OTHER, OTHER), &resolver), "resolver");
        assert_eq!(world.ask_as(&world.machine, AGENT, &resolver), "resolver");
    }
}

#[test]
fn a_resolver_of_the_machine_does_not_ask_itself_through_another_that_is_listed() {
    let world = World::new();
    let mut machine = asks(&["127.0.0.53", RESOLVERS[0]]);
    machine.forwarders = vec![OTHER];
    world.apply(&options(), &machine);
    assert_eq!(world.ask(&resolvers()[0]), "agent");
    assert_eq!(world.ask_as(&world.machine, (OTHER, OTHER), &resolvers()[0]), "resolver");
}

#[test]
fn questions_over_tcp_are_redirected_too() {
    let world = World::new();
    world.apply(&options(), &asks(&[RESOLVERS[0]]));
    let agent = world.machine.as_user(AGENT, || std::net::TcpListener::bind("127.0.0.1:15053"));
    let call = world.dial(&resolvers()[0]).unwrap();
    let (_, from) = agent.unwrap().accept().unwrap();
    assert_eq!(from.port(), call.local_addr().unwrap().port());
}

#[test]
fn over_tcp_an_unredirected_question_goes_to_the_resolver_and_not_to_envoy() {
    let world = World::new();
    world.apply(&options(), &asks(&[RESOLVERS[0]]));
    world.shut(Gate::Dns);
    assert_eq!(world.call(&resolvers()[0]).at, "outside");
    assert_eq!(world.call("203.0.113.5:53").at, "envoy out");
}

#[test]
fn the_spared_are_let_alone_and_the_others_are_asked_for() {
    let world = World::new();
    let who = [(APP, APP), (OTHER, OTHER)];
    let each = |world: &World| who.map(|who| world.ask_as(&world.machine, who, STUB));

    let mut narrow = options();
    narrow.scope.users = Taken::Only(names(&["app"]));
    let mut spared = options();
    spared.scope.exclude_groups = names(&["other"]);
    for options in [narrow, spared] {
        world.apply(&options, &machine());
        assert_eq!(each(&world), ["agent", "stub"]);
    }
    let mut wired = options();
    wired.interfaces.exclude = names(&["eth0"]);
    world.apply(&wired, &asks(&["127.0.0.53", RESOLVERS[0]]));
    assert_eq!((world.ask(STUB), world.ask(&resolvers()[0])), ("agent", "resolver"));
}

#[test]
fn a_port_that_the_agent_asked_from_is_not_taken_for_the_agents() {
    let world = World::new();
    for host in ["127.0.0.53", RESOLVERS[0], RESOLVERS[1]] {
        world.apply(&options(), &asks(&[host]));
        let to = if host.contains(':') { format!("[{host}]:53") } else { format!("{host}:53") };
        let agent = world.asker(&world.machine, AGENT, &to);
        assert_ne!(world.ask_with(&agent), "agent");
        let port = agent.local_addr().unwrap();
        drop(agent);
        let program = world.asker_from(&world.machine, (APP, APP), &to, Some(port));
        assert_eq!(world.ask_with(&program), "agent", "{host}");
    }
}

#[test]
fn what_is_asked_and_what_is_answered_belong_together_whoever_asks() {
    let narrow = |options: &mut Options| options.scope.users = Taken::Only(names(&["app"]));
    let spared = |options: &mut Options| options.scope.exclude_groups = names(&["other"]);
    let wired = |options: &mut Options| options.interfaces.exclude = names(&["eth0"]);
    for open in [true, false] {
        for change in [|_: &mut Options| {}, narrow, spared, wired] {
            let world = World::new();
            let mut options = options();
            change(&mut options);
            world.load(&options, &asks(&["127.0.0.53", RESOLVERS[0], RESOLVERS[1]]));
            if open {
                world.open(Gate::Dns);
            }
            for who in [(APP, APP), (OTHER, OTHER), AGENT] {
                for to in resolvers().iter().map(String::as_str).chain([STUB]) {
                    world.ask_as(&world.machine, who, to);
                }
            }
            world.ask_as(&world.machine, (APP, APP), "127.0.0.1:15053");
            let tracked = world.tracked();
            assert!(tracked.len() >= 10, "{tracked:?}");
            let alone: Vec<_> =
                tracked.into_iter().filter(|line| line.contains("UNREPLIED")).collect();
            assert!(alone.is_empty(), "open: {open}\n{}", alone.join("\n"));
        }
    }
}

#[test]
fn a_firewall_that_lets_in_what_was_asked_for_lets_answers_in_with_the_gate_open_and_shut() {
    let world = World::new();
    world.machine.load(FIREWALL).unwrap();
    world.load(&options(), &asks(&["127.0.0.53", RESOLVERS[0]]));
    for (open, by) in [(false, "resolver"), (true, "agent")] {
        if open {
            world.open(Gate::Dns);
        }
        assert_eq!(world.ask(&resolvers()[0]), by);
        assert_eq!(world.ask_as(&world.machine, AGENT, &resolvers()[0]), "resolver");
        assert_eq!(world.ask_as(&world.machine, AGENT, STUB), "stub");
    }
}

#[test]
fn containers_ask_as_ever_with_their_addresses_translated() {
    let world = World::new();
    world.machine.load(MASQUERADE).unwrap();
    world.outside.ip("route delete 172.17.0.0/16");
    let ask = |world: &World| world.ask_as(&world.container, (0, 0), &resolvers()[0]);
    world.apply(&options(), &asks(&[RESOLVERS[0]]));
    assert_eq!(ask(&world), "resolver");

    let mut options = options();
    options.interfaces.virtuals = names(&["docker0"]);
    options.dns = Some(Dns { listen: vec!["172.17.0.1:15053".parse().unwrap()], all: false });
    world.apply(&options, &asks(&[RESOLVERS[0]]));
    assert_eq!(ask(&world), "agent");
    world.shut(Gate::Dns);
    assert_eq!(ask(&world), "resolver");
}

#[test]
fn a_dead_agent_loses_nobody_a_name_not_even_from_a_port_that_it_has_answered() {
    let world = World::new();
    world.load(&options(), &asks(&["127.0.0.53", RESOLVERS[0]]));
    for (to, by) in [(STUB.to_owned(), "stub"), (resolvers()[0].clone(), "resolver")] {
        world.element("add", Gate::Dns, " timeout 60s");
        let program = world.asker(&world.machine, (APP, APP), &to);
        assert_eq!(world.ask_with(&program), "agent");
        world.shut(Gate::Dns);
        assert_eq!(world.ask_with(&program), by);
        assert_eq!(world.ask(&to), by);
    }
}

#[test]
fn what_keeps_a_gate_open_runs_out_by_itself() {
    let world = World::new();
    world.load(&options(), &asks(&["127.0.0.53"]));
    world.element("add", Gate::Dns, " timeout 1s");
    assert_eq!(world.ask(STUB), "agent");
    world.until("the gate is shut", |world| world.ask(STUB) == "stub");
}

const FIREWALL: &str = "table inet firewall {
    chain input {
        type filter hook input priority 0; policy drop;
        iifname lo accept
        meta l4proto ipv6-icmp accept
        ct state established,related accept
    }
}
";

const MASQUERADE: &str = "table ip docker {
    chain postrouting {
        type nat hook postrouting priority 100;
        oifname eth0 ip saddr 172.17.0.0/16 masquerade
    }
}
";
