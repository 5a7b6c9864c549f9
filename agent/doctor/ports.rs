//! Who has which port of this machine, as the kernel lists sockets and processes.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{Finding, Patient};

/// Over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Those that take connections.
    Tcp,
    /// Those that take datagrams.
    Udp,
}

/// A socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    /// Where.
    pub(super) address: SocketAddr,
    /// Whose it is.
    pub(super) uid: u32,
    inode: u64,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// Its name, as the kernel has it.
    pub(super) name: String,
}

/// All that listen; none, if the kernel's tables cannot be seen.
pub(super) fn listeners(patient: &Patient, over: Over) -> Option<Vec<Listener>> {
    let (v4, v6, state) = match over {
        Over::Tcp => ("tcp", "tcp6", LISTEN),
        Over::Udp => ("udp", "udp6", UNCONNECTED),
    };
    let table = patient.text(&format!("/proc/self/net/{v4}")).ok()?;
    // There is none where IPv6 is off.
    let more = patient.text(&format!("/proc/self/net/{v6}")).unwrap_or_default();
    let lines = table.lines().chain(more.lines());
    Some(lines.filter_map(|line| listener(line, state)).collect())
}

/// Those that have the address, or everything with its port.
pub(super) fn at(listeners: &[Listener], wanted: SocketAddr) -> Vec<&Listener> {
    let has = |listener: &&Listener| {
        let (there, ip) = (listener.address.ip(), wanted.ip());
        listener.address.port() == wanted.port()
            && (there == ip || there.is_unspecified() || ip.is_unspecified())
    };
    listeners.iter().filter(has).collect()
}

/// The processes that have each of these sockets, as far as they can be seen.
pub(super) fn holders(patient: &Patient, sockets: &[&Listener]) -> Vec<Process> {
    let wanted: Vec<String> =
        sockets.iter().map(|socket| format!("socket:[{}]", socket.inode)).collect();
    let mut found = BTreeMap::new();
    let processes = fs::read_dir(patient.file("/proc")).into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let holds = |link: fs::DirEntry| {
            let target = fs::read_link(link.path()).unwrap_or_default();
            target.to_str().is_some_and(|target| wanted.iter().any(|one| one == target))
        };
        if files.take(MOST_FILES).any(holds) {
            found.insert(pid, name(patient, pid));
        }
    }
    found.into_iter().map(|(pid, name)| Process { pid, name }).collect()
}

/// What the kernel calls a process.
pub(super) fn name(patient: &Patient, pid: u32) -> String {
    let name = patient.text(&format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().chars().filter(|c| !c.is_control()).collect()
}

/// Who that is, in words: `nginx (pid 71)`, or the user where processes cannot be seen.
pub(super) fn told(patient: &Patient, sockets: &[&Listener]) -> String {
    let holders = holders(patient, sockets);
    let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
    match (names.is_empty(), sockets.first()) {
        (true, Some(socket)) => format!("a process of user {}", socket.uid),
        (true, None) => "nobody".to_owned(),
        (false, _) => names.join(", "),
    }
}

/// What there is to say where only root sees whose sockets these are.
pub(super) fn unseen(patient: &Patient, holders: &[Process], port: &str) -> Option<Finding> {
    let hidden = holders.is_empty() && !patient.is_root;
    hidden.then(|| Finding::unknown(format!("run as root to see which process has {port}")))
}

/// Whether it is Istio's own agent or its Envoy, on a machine that is to join: they are stopped when
/// hawser is started.
pub(super) fn leaves(patient: &Patient, holders: &[Process]) -> bool {
    let istios = |process: &Process| matches!(process.name.as_str(), "pilot-agent" | "envoy");
    let joins = patient.preflight || !patient.sources.joined;
    joins && !holders.is_empty() && holders.iter().all(istios)
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// `0: 0100007F:3AD9 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998 0 8123 …`
fn listener(line: &str, wanted: &str) -> Option<Listener> {
    let mut words = line.split_ascii_whitespace();
    let (ip, port) = words.nth(1)?.split_once(':')?;
    let state = words.nth(1)?;
    let uid = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    let address = SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
    (state == wanted).then_some(Listener { address, uid, inode })
}

/// The kernel writes each four octets as the number that they are to this processor.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let octets = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
    let octets: [u8; 16] = octets.try_into().ok()?;
    // A socket that takes IPv4 too shows as `::`, one that is bound to it as `::ffff:127.0.0.1`.
    Some(Ipv6Addr::from(octets).to_canonical())
}

const LISTEN: &str = "0A";
const UNCONNECTED: &str = "07";
const MOST_FILES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_read_from_the_kernels_tables() {
        let table = [
            (
                "0: 0100007F:3ACD 00000000:0000 07 00000000:00000000 00:00000000 00000000   998        0 41 2 0",
                UNCONNECTED,
                Some(("127.0.0.1:15053", 998)),
            ),
            (
                "1: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 42 1 0",
                LISTEN,
                Some(("0.0.0.0:15001", 0)),
            ),
            (
                "2: 0100007F:3A99 0100007F:C001 01 00000000:00000000 00:00000000 00000000   998        0 43 1 0",
                LISTEN,
                None,
            ),
            (
                "3: 00000000000000000000000000000000:3A9E 00000000000000000000000000000000:0000 0A 0:0 00:0 0 7 0 44",
                LISTEN,
                Some(("[::]:15006", 7)),
            ),
            (
                "4: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 00:0 0 7 0 45",
                UNCONNECTED,
                Some(("[::1]:53", 7)),
            ),
            ("  sl  local_address rem_address   st", LISTEN, None),
            ("5: zz:3A99 x 0A 1 2 3 4 5 6", LISTEN, None),
        ];
        for (line, wanted, expected) in table {
            let seen = listener(line, wanted).map(|one| (one.address.to_string(), one.uid));
            assert_eq!(seen, expected.map(|(address, uid)| (address.to_owned(), uid)), "{line}");
        }
    }

    #[test]
    fn an_address_is_had_by_who_has_it_or_all() {
        let all = ["0.0.0.0:53", "127.0.0.53:53", "127.0.0.1:54"];
        let all: Vec<_> = all
            .iter()
            .map(|address| Listener { address: address.parse().unwrap(), uid: 0, inode: 1 })
            .collect();
        let had = |wanted: &str| at(&all, wanted.parse().unwrap()).len();
        assert_eq!((had("127.0.0.1:53"), had("0.0.0.0:54"), had("127.0.0.1:55")), (1, 1, 0));
        assert_eq!(had("127.0.0.53:53"), 2);
    }
}
