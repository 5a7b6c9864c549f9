//! The machine as rules depend on it: what accounts and units are, whom programs ask for names,
//! where Envoy listens.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hawser_rt::Cidr;

use crate::Error;
use crate::listening::{Listener, listeners};
use crate::plan::{Gate, Machine, Options, Plan};

/// Where what is looked at is.
#[derive(Clone, Debug)]
pub struct Sights {
    /// Where the machine's resolvers are listed.
    pub resolv_conf: PathBuf,
    /// Where the kernel's tables are.
    pub proc: PathBuf,
}

impl Default for Sights {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), proc: "/proc/self/net".into() }
    }
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Sockets that take connections.
    pub listeners: BTreeSet<Listener>,
    /// Whom programs ask for names.
    pub resolvers: Vec<IpAddr>,
    /// Addresses of services that exist here alone.
    pub vips: Vec<Cidr>,
}

impl View {
    /// Looks; what the name table has is for who asks the agent.
    pub fn look(sights: &Sights, vips: Vec<Cidr>) -> Result<Self, Error> {
        let listeners = listeners(&sights.proc).map_err(|source| Error::Listeners { source })?;
        Ok(Self { listeners, resolvers: resolvers(&sights.resolv_conf), vips })
    }

    /// Adds what was seen to what is known of the machine.
    #[must_use]
    pub fn of(&self, mut machine: Machine, options: &Options) -> Machine {
        machine.resolvers.clone_from(&self.resolvers);
        machine.vips.clone_from(&self.vips);
        let forwarders = self.listeners.iter().filter(|one| one.port == DOMAIN);
        let forwarders = forwarders.map(|one| one.uid).filter(|uid| !machine.uids.contains(uid));
        machine.forwarders = forwarders.collect::<BTreeSet<_>>().into_iter().collect();
        let ports = [options.envoy.outbound, options.envoy.inbound];
        let proxies: Vec<_> =
            self.proxies(&machine).filter(|one| ports.contains(&one.port)).collect();
        // As long as it listens nowhere, what it will do is what it is told to.
        if !proxies.is_empty() {
            machine.ipv4 = proxies.iter().any(|one| one.ipv4);
            machine.ipv6 = proxies.iter().any(|one| one.ipv6);
        }
        machine
    }

    /// Whether Envoy takes connections wherever the plan sends some.
    pub fn envoy_listens(&self, plan: &Plan, options: &Options, machine: &Machine) -> bool {
        needed(plan, options).iter().all(|port| self.proxies(machine).any(|one| one.port == *port))
    }

    /// A port that is Envoy's and that a stranger has taken, and the stranger.
    pub fn squatter(
        &self,
        plan: &Plan,
        options: &Options,
        machine: &Machine,
    ) -> Option<(u16, u32)> {
        let ports = needed(plan, options);
        let strangers = self.listeners.iter().filter(|one| !is_proxy(one, machine));
        let mut squatters = strangers.filter(|one| ports.contains(&one.port));
        squatters.next().map(|one| (one.port, one.uid))
    }

    fn proxies(&self, machine: &Machine) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|one| is_proxy(one, machine))
    }
}

/// The ports that have to be listened on.
pub fn needed(plan: &Plan, options: &Options) -> Vec<u16> {
    let port = |gate: &Gate| match gate {
        Gate::Outbound => Some(options.envoy.outbound),
        Gate::Inbound => Some(options.envoy.inbound),
        Gate::Dns => None,
    };
    plan.gates().iter().filter_map(port).collect()
}

/// Anybody may listen on those ports; a stranger there is not sent the machine's connections.
fn is_proxy(listener: &Listener, machine: &Machine) -> bool {
    listener.uid == 0 || machine.uids.is_empty() || machine.uids.contains(&listener.uid)
}

/// The addresses of `nameserver` lines; none, if there is no such file.
fn resolvers(path: &Path) -> Vec<IpAddr> {
    let text = read(path).unwrap_or_default();
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // An address of one link may say which: fe80::1%eth0.
        let address = words.next().and_then(|word| word.split('%').next());
        let Some(address) = address.and_then(|address| address.parse().ok()) else { continue };
        if !all.contains(&address) && all.len() < MOST_RESOLVERS {
            all.push(address);
        }
    }
    all
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

const DOMAIN: u16 = 53;
const LARGEST: u64 = 64 * 1024;
const MOST_RESOLVERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(port: u16, uid: u32, ipv4: bool, ipv6: bool) -> Listener {
        Listener { port, uid, ipv4, ipv6 }
    }

    #[test]
    fn resolvers_are_those_of_the_file_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        assert!(resolvers(&path).is_empty());
        let text = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\nnameserver 192.0.2.1\n";
        hawser_state::write_file(&path, 0o644, text.as_bytes()).unwrap();
        let expected: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(resolvers(&path), expected);
    }

    #[test]
    fn a_stranger_on_envoys_port_is_not_envoy() {
        let machine = Machine { uids: vec![998], ..Machine::default() };
        assert!(is_proxy(&listener(15001, 998, true, false), &machine));
        assert!(is_proxy(&listener(15001, 0, true, false), &machine));
        assert!(!is_proxy(&listener(15001, 1000, true, false), &machine));
        // Where nobody knows whom Envoy runs as, it is believed.
        assert!(is_proxy(&listener(15001, 1000, true, false), &Machine::default()));
    }
}
