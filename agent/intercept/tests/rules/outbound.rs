//! What goes out, row by row in the order in which it is decided.

use hawser_intercept::plan::{Mode, Ports, Taken};
use hawser_rt::Cidr;

use crate::{
    cases::{APP, OTHER, PROXY, cidrs, machine, names, options, ports},
    world::{OUTSIDE, OWN, World},
};

const ENVOY: (u32, u32) = (PROXY, PROXY);

fn at(world: &World, host: &str, port: u16) -> &'static str {
    world.call(&place(host, port)).at
}

fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[test]
fn what_goes_out_reaches_envoy_with_where_it_was_to_go() {
    let world = World::new();
    world.apply(&options(), &machine());
    for host in OUTSIDE {
        let arrival = world.call(&place(host, 80));
        assert_eq!((arrival.at, arrival.to), ("envoy out", place(host, 80)));
    }
}

#[test]
fn row_0_what_goes_out_of_a_spared_interface_is_let_alone() {
    let world = World::new();
    let mut options = options();
    for spared in ["eth0", "eth*"] {
        options.interfaces.exclude = names(&[spared]);
        world.apply(&options, &machine());
        assert!(OUTSIDE.iter().all(|host| at(&world, host, 80) == "outside"), "{spared}");
    }
}

#[test]
fn row_1_spared_ports_are_let_alone_and_ssh_is_one_of_them() {
    let world = World::new();
    let mut options = options();
    options.outbound.exclude_ports = vec![Ports { first: 2000, last: 2100 }];
    world.apply(&options, &machine());
    for host in OUTSIDE {
        let spared = [22, 123, 2049].map(|port| at(&world, host, port));
        assert_eq!(spared, ["outside"; 3]);
        assert_eq!(at(&world, host, 443), "envoy out");
    }
    options.spared.clear();
    world.apply(&options, &machine());
    assert_eq!(at(&world, OUTSIDE[0], 22), "envoy out");
}

#[test]
fn row_2_envoys_connections_to_programs_are_let_alone() {
    let world = World::new();
    world.apply(&options(), &machine());
    for (own, from) in OWN.iter().zip(["127.0.0.6", "::6"]) {
        let call = world.connect(&world.machine, ENVOY, &place(own, 8080), Some(from)).unwrap();
        assert_eq!((call.arrival.at, call.arrival.from.as_str()), ("program", from));
    }
}

#[test]
fn row_3a_what_envoy_sends_to_its_own_machine_comes_in() {
    let world = World::new();
    world.apply(&options(), &machine());
    for own in OWN {
        let arrival = world.call_as(ENVOY, &place(own, 8080));
        assert_eq!((arrival.at, arrival.to), ("envoy in", place(own, 8080)));
        let spared = [15008, 53].map(|port| world.call_as(ENVOY, &place(own, port)).at);
        assert_eq!(spared, ["program"; 2], "a tunnel, and a resolver that is here");
    }
    for own in ["127.0.0.1", "::1"] {
        assert_eq!(world.call_as(ENVOY, &place(own, 8080)).at, "program");
    }
}

#[test]
fn row_3a_port_53_comes_in_like_any_other_where_dns_is_not_redirected() {
    let world = World::new();
    let mut options = options();
    options.dns = None;
    world.apply(&options, &machine());
    assert_eq!(world.call_as(ENVOY, &place(OWN[0], 53)).at, "envoy in");
}

#[test]
fn row_3b_a_program_reaches_its_own_machine_without_envoy() {
    let world = World::new();
    let mut options = options();
    for dns in [options.dns.clone(), None] {
        options.dns = dns;
        world.apply(&options, &machine());
        for own in OWN.iter().chain(&["127.0.0.1", "127.0.0.2", "::1"]) {
            assert_eq!(at(&world, own, 8080), "program", "{own}");
        }
    }
}

#[test]
fn row_3b_unless_a_network_of_loopback_is_named() {
    let world = World::new();
    let mut options = options();
    options.outbound.networks = Taken::Only(cidrs(&["127.255.0.0/16", "10.9.0.0/24"]));
    world.apply(&options, &machine());
    assert_eq!(at(&world, "127.255.0.3", 8080), "envoy out");
    assert_eq!(at(&world, OWN[0], 8080), "envoy out");
    assert_eq!(at(&world, "127.0.0.1", 8080), "program");
}

#[test]
fn row_3c_and_4_what_envoy_and_the_agent_send_is_let_alone() {
    let world = World::new();
    world.apply(&options(), &machine());
    for who in [(PROXY, PROXY), (PROXY, APP), (APP, PROXY)] {
        for host in OUTSIDE {
            assert_eq!(world.call_as(who, &place(host, 80)).at, "outside", "{who:?}");
        }
    }
}

#[test]
fn row_5_of_groups_those_that_are_named_or_all_but_those_that_are_not() {
    let world = World::new();
    let who = [APP, OTHER].map(|gid| (APP, gid));
    let each = |world: &World| who.map(|who| world.call_as(who, &place(OUTSIDE[0], 80)).at);
    let mut options = options();

    options.scope.groups = Taken::Only(names(&["app"]));
    world.apply(&options, &machine());
    assert_eq!(each(&world), ["envoy out", "outside"]);

    options.scope.groups = Taken::All;
    options.scope.exclude_groups = names(&["other"]);
    world.apply(&options, &machine());
    assert_eq!(each(&world), ["envoy out", "outside"]);

    options.scope.groups = Taken::Only(Vec::new());
    world.apply(&options, &machine());
    assert_eq!(each(&world), ["outside", "outside"]);
}

