//! A small mesh, and a proxy that serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hawser_dns::{
    Error, Forward, Options, Scope, Search, Sockets, Table, Totals, Upstream, Upstreams, proxy,
};
use hawser_proto::Names;
use hawser_proto::istio::nds::{NameInfo, NameTable};
use hawser_rt::Gates;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Who asks: a workload in `ns1`.
pub(crate) fn scope() -> Scope {
    Scope {
        namespace: "ns1".to_owned(),
        domain: "ns1.svc.cluster.local".to_owned(),
        ..Scope::default()
    }
}

/// What its resolver appends to names.
pub(crate) fn search() -> Search {
    Search::new(&domains())
}

fn domains() -> Vec<String> {
    ["ns1.svc.cluster.local", "svc.cluster.local", "cluster.local"].map(str::to_owned).to_vec()
}

/// The names that istiod sends.
pub(crate) fn mesh() -> Names {
    let v6 = "2001:db8::ff00:42:8329";
    let details = ["11.11.11.11", "12.12.12.12", "13.13.13.13", "14.14.14.14"];
    let mut with_alt = service("svc-with-alt", "ns1", &["15.15.15.15"]);
    with_alt.alt_hosts = vec!["svc-with-alt.ns1.svc.clusterset.local".to_owned()];
    names(vec![
        ("www.google.com", external(&["1.1.1.1"])),
        ("productpage.ns1.svc.cluster.local", service("productpage", "ns1", &["9.9.9.9"])),
        ("example.ns2.svc.cluster.local", service("example", "ns2", &["10.10.10.10"])),
        ("details.ns2.svc.cluster.remote", service("details", "ns2", &details)),
        ("svc-with-alt.ns1.svc.cluster.local", with_alt),
        ("ipv6.localhost", external(&[v6])),
        ("dual.localhost", external(&["2.2.2.2", v6])),
        ("ipv4.localhost", external(&["2.2.2.2"])),
        ("*.b.wildcard", external(&["11.11.11.11"])),
        ("*.wildcard", external(&["10.10.10.10"])),
        ("*.svc.mesh.company.net", external(&["10.1.2.3"])),
        ("example.localhost.", external(&["3.3.3.3"])),
        ("headless.ns1.svc.cluster.local", service("headless", "ns1", &[])),
    ])
}

pub(crate) fn names(entries: Vec<(&str, NameInfo)>) -> Names {
    let entries = entries.into_iter().map(|(host, info)| (host.to_owned(), info));
    Names::from(&NameTable { table: entries.collect() })
}

pub(crate) fn service(shortname: &str, namespace: &str, ips: &[&str]) -> NameInfo {
    NameInfo {
        ips: ips.iter().map(|&ip| ip.to_owned()).collect(),
        registry: "Kubernetes".to_owned(),
        shortname: shortname.to_owned(),
        namespace: namespace.to_owned(),
        alt_hosts: Vec::new(),
    }
}

pub(crate) fn external(ips: &[&str]) -> NameInfo {
    NameInfo { registry: "External".to_owned(), ..service("", "", ips) }
}

/// What a proxy is told, with nothing particular about it.
pub(crate) fn options(upstreams: Upstreams, timeout: Duration) -> Options {
    let forward = Forward { timeout, ..Forward::default() };
    Options { scope: scope(), search: domains(), upstreams, forward, allow: Vec::new(), kept: None }
}

/// A proxy that runs.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) names: watch::Sender<Option<Names>>,
    pub(crate) stop: CancellationToken,
    proxy: hawser_dns::Proxy,
    running: JoinSet<Result<(), Error>>,
}

impl Proxy {
    /// Starts a proxy on the loopback address with the mesh above.
    pub(crate) async fn start(upstreams: Vec<SocketAddr>) -> Self {
        let proxy = Self::start_on("127.0.0.1:0", upstreams, Duration::from_secs(20)).await;
        proxy.publish(mesh()).await;
        proxy
    }

    /// Starts a proxy that knows no names yet.
    pub(crate) async fn start_on(
        address: &str,
        upstreams: Vec<SocketAddr>,
        timeout: Duration,
    ) -> Self {
        let sockets = Sockets::bind(&[address.parse().unwrap()]).unwrap();
        Self::start_with(
            sockets,
            Upstreams::Fixed(upstreams.into_iter().map(Upstream::from).collect()),
            timeout,
        )
        .await
    }

    pub(crate) async fn start_with(
        sockets: Sockets,
        upstreams: Upstreams,
        timeout: Duration,
    ) -> Self {
        Self::start_by(sockets, options(upstreams, timeout)).await
    }

    /// Starts a proxy that is told this, and knows no names yet.
    pub(crate) async fn start_by(sockets: Sockets, options: Options) -> Self {
        let address = sockets.local_addrs()[0];
        let (names, seen) = watch::channel(None);
        let (stop, gates) = (CancellationToken::new(), Gates::default());
        let (proxy, workers) = proxy(sockets, options).unwrap();
        let mut running = JoinSet::new();
        for worker in workers {
            running.spawn(worker.serve(stop.clone()));
        }
        let followed = proxy.clone().follow(seen, gates.gate("dns"), stop.clone());
        running.spawn(async {
            followed.await;
            Ok(())
        });
        gates.all_open().await;
        Self { address, names, stop, proxy, running }
    }

    /// Has these names taken into use.
    pub(crate) async fn publish(&self, names: Names) {
        let tables = self.totals().tables;
        self.names.send_replace(Some(names));
        while self.totals().tables == tables {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        self.proxy.table().unwrap()
    }

    pub(crate) fn resolvers(&self) -> Vec<hawser_dns::ResolverStatus> {
        self.proxy.resolvers()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.proxy.totals()
    }

    /// Stops the proxy and waits until it has ended.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}
