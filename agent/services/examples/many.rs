//! What a large file costs: `cargo run --release -p hawser-services --example many -- [SERVICES]`.
//!
//! Reading, choosing addresses, making: the time of each, how large what is made is, and the memory of
//! all of it together. Every tenth service is TCP, with an address of its own.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is for people to look at")]

use std::{fmt::Write as _, fs, path::PathBuf, time::SystemTime};

use hawser_services::{Addresses, Local, file, make};

fn main() {
    let count = std::env::args().nth(1).map_or(5000, |count| count.parse().unwrap());
    let mut text = "gateways: [{address: 192.0.2.1}, {address: 192.0.2.2, priority: 1}]\n\
                    services:\n"
        .to_owned();
    for number in 0..count {
        let protocol = if number % 10 == 0 { "tcp" } else { "http" };
        writeln!(
            text,
            "- {{host: s{number}.prod.svc.cluster.local, port: 80, local_port: {}, protocol: {protocol}, \
             identity: ns/prod/sa/s{number}}}",
            if number % 10 == 0 { 5432 } else { 8080 },
        )
        .unwrap();
    }
    let size = text.len();
    let texts = [file::Text { path: PathBuf::from("services.yaml"), text }];
    let before = resident();

    let services = timed("read", || file::parse(&texts, "cluster.local").unwrap());
    let addresses = timed("addresses", || Addresses::default().assign(&services).unwrap());
    let made = timed("made", || make(&services, &addresses, &Local::default()));
    let again = timed("made again", || make(&services, &addresses, &Local::default()));

    assert!(made == again, "it is not the same");
    println!("{} services, a file of {} KB", services.services.len(), size / 1024);
    for (type_url, resources) in &made.0 {
        let bytes: usize = resources.values().map(|one| one.body.len()).sum();
        let kind = type_url.rsplit('.').next().unwrap_or_default();
        println!("{kind}: {} resources, {} KB", resources.len(), bytes / 1024);
    }
    println!("memory: {before} KB before, {} KB with all of it twice", resident());
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = SystemTime::now();
    let done = work();
    println!("{what}: {:?}", begun.elapsed().unwrap());
    done
}

/// What of this process is in memory, in KB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
