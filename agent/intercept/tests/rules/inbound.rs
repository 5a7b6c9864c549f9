//! What comes in: redirected, or handed over as it is.

use hawser_intercept::plan::{Gate, Machine, Mode, Options, Ports, Taken};

use crate::{
    cases::{PROXY, machine, names, options, ports},
    world::{OUTSIDE, OWN, World},
};

const CALLERS: [&str; 2] = ["10.9.0.1", "fd09::1"];

fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn tproxy() -> Options {
    Options { mode: Mode::Tproxy, ..options() }
}

#[test]
fn what_comes_in_reaches_envoy_with_where_it_was_to_go_and_who_called() {
    for options in [options(), tproxy()] {
        let world = World::with(options.mode == Mode::Tproxy);
        world.apply(&options, &machine());
        for (own, caller) in OWN.iter().zip(CALLERS) {
            let arrival = world.visit(&place(own, 8080));
            let expected = ("envoy in", place(own, 8080), caller.to_owned());
            assert_eq!((arrival.at, arrival.to, arrival.from), expected, "{:?}", options.mode);
            assert_eq!(arrival.redirected, options.mode == Mode::Redirect, "or handed over");
        }
    }
}

#[test]
fn of_all_ports_some_are_spared_and_tunnels_always() {
    for mut options in [options(), tproxy()] {
        let world = World::with(options.mode == Mode::Tproxy);
        options.inbound.exclude = vec![Ports { first: 8400, last: 8500 }];
        world.apply(&options, &Machine { ssh: vec![2222], ..machine() });
        for own in OWN {
            let spared = [22, 2222, 8443, 15020, 15021, 15008];
            let spared = spared.map(|port| world.visit(&place(own, port)).at);
            assert_eq!(spared, ["program"; 6]);
            assert_eq!(world.visit(&place(own, 80)).at, "envoy in");
        }
        options.spared.clear();
        world.apply(&Options { mode: Mode::Redirect, ..options }, &machine());
        assert_eq!(world.visit(&place(OWN[0], 22)).at, "envoy in");
    }
}

#[test]
fn of_ports_that_are_named_those_and_no_others() {
    for mut options in [options(), tproxy()] {
        let world = World::with(options.mode == Mode::Tproxy);
        options.inbound.ports = Taken::Only(ports(&[8080, 22]));
        world.apply(&options, &machine());
        for own in OWN {
            let each = [8080, 22, 80, 15008].map(|port| world.visit(&place(own, port)).at);
            assert_eq!(each, ["envoy in", "envoy in", "program", "program"]);
        }
    }
}

#[test]
fn without_ports_nothing_that_comes_in_is_redirected_but_what_envoy_sends_itself() {
    for mut options in [options(), tproxy()] {
        let world = World::with(options.mode == Mode::Tproxy);
        options.inbound.ports = Taken::Only(Vec::new());
        world.apply(&options, &machine());
        for own in OWN {
            assert_eq!(world.visit(&place(own, 8080)).at, "program");
            assert_eq!(world.call_as((PROXY, PROXY), &place(own, 8080)).at, "envoy in");
        }
    }
}

#[test]
fn what_comes_in_by_a_spared_interface_is_let_alone() {
    for mut options in [options(), tproxy()] {
        let world = World::with(options.mode == Mode::Tproxy);
        options.interfaces.exclude = names(&["eth*"]);
        world.apply(&options, &machine());
        assert!(OWN.iter().all(|own| world.visit(&place(own, 8080)).at == "program"));
    }
}

#[test]
fn a_program_sees_who_calls_and_its_answers_find_envoy() {
    let world = World::with(true);
    world.apply(&tproxy(), &machine());
    for (own, caller) in OWN.iter().zip(OUTSIDE) {
        // Envoy, for somebody who has called: from their address, with its own mark.
        let to = place(own, 8080);
        let mut call = world.connect_marked(1337, caller, &to).unwrap();
        assert_eq!((call.arrival.at, call.arrival.from.as_str()), ("program", caller));
        assert!(call.lives());
    }
}

#[test]
fn nobody_gets_past_envoy_because_it_does_not_listen() {
    for options in [options(), tproxy()] {
        let mut world = World::with(options.mode == Mode::Tproxy);
        world.without_envoy();
        world.apply(&options, &machine());
        assert!(OWN.iter().all(|own| world.visit(&place(own, 8080)).at == "nobody"));
    }
}

