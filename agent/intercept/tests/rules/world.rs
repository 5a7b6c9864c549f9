//! A machine with rules, something outside, and a container; and who gets what is sent.
//!
//! Somebody listens wherever anybody might end up, so a connection is known by who has it: nothing
//! is told by what does not come.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    time::Duration,
};

use hawser_intercept::plan::{Family, Gate, Machine, Options, PREFERENCE, Plan};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    cases::{APP, PROXY, ip},
    netns::{Namespace, first_readable, text},
};

/// The machine's own addresses, and those of others.
pub(crate) const OWN: [&str; 2] = ["10.9.0.2", "fd09::2"];
pub(crate) const OUTSIDE: [&str; 2] = ["203.0.113.5", "2001:db8::5"];
pub(crate) const RESOLVERS: [&str; 2] = ["10.8.0.53", "fd08::53"];

/// Who may be called.
const PORTS: [u16; 12] = [22, 53, 80, 123, 443, 2049, 2222, 8080, 8443, 15008, 15020, 15021];
const ENVOY: [u16; 2] = [15001, 15006];

pub(crate) struct World {
    pub(crate) machine: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) container: Namespace,
    listeners: Vec<(&'static str, TcpListener)>,
    answerers: Vec<(&'static str, UdpSocket)>,
}

/// Who got a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// `envoy out`, `envoy in`, `program`, `outside`, `container`; `nobody`, if it was refused.
    pub(crate) at: &'static str,
    /// Where it was to go.
    pub(crate) to: String,
    /// Who called, as it is seen there.
    pub(crate) from: String,
    /// Whether its destination was rewritten.
    pub(crate) redirected: bool,
}

