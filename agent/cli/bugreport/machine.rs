//! What the machine is like: versions, units, their journal, rules, network, our directories.

mod directories;

use std::{fs::File, io::Read as _, path::PathBuf};

use hawser_envoy::{log::level::is_access, unit::Unit};
use nix::sys::utsname::uname;

use super::{
    piece::{Piece, Raw},
    program::said,
};
use crate::{cli::Context, config::paths::Paths};

pub(super) use directories::directories;

/// Versions of everything that has a part in it.
pub(super) async fn versions(context: &Context) -> Piece {
    let paths = &context.paths;
    let mut lines = format!("hawser     {}\n", crate::VERSION);
    let envoy = Unit::under(paths.root()).started().map(|started| started.version);
    let envoy = envoy.unwrap_or_else(|| "none has run from hawser-envoy.service".to_owned());
    lines.push_str(&format!("envoy      {envoy}\n"));
    if let Ok(kernel) = uname() {
        let [release, machine] = [kernel.release(), kernel.machine()];
        let [release, machine] = [release, machine].map(std::ffi::OsStr::to_string_lossy);
        lines.push_str(&format!("kernel     {release} {machine}\n"));
    }
    let release = file(&paths.at("etc/os-release")).or_else(|_| file(&"/etc/os-release".into()));
    let release = release.map(|raw| String::from_utf8_lossy(&raw.bytes).into_owned());
    let name = release.unwrap_or_default();
    let name = name.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    lines.push_str(&format!("system     {}\n", name.unwrap_or("unknown").trim_matches('"')));
    for (name, program, arguments) in PROGRAMS {
        let version = said(paths, program, arguments).await;
        let first = version.map(|raw| {
            let text = String::from_utf8_lossy(&raw.bytes).into_owned();
            text.lines().next().unwrap_or_default().to_owned()
        });
        lines.push_str(&format!("{name:<10} {}\n", first.unwrap_or_else(|reason| reason)));
    }
    Piece::text(
        "versions.txt",
        "versions of hawser, Envoy and what is below",
        Ok(Raw::whole(lines)),
    )
}

/// How our units are. Neither their environment nor their command lines, which may be anybody's.
pub(super) async fn units(context: &Context) -> Piece {
    let properties = format!("--property={}", PROPERTIES.join(","));
    let arguments: Vec<_> = ["show", &properties].into_iter().chain(UNITS).collect();
    let raw = said(&context.paths, "systemctl", &arguments).await;
    Piece::text("units.txt", "how our units are", raw)
}

/// What our units have said, without the requests of those whom they serve.
pub(super) async fn journal(context: &Context, since: &str) -> Piece {
    let since = format!("--since={since}");
    let mut arguments = vec!["--no-pager", "--output=short-iso", "--lines=5000", &since];
    arguments.extend(UNITS.iter().flat_map(|unit| ["--unit", unit]));
    let raw = said(&context.paths, "journalctl", &arguments).await;
    let raw = raw.map(|raw| without_requests(&raw));
    Piece::text("journal.txt", "what our units have said, without access logs", raw)
}

fn without_requests(raw: &Raw) -> Raw {
    let (mut bytes, mut left_out) = (Vec::with_capacity(raw.bytes.len()), 0_usize);
    for line in raw.bytes.split_inclusive(|byte| *byte == b'\n') {
        let said = line.windows(3).position(|window| window == b"]: ");
        let said = said.and_then(|at| line.get(at.saturating_add(3)..)).unwrap_or(line);
        if is_access(said) {
            left_out += 1;
        } else {
            bytes.extend_from_slice(line);
        }
    }
    if left_out > 0 {
        bytes.extend_from_slice(format!("({left_out} lines of access logs left out)\n").as_bytes());
    }
    Raw { bytes, cut: raw.cut }
}

/// Our table with all of it; of the others that they are there.
pub(super) async fn rules(context: &Context) -> [Piece; 2] {
    let paths = &context.paths;
    let ours = said(paths, "nft", &["list", "table", "inet", "hawser"]).await;
    let others = said(paths, "nft", &["list", "chains"]).await;
    [
        Piece::text("rules/ours.txt", "our rules, and what they have matched", ours),
        Piece::text("rules/others.txt", "names of tables and chains of others", others),
    ]
}