#[test]
fn an_envoy_that_may_not_be_handed_anything_is_redirected_to() {
    let world = World::with(false);
    world.apply(&tproxy(), &machine());
    for own in OWN {
        let arrival = world.visit(&place(own, 8080));
        assert_eq!((arrival.at, arrival.to), ("envoy in", place(own, 8080)));
        assert!(arrival.redirected);
    }
}

#[test]
fn what_was_redirected_lives_on_when_envoy_can_be_handed_what_is_new() {
    let world = World::with(false);
    world.apply(&tproxy(), &machine());
    let dial = |own: &str| world.connect(&world.outside, (0, 0), &place(own, 8080), None).unwrap();
    let mut before = OWN.map(dial);
    world.envoy_becomes_transparent();
    let mut after = OWN.map(dial);
    let redirected = [&before, &after].map(|calls| calls.each_ref().map(|c| c.arrival.redirected));
    assert_eq!(redirected, [[true, true], [false, false]]);
    assert!(before.iter_mut().chain(&mut after).all(super::world::Connection::lives));
}

#[test]
fn what_is_handed_over_is_decided_once_for_each_connection() {
    let world = World::with(true);
    world.apply(&tproxy(), &machine());
    for (n, own) in (1..).zip(OWN) {
        let mut call = world.connect(&world.outside, (0, 0), &place(own, 8080), None).unwrap();
        assert!(call.lives());
        assert_eq!(world.counted("in, to Envoy as it is"), n);
    }
}

#[test]
fn a_program_that_calls_its_own_machine_is_not_handed_over() {
    let world = World::with(true);
    world.apply(&tproxy(), &machine());
    for own in OWN {
        assert_eq!(world.call(&place(own, 8080)).at, "program");
        assert_eq!(world.call_as((PROXY, PROXY), &place(own, 8080)).at, "envoy in");
    }
}

#[test]
fn what_is_there_lives_on_when_the_gate_opens_and_when_it_shuts() {
    for options in [options(), tproxy()] {
        let world = World::with(options.mode == Mode::Tproxy);
        world.load(&options, &machine());
        let dial =
            |own: &str| world.connect(&world.outside, (0, 0), &place(own, 8080), None).unwrap();
        let mut before = OWN.map(dial);
        assert!(before.iter().all(|call| call.arrival.at == "program"));
        world.open(Gate::Inbound);
        assert!(before.iter_mut().all(super::world::Connection::lives));

        let mut during = OWN.map(dial);
        assert!(during.iter().all(|call| call.arrival.at == "envoy in"));
        let handed = during.iter().all(|call| !call.arrival.redirected);
        assert_eq!(handed, options.mode == Mode::Tproxy);
        world.shut(Gate::Inbound);
        assert!(before.iter_mut().chain(&mut during).all(super::world::Connection::lives));
        assert!(OWN.map(dial).iter().all(|call| call.arrival.at == "program"));
    }
}

#[test]
fn what_containers_send_goes_out_and_what_is_forwarded_for_them_does_not_come_in() {
    for mut options in [options(), tproxy()] {
        let world = World::with(options.mode == Mode::Tproxy);
        let from_there =
            |to: &str| world.connect(&world.container, (0, 0), to, None).unwrap().arrival;
        world.apply(&options, &machine());
        assert_eq!(from_there("203.0.113.5:80").at, "outside");

        options.interfaces.virtuals = names(&["docker*"]);
        world.apply(&options, &machine());
        let arrival = from_there("203.0.113.5:80");
        assert_eq!((arrival.at, arrival.to.as_str()), ("envoy out", "203.0.113.5:80"));
        assert_eq!(from_there("203.0.113.5:22").at, "outside");
        assert_eq!(world.visit(&place(OWN[0], 80)).at, "envoy in");
    }
}

#[test]
fn segments_of_no_connection_are_dropped_where_that_is_wanted() {
    use std::io::Write as _;
    let world = World::new();
    // Nobody tracks connections yet, and then nobody takes up one in the middle of it.
    let mut call = world.connect(&world.outside, (0, 0), &place(OWN[0], 22), None).unwrap();
    assert!(call.lives());
    world.machine.set("netfilter/nf_conntrack_tcp_loose", "0");
    world.apply(&Options { drop_invalid: true, ..options() }, &machine());
    call.caller.write_all(b"ping").unwrap();
    world.until_counted("of no connection");
}
