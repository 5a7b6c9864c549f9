//! Envoy's ports, by whoever has them, and its open files.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use super::{
    super::{
        Finding, Patient,
        agent::some,
        ports::{self, Listener, Over},
    },
    pid, settings,
};
use crate::{config::Config, status::lacks};

/// A port, and what it is for.
struct Port {
    number: u16,
    what: &'static str,
    /// Comes with the configuration, and not with the bootstrap.
    late: bool,
}

fn wanted(config: &Config) -> Vec<Port> {
    let envoy = &config.envoy;
    let mut all = vec![
        Port { number: envoy.admin_port, what: "admin interface", late: false },
        Port { number: envoy.status_port, what: "status", late: false },
        Port { number: envoy.prometheus_port, what: "metrics", late: false },
    ];
    if lacks::redirects(&config.intercept) {
        let set = config.intercept.envoy;
        all.push(Port { number: set.outbound, what: "what goes out", late: true });
        all.push(Port { number: set.inbound, what: "what comes in", late: true });
    }
    all.retain(|port| port.number != 0);
    all
}

pub(super) fn look(patient: &Patient) -> Finding {
    let config = match settings(patient) {
        Ok(config) => config,
        Err(finding) => return finding,
    };
    let Some(all) = ports::listeners(patient, Over::Tcp) else {
        return Finding::unknown("the kernel does not show who listens");
    };
    let envoy = pid(patient).filter(|_| !patient.preflight);
    let (mut free, mut ours, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for port in wanted(config) {
        let there = ports::at(&all, SocketAddr::from((Ipv4Addr::LOCALHOST, port.number)));
        let number = port.number.to_string();
        if there.is_empty() {
            match envoy {
                Some(_) => missing.push(port),
                None => free.push(number),
            }
        } else if is_envoys(patient, &there, envoy) {
            ours.push(number);
        } else {
            return taken(patient, &port, &there);
        }
    }
    if let Some(port) = missing.first() {
        return unbound(&missing, port);
    }
    match ours.is_empty() {
        true => Finding::ok(format!("free: {}", free.join(", "))),
        false => Finding::ok(format!("an Envoy listens on {}", ours.join(", "))),
    }
}

fn is_envoys(patient: &Patient, sockets: &[&Listener], envoy: Option<u32>) -> bool {
    let holders = ports::holders(patient, sockets);
    match envoy {
        Some(envoy) => holders.is_empty() || holders.iter().any(|process| process.pid == envoy),
        // One that nobody has noted: of an earlier boot's unit, or started by hand.
        None => {
            let joined = patient.is_of_a_mesh() && !patient.preflight;
            joined && holders.iter().any(|process| process.name == "envoy")
                || ports::leaves(patient, &holders)
        }
    }
}

fn taken(patient: &Patient, port: &Port, there: &[&Listener]) -> Finding {
    let Port { number, what, .. } = port;
    let holders = ports::holders(patient, there);
    if let Some(unseen) = ports::unseen(patient, &holders, &format!("port {number}")) {
        return unseen;
    }
    let who = ports::told(patient, there);
    let setting = match *what {
        "admin interface" => "envoy.admin_port",
        "status" => "envoy.status_port",
        "metrics" => "envoy.prometheus_port",
        "what goes out" => "intercept.outbound_port",
        _ => "intercept.inbound_port",
    };
    Finding::failed(
        format!("{who} has port {number}, which Envoy needs for {what}"),
        format!("stop it (`ss -ltnp sport = :{number}` shows it), or set {setting}"),
    )
    .because("Envoy does not start, or does not get that traffic, where another has its port")
}

fn unbound(missing: &[Port], first: &Port) -> Finding {
    let all: Vec<String> =
        missing.iter().map(|one| format!("{} ({})", one.number, one.what)).collect();
    let said = format!("Envoy runs, and does not listen on {}", some(&all));
    if first.late {
        return Finding::failed(
            said,
            "`hawser doctor --only agent`: whether its listeners have come",
        )
        .because("these listeners come with the configuration, from istiod");
    }
    Finding::failed(said, "`systemctl restart hawser-envoy`")
        .because("it runs with another bootstrap, or in another network")
}

/// How many it has open, and may.
pub(super) fn files(patient: &Patient) -> Finding {
    if let Err(finding) = settings(patient) {
        return finding;
    }
    let Some(pid) = pid(patient) else { return Finding::ok("Envoy does not run") };
    let open = match fs::read_dir(patient.file(&format!("/proc/{pid}/fd"))) {
        Ok(files) => files.count(),
        Err(error) => return Finding::unknown(patient.unseen("Envoy's open files", &error)),
    };
    let limits = patient.text(&format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    let Some(most) = most.filter(|most| *most > 0) else {
        return Finding::ok(format!("{open} open, without a limit"));
    };
    let said = format!("{open} of {most} are open (pid {pid})");
    let remedy = "`systemctl edit hawser-envoy`: [Service] LimitNOFILE=1048576, then \
                  `systemctl restart hawser-envoy`";
    let why = "each connection takes two; without any left, new connections fail";
    match open.saturating_mul(100) / most {
        FULL.. => Finding::failed(said, remedy).because(why),
        NEARLY.. => Finding::warning(said, remedy).because(why),
        _ => Finding::ok(said),
    }
}

/// In percent.
const NEARLY: usize = 80;
const FULL: usize = 95;
