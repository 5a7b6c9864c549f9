//! A machine with a file of services: a real Envoy that is told what was made of it, with secrets of
//! the mesh.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    ca::{Shape, TestCa, spiffe_id},
    eastwest::{EastWest, Member},
    envoy::Envoy,
    free,
    http1::{Reply, call},
    istiod::FakeIstiod,
    spire::FakeSpire,
    token::TokenSigner,
    wait::wait_for,
};
use hawser_proto::{
    envoy::google::protobuf::Any,
    type_url::{CLUSTER, LISTENER, NAME_TABLE, ROUTE},
};
use hawser_services::{Addresses, Local, Services, file, make};
use http::Method;
use serde_json::{Value, json};

/// A machine, its mesh, and all between them; it ends when it is dropped.
pub(crate) struct Machine {
    pub(crate) ca: TestCa,
    pub(crate) mesh: EastWest,
    pub(crate) envoy: Envoy,
    pub(crate) addresses: Addresses,
    pub(crate) services: Services,
    istiod: FakeIstiod,
    _spire: FakeSpire,
    dir: tempfile::TempDir,
    /// Where names get their addresses: one that no other test has.
    range: String,
}

impl Machine {
    /// With these in the mesh, and so many gateways to it.
    pub(crate) async fn start(members: &[Member], gateways: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let ca = TestCa::new(Shape::Intermediate)?;
        let mesh = EastWest::start(&ca, dir.path(), members, gateways).await?;
        let spire = FakeSpire::start(&dir.path().join("sds.sock"))?;
        spire.give(&ca.workload(&me(), Duration::from_secs(3600))?, &ca.root_pem());
        let istiod = FakeIstiod::start(&ca, &TokenSigner::new()?).await?;
        let admin = SocketAddr::new(LOCALHOST, free::port(LOCALHOST)?);
        let bootstrap = bootstrap(istiod.plaintext_addr(), spire.socket(), admin);
        let envoy = Envoy::start(&bootstrap, admin, dir.path()).await?;
        let range = format!("127.{}.{}.0/24", fastrand::u8(1..240), fastrand::u8(..));
        Ok(Self {
            ca,
            mesh,
            envoy,
            addresses: Addresses::default(),
            services: Services::default(),
            istiod,
            _spire: spire,
            dir,
            range,
        })
    }

    /// The file is this from now on, after the gateways and the range of this machine.
    pub(crate) async fn file(&mut self, text: &str) -> Result<()> {
        let gateways = self.mesh.gateways().iter().zip(0_u8..).map(|(gateway, number)| {
            let address = gateway.address();
            format!("- {{address: '{address}', name: gw{number}, priority: {number}}}\n")
        });
        let gateways: String = gateways.collect();
        let begins = if gateways.is_empty() { "" } else { "gateways:\n" };
        let text = format!("addresses: {}\n{begins}{gateways}{text}", self.range);
        let path = self.dir.path().join("services.yaml");
        let texts = [file::Text { path, text }];
        self.services = file::parse(&texts, "cluster.local")
            .map_err(|problems| anyhow::anyhow!("{problems}"))?;
        self.addresses = self.addresses.assign(&self.services)?;
        self.push().await
    }

    /// Tells Envoy of what the services are now.
    pub(crate) async fn push(&mut self) -> Result<()> {
        let made = make(&self.services, &self.addresses, &Local::default());
        self.istiod.world().change(|state| {
            for type_url in [CLUSTER, LISTENER, ROUTE] {
                state.clear(type_url);
            }
            for (type_url, resources) in made.0 {
                for (name, resource) in resources {
                    let (type_url, value) = (type_url.to_owned(), resource.body.to_vec());
                    state.put_raw(&type_url.clone(), &name, Any { type_url, value });
                }
            }
        });
        wait_for("Envoy to be live with it", async || {
            ensure!(self.envoy.get("/ready").await?.body.contains("LIVE"), "{:?}", self.nacks());
            Ok(())
        })
        .await?;
        ensure!(self.nacks().is_empty(), "{:?}", self.nacks());
        Ok(())
    }

    /// What Envoy has refused.
    pub(crate) fn nacks(&self) -> Vec<(i32, String)> {
        let seen = self.istiod.seen();
        [CLUSTER, LISTENER, ROUTE].iter().flat_map(|type_url| seen.nacks(type_url)).collect()
    }

    /// A port that nobody has.
    pub(crate) fn port() -> Result<u16> {
        free::port(LOCALHOST)
    }

    /// Where a program finds a service: by its name alone.
    pub(crate) fn at(&self, host: &str, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses.of(&self.services, host), port)
    }

    /// A request, as a program makes it that has looked the name up.
    pub(crate) async fn get(&self, host: &str, port: u16, path: &str) -> Result<Reply> {
        call(self.at(host, port), &Method::GET, path, &[("host", &format!("{host}:{port}"))]).await
    }

    /// The same until the status is that.
    pub(crate) async fn until(
        &self,
        host: &str,
        port: u16,
        path: &str,
        status: u16,
    ) -> Result<Reply> {
        let what = format!("{status} from {host}:{port}{path}");
        wait_for(&what, async || {
            let reply = self.get(host, port, path).await?;
            ensure!(reply.status == status, "{} {} {:?}", reply.status, reply.body, self.nacks());
            Ok(reply)
        })
        .await
    }

    /// The value of a counter or gauge, summed up.
    pub(crate) async fn stat(&self, pattern: &str) -> Result<u64> {
        let stats = self.envoy.get(&format!("/stats?filter={pattern}")).await?.body;
        let values = stats.lines().filter_map(|line| line.rsplit_once(": "));
        values.map(|(_, value)| value.parse::<u64>().context(stats.clone())).sum()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What its Envoy has logged.
    pub(crate) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join("envoy.log"))?)
    }

    /// The name table.
    pub(crate) fn names(&self) -> Result<hawser_proto::Names> {
        let made = make(&self.services, &self.addresses, &Local::default());
        let table = made.0.get(NAME_TABLE).and_then(|tables| tables.get("")).context("no table")?;
        Ok(hawser_proto::Names::new(table.body.clone())?)
    }
}

/// Who the machine is.
pub(crate) fn me() -> String {
    spiffe_id("vms", "web")
}

pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn bootstrap(xds: SocketAddr, sds: &Path, admin: SocketAddr) -> Value {
    let ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    let address = |addr: SocketAddr| json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}});
    let cluster = |name: &str, address: &Value| {
        json!({
            "name": name, "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address}},
            ]}]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
        })
    };
    json!({
        "node": {
            "id": "sidecar~127.0.0.1~vm.vms~vms.svc.cluster.local", "cluster": "vm.vms",
            "metadata": {"NAMESPACE": "vms", "SERVICE_ACCOUNT": "web"},
        },
        "admin": {"address": address(admin)},
        "deferred_stat_options": {"enable_deferred_creation_stats": true},
        "dynamic_resources": {
            "lds_config": ads, "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC", "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {"clusters": [
            cluster("xds-grpc", &address(xds)),
            cluster("sds-grpc", &json!({"pipe": {"path": sds.to_string_lossy()}})),
        ]},
    })
}
