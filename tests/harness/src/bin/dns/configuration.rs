//! The same names for each kind of server, in its own words.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use hawser_proto::istio::nds::{NameInfo, NameTable};

/// Names of a mesh and an address for each.
#[derive(Debug, Clone)]
pub(crate) struct Names(Vec<(String, Ipv4Addr)>);

impl Names {
    /// So many services, fifty to a namespace.
    pub(crate) fn new(count: u32) -> Self {
        let one = |number: u32| {
            let name = format!("service-{number}.space-{}.svc.cluster.local", number / 50);
            (name, Ipv4Addr::from_bits(0x0a00_0000 + number))
        };
        Self((1..=count).map(one).collect())
    }

    /// As a list, one a line.
    pub(crate) fn list(&self) -> String {
        self.lines(|text, name, _| writeln!(text, "{name}"))
    }

    /// As istiod says it.
    pub(crate) fn table(&self) -> NameTable {
        let entry = |(name, address): &(String, Ipv4Addr)| {
            let mut labels = name.split('.').map(str::to_owned);
            let info = NameInfo {
                ips: vec![address.to_string()],
                registry: "Kubernetes".to_owned(),
                shortname: labels.next().unwrap_or_default(),
                namespace: labels.next().unwrap_or_default(),
                ..NameInfo::default()
            };
            (name.clone(), info)
        };
        NameTable { table: self.0.iter().map(entry).collect() }
    }

    /// As in `/etc/hosts`.
    pub(crate) fn hosts(&self) -> String {
        self.lines(|text, name, address| writeln!(text, "{address} {name}"))
    }

    /// As a zone.
    pub(crate) fn zone(&self) -> String {
        let head = "$ORIGIN cluster.local.\n$TTL 30\n@ SOA ns who 1 3600 600 86400 30\n\
                    @ NS ns\nns A 127.0.0.1\n";
        let records = self.lines(|text, name, address| writeln!(text, "{name}. A {address}"));
        format!("{head}{records}")
    }

    /// What dnsmasq is told.
    pub(crate) fn dnsmasq(at: SocketAddr, upstream: SocketAddr, hosts: &Path) -> String {
        format!(
            "port={}\nlisten-address={}\nbind-interfaces\nno-resolv\nno-hosts\naddn-hosts={}\n\
             server={}#{}\ncache-size=0\ndns-forward-max=10000\nuser=root\npid-file=\n\
             local-ttl=30\n",
            at.port(),
            at.ip(),
            hosts.display(),
            upstream.ip(),
            upstream.port(),
        )
    }

    /// What unbound is told.
    pub(crate) fn unbound(&self, at: SocketAddr, upstream: SocketAddr, dir: &Path) -> String {
        let head = format!(
            "server:\n interface: {}@{}\n num-threads: 1\n do-daemonize: no\n username: \"\"\n \
             chroot: \"\"\n pidfile: \"\"\n directory: \"{}\"\n use-syslog: no\n logfile: \"\"\n \
             do-not-query-localhost: no\n access-control: 127.0.0.0/8 allow\n \
             module-config: \"iterator\"\n outgoing-range: 4096\n num-queries-per-thread: 2048\n \
             local-zone: \"svc.cluster.local.\" static\n",
            at.ip(),
            at.port(),
            dir.display(),
        );
        let data = self.lines(|text, name, address| {
            writeln!(text, " local-data: \"{name}. 30 IN A {address}\"")
        });
        let (ip, port) = (upstream.ip(), upstream.port());
        format!(
            "{head}{data}remote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n \
             forward-addr: {ip}@{port}\n",
        )
    }

    /// What Knot DNS is told.
    pub(crate) fn knot(at: SocketAddr, zone: &Path, dir: &Path) -> String {
        format!(
            "server:\n  listen: {}@{}\n  rundir: {dir}\n  udp-workers: 1\n  tcp-workers: 1\n  \
             background-workers: 1\ndatabase:\n  storage: {dir}\nlog:\n  - target: stderr\n    \
             any: error\nzone:\n  - domain: cluster.local\n    file: {}\n    zonefile-sync: -1\n    \
             journal-content: none\n",
            at.ip(),
            at.port(),
            zone.display(),
            dir = dir.display(),
        )
    }

    /// What NSD is told.
    pub(crate) fn nsd(at: SocketAddr, zone: &Path, dir: &Path) -> String {
        format!(
            "server:\n ip-address: {}@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n \
             pidfile: \"{dir}/nsd.pid\"\n zonesdir: \"{dir}\"\n database: \"\"\n \
             xfrdfile: \"{dir}/xfrd\"\n xfrdir: \"{dir}\"\n zonelistfile: \"{dir}/list\"\n \
             rrl-ratelimit: 0\nremote-control:\n control-enable: no\nzone:\n name: cluster.local\n \
             zonefile: \"{}\"\n",
            at.ip(),
            at.port(),
            zone.display(),
            dir = dir.display(),
        )
    }

    fn lines(&self, line: impl Fn(&mut String, &str, Ipv4Addr) -> std::fmt::Result) -> String {
        let mut text = String::new();
        for (name, address) in &self.0 {
            // A String takes everything.
            let _written = line(&mut text, name, *address);
        }
        text
    }
}