/// Both ends of one.
pub(crate) struct Connection {
    pub(crate) arrival: Arrival,
    pub(crate) caller: TcpStream,
    pub(crate) called: TcpStream,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(false)
    }

    /// `transparent`: Envoy takes what was for others, as TPROXY hands it over.
    pub(crate) fn with(transparent: bool) -> Self {
        let [machine, outside, container] = std::array::from_fn(|_| Namespace::new());
        machine.join("eth0", &outside, "eth0");
        machine.join("docker0", &container, "eth0");
        for (net, device, address) in [
            (&machine, "eth0", "10.9.0.2/24"),
            (&machine, "eth0", "fd09::2/64"),
            (&machine, "docker0", "172.17.0.1/16"),
            (&machine, "lo", "::6/128"),
            (&outside, "eth0", "10.9.0.1/24"),
            (&outside, "eth0", "fd09::1/64"),
            (&outside, "lo", "203.0.113.5/32"),
            (&outside, "lo", "2001:db8::5/128"),
            (&outside, "lo", "10.8.0.53/32"),
            (&outside, "lo", "fd08::53/128"),
            (&outside, "lo", "240.240.0.7/32"),
            (&outside, "lo", "169.254.169.254/32"),
            (&container, "eth0", "172.17.0.2/16"),
        ] {
            let plain = if address.contains(':') { " nodad" } else { "" };
            net.ip(&format!("address add {address} dev {device}{plain}"));
        }
        machine.ip("route add default via 10.9.0.1");
        machine.ip("-6 route add default via fd09::1");
        outside.ip("route add 172.17.0.0/16 via 10.9.0.2");
        container.ip("route add default via 172.17.0.1");
        machine.set("ipv4/ip_forward", "1");
        let mut world =
            Self { machine, outside, container, listeners: Vec::new(), answerers: Vec::new() };
        world.listen(transparent);
        world.answer();
        world.wait_for_cables();
        world
    }

    /// A cable carries nothing until the kernel has looked at it, and a neighbour has to be found:
    /// a connection is tried again until it is there, and a question is not.
    fn wait_for_cables(&self) {
        let calls = OUTSIDE.map(|host| (&self.machine, host));
        let calls = calls.into_iter().chain([(&self.container, OUTSIDE[0])]);
        for (net, host) in calls {
            let to = SocketAddr::new(ip(host), 80).to_string();
            self.connect(net, (0, 0), &to, None).unwrap();
        }
    }

    fn listen(&mut self, transparent: bool) {
        let here = self.machine.inside(|| wildcard(&PORTS, false));
        let there = self.outside.inside(|| wildcard(&PORTS, false));
        let envoy = self.machine.as_user((PROXY, PROXY), || wildcard(&ENVOY, transparent));
        let envoys = ["envoy out", "envoy in", "envoy out", "envoy in"];
        self.listeners.extend(here.into_iter().map(|own| ("program", own)));
        self.listeners.extend(there.into_iter().map(|own| ("outside", own)));
        self.listeners.extend(envoys.into_iter().zip(envoy));
    }

    fn answer(&mut self) {
        let own = |at: &str| UdpSocket::bind(at).unwrap();
        let agent = self.machine.as_user((PROXY, PROXY), || {
            [own("127.0.0.1:15053"), own("[::1]:15053"), own("172.17.0.1:15053")]
        });
        let stub = self.machine.inside(|| own("127.0.0.53:53"));
        let resolvers = self.outside.inside(|| [own("10.8.0.53:53"), own("[fd08::53]:53")]);
        self.answerers.extend(agent.map(|own| ("agent", own)));
        self.answerers.push(("stub", stub));
        self.answerers.extend(resolvers.map(|own| ("resolver", own)));
    }

    /// Loads what these settings mean here, with every gate open.
    pub(crate) fn apply(&self, options: &Options, machine: &Machine) -> Plan {
        let plan = self.load(options, machine);
        Gate::ALL.into_iter().for_each(|gate| self.open(gate));
        plan
    }

    /// Loads it with every gate shut.
    pub(crate) fn load(&self, options: &Options, machine: &Machine) -> Plan {
        let (plan, _) = Plan::new(options, machine);
        self.machine
            .load(plan.ruleset())
            .unwrap_or_else(|said| panic!("{said}\n{}", plan.ruleset()));
        for rule in &plan.routes().rules {
            let family = if rule.family == Family::V4 { "-4" } else { "-6" };
            let own = format!("fwmark {} lookup {} pref {PREFERENCE}", rule.mark, rule.table);
            let listed = self.machine.run("ip", &[family, "rule"], "");
            if !text(&listed.stdout).contains(&PREFERENCE.to_string()) {
                self.machine.ip(&format!("{family} rule add {own}"));
            }
            let table = rule.table;
            self.machine.ip(&format!("{family} route replace local default dev lo table {table}"));
        }
        plan
    }

    pub(crate) fn open(&self, gate: Gate) {
        self.element("add", gate, "");
    }

    pub(crate) fn shut(&self, gate: Gate) {
        self.element("delete", gate, "");
    }

    /// `attributes` as ` timeout 1s`.
    pub(crate) fn element(&self, verb: &str, gate: Gate, attributes: &str) {
        let own = |protocol: &&str| format!("{protocol}{attributes}");
        let elements: Vec<String> = gate.protocols().iter().map(own).collect();
        let command =
            format!("{verb} element inet hawser {} {{ {} }}\n", gate.set(), elements.join(", "));
        self.machine.load(&command).unwrap_or_else(|said| panic!("{command}: {said}"));
    }

    /// Nobody listens for Envoy any more; not even a process that another test is about to start,
    /// which has all files of this one for a moment.
    pub(crate) fn without_envoy(&mut self) {
        let envoys = self.listeners.extract_if(.., |(at, _)| at.starts_with("envoy"));
        for (_, listener) in envoys {
            SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
        }
    }

    /// Envoy is told by istiod to take what was for others.
    pub(crate) fn envoy_becomes_transparent(&self) {
        for (_, listener) in self.listeners.iter().filter(|(at, _)| at.starts_with("envoy")) {
            SockRef::from(listener).set_ip_transparent_v4(true).unwrap();
        }
    }

    /// How many packets a rule has counted.
    pub(crate) fn counted(&self, about: &str) -> u64 {
        let said = text(&self.machine.run("nft", &["list", "ruleset"], "").stdout);
        let rule = said.lines().find(|line| line.contains(&format!("comment \"{about}\"")));
        let mut words = rule.expect("the rule is there").split(' ');
        words.find(|word| *word == "packets");
        words.next().unwrap().parse().unwrap()
    }

    /// Who gets a connection of a program to there.
    pub(crate) fn call(&self, to: &str) -> Arrival {
        self.call_as((APP, APP), to)
    }

    /// Of Envoy or the agent.
    pub(crate) fn call_as(&self, who: (u32, u32), to: &str) -> Arrival {
        self.arrival(&self.machine, who, to, None)
    }

    /// Of somebody outside.
    pub(crate) fn visit(&self, to: &str) -> Arrival {
        self.arrival(&self.outside, (APP, APP), to, None)
    }

    fn arrival(&self, net: &Namespace, who: (u32, u32), to: &str, from: Option<&str>) -> Arrival {
        match self.connect(net, who, to, from) {
            Ok(connection) => connection.arrival,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                Arrival { at: "nobody", to: to.to_owned(), from: String::new(), redirected: false }
            }
            Err(error) => panic!("{to}: {error}"),
        }
    }

    /// A connection, with both of its ends.
    pub(crate) fn connect(
        &self,
        net: &Namespace,
        who: (u32, u32),
        to: &str,
        from: Option<&str>,
    ) -> std::io::Result<Connection> {
        let to: SocketAddr = to.parse().unwrap();
        let caller =
            net.as_user(who, || Socket::new(Domain::for_address(to), Type::STREAM, None))?;
        if let Some(from) = from {
            caller.bind(&SocketAddr::new(ip(from), 0).into())?;
        }
        caller.connect_timeout(&to.into(), PATIENCE)?;
        let (arrival, called) = self.accept();
        Ok(Connection { arrival, caller: caller.into(), called })
    }

    /// Of Envoy on somebody's behalf: from their address, with a mark.
    pub(crate) fn connect_marked(
        &self,
        mark: u32,
        from: &str,
        to: &str,
    ) -> std::io::Result<Connection> {
        let to: SocketAddr = to.parse().unwrap();
        let caller = self
            .machine
            .as_user((PROXY, PROXY), || Socket::new(Domain::for_address(to), Type::STREAM, None))?;
        caller.set_mark(mark)?;
        caller.set_ip_transparent_v4(true)?;
        caller.bind(&SocketAddr::new(ip(from), 0).into())?;
        caller.connect_timeout(&to.into(), PATIENCE)?;
        let (arrival, called) = self.accept();
        Ok(Connection { arrival, caller: caller.into(), called })
    }

    /// Of a program, to somebody who listens beside all that do here.
    pub(crate) fn dial(&self, to: &str) -> std::io::Result<TcpStream> {
        self.machine.as_user((APP, APP), || TcpStream::connect(to))
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let give_up = std::time::SystemTime::now() + PATIENCE * 2;
        while !so(self) {
            assert!(std::time::SystemTime::now() < give_up, "not in ten seconds: {what}");
        }
    }

    /// Waits until a rule has counted something.
    pub(crate) fn until_counted(&self, about: &str) {
        self.until(about, |world| world.counted(about) > 0);
    }

    /// The one connection that somebody has now.
    pub(crate) fn accept(&self) -> (Arrival, TcpStream) {
        let sources: Vec<_> = self.listeners.iter().map(|(_, own)| own.as_fd()).collect();
        let first = first_readable(&sources).expect("somebody has the connection");
        let (at, listener) = &self.listeners[first];
        let (called, from) = listener.accept().unwrap();
        let local = called.local_addr().unwrap();
        let own = SockRef::from(&called);
        let original = if local.is_ipv4() { own.original_dst_v4() } else { own.original_dst_v6() };
        let to = original.ok().and_then(|to| to.as_socket()).unwrap_or(local);
        let redirected = to != local;
        (Arrival { at, to: to.to_string(), from: from.ip().to_string(), redirected }, called)
    }

    /// Who answers a question of a program to there; the answer has to seem to come from there.
    pub(crate) fn ask(&self, to: &str) -> &'static str {
        self.ask_as(&self.machine, (APP, APP), to)
    }

    pub(crate) fn ask_as(&self, net: &Namespace, who: (u32, u32), to: &str) -> &'static str {
        self.ask_with(&self.asker(net, who, to))
    }

    /// A socket that asks there.
    pub(crate) fn asker(&self, net: &Namespace, who: (u32, u32), to: &str) -> UdpSocket {
        self.asker_from(net, who, to, None)
    }

    /// One at an address that was another's.
    pub(crate) fn asker_from(
        &self,
        net: &Namespace,
        who: (u32, u32),
        to: &str,
        from: Option<SocketAddr>,
    ) -> UdpSocket {
        let to: SocketAddr = to.parse().unwrap();
        let any = if to.is_ipv4() {
            IpAddr::from(Ipv4Addr::UNSPECIFIED)
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let own = from.unwrap_or(SocketAddr::new(any, 0));
        let mut bound = None;
        // A process that another test is about to start may have the one before for a moment.
        self.until("the address is free", |_| {
            bound = net.as_user(who, || UdpSocket::bind(own)).ok();
            bound.is_some()
        });
        let socket = bound.unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Asks once more from the same port.
    pub(crate) fn ask_with(&self, socket: &UdpSocket) -> &'static str {
        socket.send(b"?").unwrap();
        let sources: Vec<_> = self.answerers.iter().map(|(_, own)| own.as_fd()).collect();
        let (by, answerer) = &self.answerers[first_readable(&sources).expect("somebody is asked")];
        let (_, from) = answerer.recv_from(&mut [0; 8]).unwrap();
        answerer.send_to(by.as_bytes(), from).unwrap();
        let mut answer = [0; 16];
        let length = socket.recv(&mut answer).expect("an answer from whom was asked");
        assert_eq!(text(&answer[..length]), *by);
        by
    }

    /// What the kernel keeps of UDP, one line each.
    pub(crate) fn tracked(&self) -> Vec<String> {
        let path = "/proc/thread-self/net/nf_conntrack";
        let table = self.machine.inside(|| std::fs::read_to_string(path));
        let table = table.unwrap_or_else(|error| panic!("{path}: {error}"));
        table.lines().filter(|line| line.contains(" udp ")).map(str::to_owned).collect()
    }
}

impl Connection {
    /// Whether what is said at one end is heard at the other, both ways.
    pub(crate) fn lives(&mut self) -> bool {
        use std::io::{Read as _, Write as _};
        let mut heard = [0; 4];
        let ends = [(&self.caller, &self.called), (&self.called, &self.caller)];
        ends.into_iter().all(|(mut one, mut other)| {
            other.set_read_timeout(Some(PATIENCE)).unwrap();
            one.write_all(b"ping").is_ok()
                && other.read_exact(&mut heard).is_ok()
                && heard == *b"ping"
        })
    }
}

/// Listeners on every address of both families, IPv4 first.
fn wildcard(ports: &[u16], transparent: bool) -> Vec<TcpListener> {
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
    let places = any.iter().flat_map(|any| ports.iter().map(|port| SocketAddr::new(*any, *port)));
    places.map(|place| listener(place, transparent)).collect()
}

fn listener(place: SocketAddr, transparent: bool) -> TcpListener {
    let domain = Domain::for_address(place);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
    if place.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    if transparent {
        socket.set_ip_transparent_v4(true).unwrap();
    }
    socket.bind(&place.into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

/// Longer than anything takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(5);
