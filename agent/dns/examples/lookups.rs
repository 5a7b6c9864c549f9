//! What a table costs: memory for each name, time for each lookup.
//!
//! `cargo run --release -p hawser-dns --example lookups [NAMES]`

#![expect(clippy::print_stdout, reason = "it is there to print")]
#![expect(clippy::disallowed_types, reason = "the clock of a runtime is of no use here")]

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use hawser_dns::{Scope, Search, Table, name::Name};
use hawser_proto::Names;

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(50_000);
    let before = resident();
    let message = mesh(count);
    let length = message.len();
    let started = Instant::now();
    let Ok(names) = Names::new(message) else { return };
    let read = started.elapsed();
    let with_names = resident();

    let scope = Scope {
        namespace: "ns-0".to_owned(),
        domain: "ns-0.svc.cluster.local".to_owned(),
        ..Scope::default()
    };
    let started = Instant::now();
    let (table, _) = Table::build(&names, &scope);
    let built = started.elapsed();
    println!("{count} hosts, {} names: message {length} octets", table.names());
    println!(
        "resident: message +{} KiB, table +{} KiB",
        with_names - before,
        resident() - with_names
    );
    println!("read in {read:?}, built in {built:?}");
    let mut peak = 0;
    let mut table = table;
    for _ in 0..4 {
        let (next, _) = Table::build(&names, &scope);
        peak = peak.max(resident());
        table = next;
    }
    println!(
        "resident after replacing: {} KiB more than at first, {} KiB at most",
        resident() - before,
        peak - before
    );

    let domains = ["ns-0.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    let search = Search::new(&domains.map(str::to_owned));
    let hosts: fn(usize) -> String = |n| format!("service-{n:06}.ns-{}.svc.cluster.local", n % 200);
    time("host", &table, &search, count, hosts);
    time("alias", &table, &search, count, |n| format!("service-{n:06}.ns-{}", n % 200));
    time("searched", &table, &search, count, |n| format!("www-{n:06}.example.com.cluster.local"));
    time("outside", &table, &search, count, |n| format!("www-{n:06}.elsewhere.example"));
    time("outside, searched", &table, &search, count, |n| {
        format!("www-{n:06}.elsewhere.example.ns-0.svc.cluster.local")
    });
}

fn time(what: &str, table: &Table, search: &Search, count: usize, name: impl Fn(usize) -> String) {
    const EACH: usize = 50_000;
    let mut dice = fastrand::Rng::with_seed(1);
    // One of five hosts is no service, and there is a service in front of it.
    let numbers = (0..EACH).map(|_| dice.usize(..count / 5) * 5 + usize::from(what != "searched"));
    let asked: Vec<_> = numbers.filter_map(|number| Name::parse(&name(number))).collect();
    let (mut found, mut best) = (0, f64::MAX);
    for _ in 0..20 {
        let started = Instant::now();
        found = asked.iter().filter(|name| black_box(table.find(name, search)).is_some()).count();
        let each = started.elapsed().as_secs_f64() * 1e9 / asked.len() as f64;
        best = best.min(each);
    }
    println!("{what}: {best:.1} ns, {found} of {EACH} found");
}

/// A name table of the usual mixture, in order: four services, one name outside.
fn mesh(count: usize) -> Bytes {
    let mut message = Vec::with_capacity(count * 100);
    for services in [true, false] {
        for n in (0..count).filter(|n| (n % 5 != 0) == services) {
            let ip = field(1, &format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255));
            let (short, namespace) = (format!("service-{n:06}"), format!("ns-{}", n % 200));
            let (host, info) = if services {
                let host = format!("{short}.{namespace}.svc.cluster.local");
                (host, ip + &field(2, "Kubernetes") + &field(3, &short) + &field(4, &namespace))
            } else {
                (format!("www-{n:06}.example.com"), ip + &field(2, "External"))
            };
            message.extend(field(1, &(field(1, &host) + &field(2, &info))).bytes());
        }
    }
    message.shrink_to_fit();
    message.into()
}

/// A field that is shorter than 128 octets.
fn field(number: u8, value: &str) -> String {
    let length = u8::try_from(value.len()).unwrap_or(0);
    format!("{}{}{value}", char::from(number << 3 | 2), char::from(length))
}

/// In KiB.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
