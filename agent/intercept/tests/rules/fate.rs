//! What is said of a connection is what the kernel does with it, case by case.

use std::net::SocketAddr;

use hawser_intercept::plan::{self, Call, Gate, Taken};

use crate::{
    cases::{APP, Case, OTHER, PROXY, all},
    world::{OUTSIDE, OWN, World},
};

#[test]
fn what_is_said_of_a_connection_is_what_the_kernel_does_with_it() {
    let world = World::new();
    let mut compared = 0;
    for (name, options, machine) in all().into_iter().filter(can_be_loaded) {
        world.apply(&options, &machine);
        for uid in [APP, OTHER, PROXY] {
            for (host, port) in places() {
                let to = SocketAddr::new(host.parse().unwrap(), port);
                let here = OWN.contains(&host) || to.ip().is_loopback();
                let fate = plan::fate(&options, &machine, &Call { uid, gid: uid, to, here });
                let said = match fate.gate {
                    Some(Gate::Outbound) => "envoy out",
                    Some(Gate::Inbound) => "envoy in",
                    Some(Gate::Dns) => "agent",
                    None => "past",
                };
                let done = match world.call_as((uid, uid), &to.to_string()).at {
                    envoy @ ("envoy out" | "envoy in") => envoy,
                    _ => "past",
                };
                assert_eq!(said, done, "{name}: {uid} to {to}: {fate:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

fn places() -> Vec<(&'static str, u16)> {
    let outside =
        OUTSIDE.iter().flat_map(|host| [22, 80, 123, 443, 2049].map(|port| (*host, port)));
    let own = OWN.iter().flat_map(|host| [8080, 15008].map(|port| (*host, port)));
    outside.chain(own).chain([("127.0.0.1", 8080), ("::1", 8080), ("240.240.0.7", 80)]).collect()
}

/// Units are none of this machine's, and Envoy listens on its usual ports here.
fn can_be_loaded((_, options, _): &Case) -> bool {
    let scope = &options.scope;
    let units = matches!(scope.units, Taken::Only(_)) || !scope.exclude_units.is_empty();
    !units && options.envoy.outbound == 15001
}
