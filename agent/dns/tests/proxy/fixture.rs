//! A small mesh, and a proxy that serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hawser_dns::{Counts, Error, Options, Scope, Sockets, Totals, Upstreams, serve};
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
        search: ["ns1.svc.cluster.local", "svc.cluster.local", "cluster.local"]
            .map(str::to_owned)
            .to_vec(),
    }
}

/// The names that istiod sends.
pub(crate) fn mesh() -> NameTable {
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

pub(crate) fn names(entries: Vec<(&str, NameInfo)>) -> NameTable {
    let entries = entries.into_iter().map(|(host, info)| (host.to_owned(), info));
    NameTable { table: entries.collect() }
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

/// A proxy that runs.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) names: watch::Sender<Option<Arc<NameTable>>>,
    pub(crate) stop: CancellationToken,
    counts: Arc<Counts>,
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
        Self::start_with(sockets, Upstreams::Fixed(upstreams), timeout).await
    }

    pub(crate) async fn start_with(
        sockets: Sockets,
        upstreams: Upstreams,
        timeout: Duration,
    ) -> Self {
        let address = sockets.local_addrs()[0];
        let (names, seen) = watch::channel(None);
        let (stop, counts, gates) = (CancellationToken::new(), Arc::default(), Gates::default());
        let options = Options { scope: scope(), upstreams, timeout };
        let ready = gates.gate("dns");
        let mut running = JoinSet::new();
        running.spawn(serve(sockets, options, seen, ready, Arc::clone(&counts), stop.clone()));
        gates.all_open().await;
        Self { address, names, stop, counts, running }
    }

    /// Has these names taken into use.
    pub(crate) async fn publish(&self, names: NameTable) {
        let tables = self.totals().tables;
        self.names.send_replace(Some(Arc::new(names)));
        while self.totals().tables == tables {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counts.totals()
    }

    /// Stops the proxy and waits until it has ended.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        self.running.join_next().await.unwrap().unwrap().unwrap();
    }
}