#[test]
fn users_are_chosen_like_groups_and_one_that_fits_is_enough() {
    let world = World::new();
    let who = [(APP, OTHER), (OTHER, APP), (OTHER, OTHER)];
    let each = |world: &World| who.map(|who| world.call_as(who, &place(OUTSIDE[0], 80)).at);
    let mut options = options();

    options.scope.users = Taken::Only(names(&["app"]));
    world.apply(&options, &machine());
    assert_eq!(each(&world), ["envoy out", "outside", "outside"]);

    options.scope.groups = Taken::Only(names(&["app"]));
    world.apply(&options, &machine());
    assert_eq!(each(&world), ["envoy out", "envoy out", "outside"]);

    options.scope.exclude_users = names(&["app"]);
    world.apply(&options, &machine());
    assert_eq!(each(&world), ["outside", "envoy out", "outside"]);
}

#[test]
fn row_7_a_wide_loopback_is_let_alone_but_services_that_have_their_addresses_there() {
    let world = World::new();
    let (mut options, mut machine) = (options(), machine());
    options.outbound.loopback = "127.0.0.0/8".parse().unwrap();
    machine.vips = cidrs(&["127.255.0.3/32"]);
    world.apply(&options, &machine);
    assert_eq!(at(&world, "127.255.0.3", 80), "envoy out");
    for own in ["127.0.0.1", "127.255.0.4", OWN[0], OWN[1]] {
        assert_eq!(at(&world, own, 80), "program", "{own}");
    }
}

#[test]
fn row_7_a_machine_that_talks_to_itself_is_let_alone_where_networks_of_loopback_are_named() {
    let world = World::new();
    let mut options = options();
    options.outbound.networks = Taken::Only(cidrs(&["127.0.0.0/8", "::/0"]));
    world.apply(&options, &machine());
    let each = ["127.0.0.1", "::1", "127.0.0.2", OWN[1]].map(|own| at(&world, own, 80));
    assert_eq!(each, ["program", "program", "envoy out", "envoy out"]);
}

#[test]
fn row_8_spared_networks_are_let_alone_and_metadata_is_one_of_them() {
    let world = World::new();
    let mut options = options();
    options.outbound.exclude = cidrs(&["203.0.113.0/24", "2001:db8::/32"]);
    options.outbound.ports = ports(&[443]);
    world.apply(&options, &machine());
    for host in OUTSIDE.iter().chain(&["169.254.169.254"]) {
        assert_eq!([80, 443].map(|port| at(&world, host, port)), ["outside"; 2], "{host}");
    }
    assert_eq!(at(&world, "240.240.0.7", 80), "envoy out");
}

#[test]
fn row_9_named_ports_are_taken_wherever_they_go() {
    let world = World::new();
    let mut options = options();
    options.outbound.networks = Taken::Only(Vec::new());
    options.outbound.ports = vec![Ports::one(443), Ports { first: 8000, last: 8100 }];
    world.apply(&options, &machine());
    for host in OUTSIDE {
        let each = [443, 8080, 80].map(|port| at(&world, host, port));
        assert_eq!(each, ["envoy out", "envoy out", "outside"]);
    }
}

#[test]
fn row_10_of_networks_those_that_are_named_and_what_istiod_allocates() {
    let world = World::new();
    let (mut options, mut machine) = (options(), machine());
    let taken = |host: &str| -> Vec<Cidr> { cidrs(&[host]) };
    options.outbound.networks = Taken::Only(taken("203.0.113.0/24"));
    machine.vips = cidrs(&["127.255.0.3/32"]);
    world.apply(&options, &machine);
    for host in ["203.0.113.5", "240.240.0.7", "127.255.0.3"] {
        assert_eq!(at(&world, host, 80), "envoy out", "{host}");
    }
    for host in ["10.9.0.1", "2001:db8::5"] {
        assert_eq!(at(&world, host, 80), "outside", "{host}");
    }
    for own in [OWN[0], OWN[1], "127.0.0.1", "127.255.0.4"] {
        assert_eq!(at(&world, own, 80), "program", "{own}");
    }
    options.outbound.networks = Taken::Only(taken("2001:db8::/32"));
    world.apply(&options, &machine);
    assert_eq!(at(&world, "2001:db8::5", 80), "envoy out");
    assert_eq!(at(&world, "203.0.113.5", 80), "outside");
}

#[test]
fn of_a_family_that_envoy_does_not_have_nothing_is_redirected() {
    let world = World::new();
    for v4 in [true, false] {
        let mut machine = machine();
        (machine.ipv4, machine.ipv6) = (v4, !v4);
        world.apply(&options(), &machine);
        let [has, has_not] = if v4 { [0, 1] } else { [1, 0] };
        assert_eq!(at(&world, OUTSIDE[has], 80), "envoy out");
        assert_eq!(at(&world, OUTSIDE[has_not], 80), "outside");
        assert_eq!(world.call_as(ENVOY, &place(OWN[has_not], 80)).at, "program");
        assert_eq!(world.visit(&place(OWN[has], 80)).at, "envoy in");
        assert_eq!(world.visit(&place(OWN[has_not], 80)).at, "program");
    }
}

#[test]
fn nothing_goes_to_envoy_that_nobody_asked_for() {
    let world = World::new();
    let mut none = options();
    none.mode = Mode::None;
    for options in [crate::cases::nothing(), none] {
        world.apply(&options, &machine());
        for (own, host) in OWN.iter().zip(OUTSIDE) {
            assert_eq!(at(&world, host, 80), "outside");
            assert_eq!(world.visit(&place(own, 80)).at, "program");
            assert_eq!(world.call_as(ENVOY, &place(own, 80)).at, "program");
        }
    }
}