/// Addresses, routes, and how names are resolved.
pub(super) async fn network(context: &Context) -> Vec<Piece> {
    let paths = &context.paths;
    let mut pieces = Vec::new();
    for (name, what, program, arguments) in NETWORK {
        pieces.push(Piece::text(name, what, said(paths, program, arguments).await));
    }
    for (name, what, path) in FILES {
        let here = paths.at(path);
        // What is the machine's stays where it is, wherever the rest has been moved.
        let path = if here.exists() { here } else { PathBuf::from("/").join(path) };
        let raw = file(&path).map_err(|error| format!("{}: {error}", path.display()));
        pieces.push(Piece::text(name, what, raw));
    }
    pieces
}

fn file(path: &PathBuf) -> std::io::Result<Raw> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    let cut = bytes.len() as u64 == MOST;
    Ok(Raw { bytes, cut })
}

const UNITS: [&str; 6] = [
    "hawser.service",
    "hawser-envoy.service",
    "hawser-intercept.service",
    "hawser-resolved.service",
    "hawser-ready.service",
    "hawser.target",
];
const PROPERTIES: [&str; 23] = [
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "FragmentPath",
    "DropInPaths",
    "Result",
    "MainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "ExecMainStartTimestamp",
    "ExecMainExitTimestamp",
    "ActiveEnterTimestamp",
    "InactiveEnterTimestamp",
    "NRestarts",
    "StatusText",
    "StatusErrno",
    "MemoryCurrent",
    "MemoryMax",
    "TasksCurrent",
    "CPUUsageNSec",
    "WatchdogTimestamp",
];
const PROGRAMS: [(&str, &str, &[&str]); 3] = [
    ("systemd", "systemctl", &["--version"]),
    ("nftables", "nft", &["--version"]),
    ("iproute2", "ip", &["-Version"]),
];
const NETWORK: [(&str, &str, &str, &[&str]); 5] = [
    ("network/addresses.txt", "addresses", "ip", &["address"]),
    ("network/routes.txt", "routes", "ip", &["route", "show", "table", "all"]),
    ("network/routes6.txt", "routes of IPv6", "ip", &["-6", "route", "show", "table", "all"]),
    ("network/policies.txt", "which routes are for what", "ip", &["rule"]),
    ("network/listening.txt", "who listens where", "ss", &["-H", "-l", "-n", "-t", "-u"]),
];
const FILES: [(&str, &str, &str); 3] = [
    ("network/resolv.conf", "resolvers", "etc/resolv.conf"),
    ("network/nsswitch.conf", "where names are looked for", "etc/nsswitch.conf"),
    ("network/hosts", "names that this machine knows", "etc/hosts"),
];
const MOST: u64 = 1 << 20;

/// Used by [`directories`]: what is ours.
fn ours(paths: &Paths) -> [PathBuf; 9] {
    [
        paths.at("etc/hawser"),
        paths.state(),
        paths.at("var/lib/hawser-envoy"),
        paths.cache(),
        paths.run(),
        paths.envoy_run(),
        paths.intercept_run(),
        paths.at("etc/certs"),
        paths.at("var/log/istio"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_left_out_of_the_journal_and_counted() {
        let journal = "2026-11-21T17:00:00+0000 vm envoy[7]: [2026-11-21T17:00:00.1Z] \"GET /me?x=1\" 200\n\
                       2026-11-21T17:00:01+0000 vm envoy[7]: [2026-11-21 17:00:01.1][7][warning][main] x\n\
                       2026-11-21T17:00:02+0000 vm hawser[1]: ready\n";
        let left = without_requests(&Raw::whole(journal));
        let left = String::from_utf8(left.bytes).unwrap();
        assert!(!left.contains("/me"), "{left}");
        assert!(left.contains("[warning]") && left.contains("ready"), "{left}");
        assert!(left.ends_with("(1 lines of access logs left out)\n"), "{left}");
    }
}
