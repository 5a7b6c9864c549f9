//! The files that programs and the agent resolve by, and the resolvers in them.

use std::{
    fs,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use hawser_dns::{
    neighbours,
    resolv::{self, ResolvConf},
};
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};

use super::super::{Finding, Patient, agent::some};
use crate::config::dns::Mode;

/// The file that programs read, or that the settings name.
fn place(patient: &Patient) -> PathBuf {
    let named = patient.config.as_ref().ok().and_then(|config| config.dns.as_ref());
    let named = named.map(|dns| dns.resolv_conf.clone());
    let named = named.filter(|path| path.to_str() != Some(USUAL));
    let path = named.unwrap_or_else(|| patient.file(USUAL));
    // A link from the root has to stay below the one that is looked at.
    match fs::read_link(&path) {
        Ok(target) if target.is_absolute() => patient.file(&target.to_string_lossy()),
        _ => path,
    }
}

fn text(patient: &Patient) -> io::Result<String> {
    let path = place(patient);
    if !fs::metadata(&path)?.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    let mut text = Vec::new();
    fs::File::open(&path)?.take(LARGEST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn parsed(text: &str) -> ResolvConf {
    resolv::parse(text.as_bytes(), |name| nix::net::if_::if_nametoindex(name).ok())
}

fn read(patient: &Patient) -> io::Result<ResolvConf> {
    text(patient).map(|text| parsed(&text))
}

/// The addresses that it names.
fn addresses(servers: &[SocketAddr]) -> String {
    let all: Vec<String> = servers
        .iter()
        .map(|server| match server.port() {
            PORT => server.ip().to_string(),
            _ => server.to_string(),
        })
        .collect();
    some(&all)
}

pub(super) fn resolv_conf(patient: &Patient) -> Finding {
    let path = patient.file(USUAL);
    let at = path.display();
    let conf = match read(patient) {
        Ok(conf) => conf,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let leads = fs::read_link(&path).map(|to| format!(", a link to {},", to.display()));
            return Finding::failed(
                format!("{at}{} is not there", leads.unwrap_or_default()),
                "make it with a line `nameserver ADDRESS`, or start the service that writes it \
                 (`systemctl restart systemd-resolved`, `systemctl restart NetworkManager`)",
            )
            .because("programs ask a resolver on this machine then, and the agent has nobody to relay to");
        }
        Err(error) => return Finding::unknown(patient.unseen(&at.to_string(), &error)),
    };
    let ResolvConf { servers, skipped, .. } = &conf;
    if servers.is_empty() {
        return Finding::failed(
            format!("{at} names no resolver; {skipped} lines cannot be read"),
            format!("add a line `nameserver ADDRESS` to {at}, by whoever writes it"),
        );
    }
    let said = format!("{at} names {}", addresses(servers));
    if *skipped > 0 {
        return Finding::warning(
            format!("{said}, and {skipped} lines `nameserver` are none, or too many"),
            format!("look at {at}: each takes one address"),
        );
    }
    Finding::ok(said)
}

/// Asks each for the servers of the root, which every resolver knows.
pub(super) async fn nameservers(patient: &Patient) -> Finding {
    let servers = match read(patient) {
        Ok(conf) => conf.servers,
        Err(error) => return Finding::unknown(patient.unseen("resolv.conf", &error)),
    };
    let mut asks = JoinSet::new();
    // More are never asked by programs.
    for server in servers.into_iter().take(ASKED) {
        asks.spawn(async move { (server, answer(server).await) });
    }
    let (mut answer, mut silent) = (Vec::new(), Vec::new());
    for (server, said) in asks.join_all().await {
        match said {
            Ok(()) => answer.push(server.ip().to_string()),
            Err(error) => silent.push(format!("{} ({error})", server.ip())),
        }
    }
    answer.sort();
    silent.sort();
    let remedy = "see that it can be reached (`ping`, port 53 in firewalls), or have resolv.conf \
                  name another";
    match (answer.is_empty(), silent.is_empty()) {
        (_, true) => Finding::ok(format!("{} answer", some(&answer))),
        (false, false) => {
            Finding::warning(format!("{} answer, and not {}", some(&answer), some(&silent)), remedy)
                .because("programs wait some seconds for each that stands before one that answers")
        }
        (true, false) => Finding::failed(format!("nobody answers: {}", some(&silent)), remedy),
    }
}

/// Whether one that is asked says anything at all.
async fn answer(server: SocketAddr) -> io::Result<()> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    // As random as the kernel chooses ports; and nothing is believed but that somebody is there.
    let [high, low] = socket.local_addr()?.port().to_be_bytes();
    // Recursion desired; one question, for NS of the root.
    let question = [high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    for _ in 0..TRIES {
        socket.send(&question).await?;
        let heard = async {
            let mut reply = [0; 512];
            loop {
                let length = socket.recv(&mut reply).await?;
                let ours = matches!(reply.get(..length), Some([a, b, flags, ..]) if [*a, *b] == [high, low] && flags & RESPONSE != 0);
                if ours {
                    return io::Result::Ok(());
                }
            }
        };
        if let Ok(heard) = timeout(PATIENCE, heard).await {
            return heard;
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

/// How often a name outside is asked for before it is asked for as it is.
pub(super) fn search(patient: &Patient) -> Finding {
    let text = match text(patient) {
        Ok(text) => text,
        Err(error) => return Finding::unknown(patient.unseen("resolv.conf", &error)),
    };
    let search = parsed(&text).search;
    let ndots = ndots(&text);
    let said = format!("{} search domains, ndots:{ndots}", search.len());
    if ndots > FEW_DOTS && !search.is_empty() {
        return Finding::warning(
            said,
            "take `options ndots:` out of resolv.conf, by whoever writes it: 1 is what machines have",
        )
        .because(format!(
            "a name with fewer than {ndots} dots is asked for {} times in vain before it is asked \
             for as it is; that is for pods, and the agent needs it not",
            search.len()
        ));
    }
    Finding::ok(said)
}

/// Dots that a name has to have to be asked for as it is at first.
fn ndots(text: &str) -> u32 {
    let options = text.lines().filter_map(|line| line.trim().strip_prefix("options"));
    let words = options.flat_map(str::split_ascii_whitespace);
    let said = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
    said.fold(1, |_, said| said)
}

/// Whom the agent relays to, by what is written, and by what has come back.
pub(super) fn loops(patient: &Patient) -> Finding {
    let dns = match super::settings(patient) {
        Ok(dns) => dns,
        Err(finding) => return finding,
    };
    let running = patient.snapshot.as_ref().and_then(|snapshot| snapshot.dns.as_ref());
    let resolvers = running.map(|dns| dns.resolvers.as_slice()).unwrap_or_default();
    let looping: Vec<String> = resolvers
        .iter()
        .filter(|one| one.looping)
        .map(|one| match &one.program {
            Some(program) => format!("{} ({program})", one.address),
            None => one.address.to_string(),
        })
        .collect();
    let remedy = "name the resolvers of the network in dns.upstreams, or have the program that \
                  sends questions here ask them";
    if !looping.is_empty() {
        let said = format!("what {} is asked comes back to the agent", some(&looping));
        return match looping.len() == resolvers.len() {
            true => Finding::failed(said, remedy)
                .because("names outside the mesh go round until they are given up"),
            false => Finding::warning(said, remedy).because("it is not asked any more, others are"),
        };
    }
    if !dns.upstreams.is_empty() {
        return Finding::ok(format!("dns.upstreams names {}", dns.upstreams.len()));
    }
    let own = running.map_or(&dns.listen, |running| &running.listen);
    let servers = match read(patient) {
        Ok(conf) => conf.servers,
        Err(error) => return Finding::unknown(patient.unseen("resolv.conf", &error)),
    };
    let behind = patient.text(BEHIND).map(|text| parsed(&text).servers).unwrap_or_default();
    let others = |servers: &[SocketAddr]| -> Vec<SocketAddr> {
        servers
            .iter()
            .copied()
            .filter(|server| !own.iter().any(|own| is_own(*own, *server)))
            .collect()
    };
    let stub = |server: &SocketAddr| STUBS.map(IpAddr::from).contains(&server.ip());
    let named = others(&servers);
    // In this mode the stub would ask the agent again, so those behind it are asked.
    let around = dns.mode == Mode::Resolved || named.is_empty();
    let asked: Vec<_> = match around && servers.iter().all(|one| stub(one) || !named.contains(one))
    {
        true => others(&behind),
        false => named,
    };
    if asked.is_empty() {
        return Finding::failed(
            format!("resolv.conf names only the agent itself ({})", addresses(&servers)),
            remedy,
        )
        .because("the agent has nobody to relay names outside the mesh to");
    }
    Finding::ok(format!("it relays to {}", addresses(&asked)))
}

/// Whether what is sent to `server` comes in at `own`.
fn is_own(own: SocketAddr, server: SocketAddr) -> bool {
    let any = own.ip().is_unspecified() && server.ip().is_loopback();
    own.port() == server.port() && (own.ip() == server.ip() || any)
}

pub(super) fn nsswitch(patient: &Patient) -> Finding {
    match neighbours::hosts_line(&patient.root) {
        None => Finding::ok("no line about hosts in /etc/nsswitch.conf: DNS is asked"),
        Some((line, true)) => Finding::ok(line),
        Some((line, false)) => Finding::failed(
            format!("/etc/nsswitch.conf says \"{line}\""),
            "write `hosts: files dns` there",
        )
        .because("programs of glibc look for no name in DNS, of the mesh or not"),
    }
}

const USUAL: &str = "/etc/resolv.conf";
/// The resolvers that systemd-resolved asks itself, and where it answers.
const BEHIND: &str = "/run/systemd/resolve/resolv.conf";
const STUBS: [[u8; 4]; 2] = [[127, 0, 0, 53], [127, 0, 0, 54]];
const PORT: u16 = 53;
const RESPONSE: u8 = 0x80;
/// As many as glibc asks.
const ASKED: usize = 3;
const TRIES: usize = 2;
const PATIENCE: Duration = Duration::from_millis(1500);
const FEW_DOTS: u32 = 2;
const LARGEST: u64 = 64 * 1024;
