//! Addresses of this machine, and of one of its own: tests that change addresses run once more in
//! a process with a network namespace of its own.

use std::{env, net::TcpListener, process::Command};

use nix::{ifaddrs::getifaddrs, unistd::geteuid};

use super::*;

/// Which tests run in a machine of their own; told to the process that is one.
const OWN: &str = "HAWSER_TEST_OWN_NETWORK";

/// Whether this is the process with the network. If not, the test is run in one; where the system
/// allows none, that is said and counts as a failure.
fn in_own_network(test: &str) -> bool {
    if told() {
        return true;
    }
    // root needs no user namespace, which some systems forbid.
    let users: &[&str] = if geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let output = Command::new("unshare")
        .args(users)
        .args(["--net", "--"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", &format!("addresses::tests::{test}"), "--nocapture"])
        .env(OWN, "1")
        .output()
        .expect("unshare(1) of util-linux");
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "in a network of its own (where user namespaces are forbidden, run this as root): \
         {}\n{stdout}\n{stderr}",
        output.status
    );
    false
}

#[expect(clippy::disallowed_methods, reason = "the test harness takes no arguments for a test")]
fn told() -> bool {
    env::var_os(OWN).is_some()
}

/// `ip` of iproute2.
fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip of iproute2");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {complaint}");
}

/// The clock runs ahead while the test waits; what the kernel has told by then is there.
fn block_on(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(test);
}

#[test]
fn a_loopback_destination_is_spoken_to_from_loopback() {
    let cases = [
        ("127.0.0.1:15012", "127.0.0.1"),
        ("127.0.0.9:15012", "127.0.0.1"),
        ("[::ffff:127.0.0.1]:15012", "127.0.0.1"),
    ];
    for (destination, source) in cases {
        let found = towards(destination.parse().unwrap()).unwrap();
        assert_eq!(found, source.parse::<IpAddr>().unwrap(), "{destination}");
    }
}

#[test]
fn the_source_follows_the_route() {
    if !in_own_network("the_source_follows_the_route") {
        return;
    }
    let istiod = "10.99.0.1:15012".parse().unwrap();
    assert!(towards(istiod).is_err(), "no route, no source");
    ip("link set lo up");
    ip("addr add 10.1.0.5/24 dev lo");
    ip("addr add 10.2.0.5/24 dev lo");

    for source in ["10.2.0.5", "10.1.0.5"] {
        ip(&format!("route replace 10.99.0.0/24 dev lo src {source}"));
        assert_eq!(towards(istiod).unwrap(), source.parse::<IpAddr>().unwrap());
    }
}

#[test]
fn addresses_that_come_and_go_are_told_of_once_a_burst() {
    if !in_own_network("addresses_that_come_and_go_are_told_of_once_a_burst") {
        return;
    }
    block_on(async {
        ip("link set lo up");
        let mut changes = Changes::watch();
        assert!(changes.kernel.is_some(), "the kernel tells");
        for change in [
            "addr add 10.1.0.5/24 dev lo",
            "addr del 10.1.0.5/24 dev lo",
            "addr add fd00::5/64 dev lo nodad",
        ] {
            let started = Instant::now();
            ip(change);
            ip("addr add 10.7.0.1/32 dev lo");
            ip("addr del 10.7.0.1/32 dev lo");
            changes.next().await;
            assert!(started.elapsed() >= QUIET, "{change}: it waits for the end of the burst");
            assert!(started.elapsed() < POLL, "{change}: told, not asked");
            let more = timeout(2 * QUIET, changes.next()).await;
            assert!(more.is_err(), "{change}: three changes are one");
        }
    });
}

#[test]
fn a_change_is_not_lost_with_a_wait_that_is_given_up() {
    if !in_own_network("a_change_is_not_lost_with_a_wait_that_is_given_up") {
        return;
    }
    block_on(async {
        let mut changes = Changes::watch();
        ip("link set lo up");
        ip("addr add 10.7.0.1/32 dev lo");
        let given_up = timeout(QUIET / 2, changes.next()).await;
        assert!(given_up.is_err(), "the burst is not over");
        assert!(changes.heard);
        changes.next().await;
        assert!(!changes.heard);
    });
}

#[tokio::test(start_paused = true)]
async fn where_the_kernel_does_not_tell_everybody_is_told_now_and_then() {
    let mut changes = Changes { kernel: None, heard: false };
    for _ in 0..3 {
        let started = Instant::now();
        changes.next().await;
        assert!((POLL..=POLL + LONGEST).contains(&started.elapsed()), "{:?}", started.elapsed());
    }
}

#[test]
fn a_source_is_an_address_of_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = towards(listener.local_addr().unwrap()).unwrap();
    let own = getifaddrs().unwrap().filter_map(|interface| interface.address);
    let mut own = own.filter_map(|address| Some(IpAddr::V4(address.as_sockaddr_in()?.ip())));
    assert!(own.any(|ip| ip == source), "{source}");
}
