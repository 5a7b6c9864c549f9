//! A machine without istiod: certificates in files, a file of services, and what they lead to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ca::{Shape, TestCa, spiffe_id};
use crate::dig::Dig;
use crate::eastwest::cart::{self, Found};
use crate::eastwest::{EastWest, Member, Speaks};
use crate::envoy::envoy_binary;
use crate::free;
use crate::http1::{self, Reply};
use crate::mesh::{ACCOUNT, NAMESPACE, OUTSIDE, OUTSIDE_IP};
use crate::resolver::Resolver;
use crate::vm::{Vm, put};
use crate::wait::wait_for;

/// Where the machine's certificate is, under its root.
pub const CERTIFICATES: &str = "etc/certs";

const LIMIT: Duration = Duration::from_secs(10);

/// The machine and the mesh behind the gateways; all of it ends when it is dropped.
#[derive(Debug)]
pub struct Standalone {
    /// The authority of the mesh.
    pub ca: TestCa,
    /// Gateways and workloads.
    pub eastwest: EastWest,
    /// The machine. Its Envoy is a real one.
    pub vm: Vm,
    /// What stands in resolv.conf.
    pub outside: Resolver,
    /// Where names get their addresses: nobody else's.
    pub range: String,
    /// The ports that programs use, by service.
    pub ports: BTreeMap<String, u16>,
}

/// What is behind the gateways if nothing is said: `reviews` (HTTP), `cart` (gRPC), `store` (TCP).
#[must_use]
pub fn members() -> Vec<Member> {
    vec![
        Member::new("reviews", "prod", 9080, Speaks::Http),
        Member::new("cart", "prod", 7070, Speaks::Grpc),
        Member::new("store", "prod", 5432, Speaks::Tcp),
    ]
}

impl Standalone {
    /// A machine with a certificate and a file of these services, through so many gateways; its
    /// agent is not started.
    ///
    /// # Errors
    /// When a part cannot be started, or a file cannot be written.
    pub async fn new(
        binary: &Path,
        dir: &Path,
        members: &[Member],
        gateways: usize,
    ) -> Result<Self> {
        let ca = TestCa::new(Shape::Intermediate)?;
        Self::of(&ca, (binary, dir), members, gateways).await
    }

    /// The same in a mesh that is there already.
    ///
    /// # Errors
    /// As above.
    pub async fn of(
        ca: &TestCa,
        (binary, dir): (&Path, &Path),
        members: &[Member],
        gateways: usize,
    ) -> Result<Self> {
        let ca = ca.clone();
        let eastwest = EastWest::start(&ca, &dir.join("mesh"), members, gateways).await?;
        let outside = Resolver::start().await?;
        outside.address(OUTSIDE, OUTSIDE_IP.into());
        let mut vm = Vm::apart(binary, &dir.join("root"), outside.addr())?;
        vm.envoy = Some(tokio::task::spawn_blocking(envoy_binary).await??);
        let range = format!("127.{}.{}.0/24", fastrand::u8(1..240), fastrand::u8(..));
        let mut standalone = Self { ca, eastwest, vm, outside, range, ports: BTreeMap::new() };
        standalone.certify(Duration::from_secs(24 * 3600))?;
        standalone.assign()?;
        standalone.write(&standalone.text()?)?;
        Ok(standalone)
    }

    /// The machine's SPIFFE id.
    #[must_use]
    pub fn identity(&self) -> String {
        spiffe_id(NAMESPACE, ACCOUNT)
    }

    /// Puts a new certificate of the mesh, and its roots, where the machine looks for them.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn certify(&self, ttl: Duration) -> Result<()> {
        let pair = self.ca.workload(&self.identity(), ttl)?;
        self.vm.provision_roots(CERTIFICATES, &self.ca.root_pem())?;
        self.vm.provision(CERTIFICATES, &pair)?;
        Ok(())
    }

    /// Where its file of services is.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.vm.root().join("etc/hawser/services.yaml")
    }

    /// Replaces its file of services, as a whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, text: &str) -> Result<()> {
        put(&self.file(), 0o644, text)
    }

    /// What belongs into that file: every gateway, and everything behind them.
    ///
    /// # Errors
    /// When a service has no port here.
    pub fn text(&self) -> Result<String> {
        let mut text = self.top()?;
        text.push_str("services:\n");
        for member in self.eastwest.members() {
            text.push_str(&self.entry(member)?);
        }
        Ok(text)
    }

    /// All of it above the services.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn top(&self) -> Result<String> {
        let mut text = format!("addresses: {}\ngateways:\n", self.range);
        for (number, gateway) in self.eastwest.gateways().iter().enumerate() {
            let address = gateway.address();
            writeln!(text, "  - {{name: gw{number}, address: {address}, priority: {number}}}")?;
        }
        Ok(text)
    }

    /// One service in it; more lines may follow, each with four spaces before it.
    ///
    /// # Errors
    /// When it has no port here.
    pub fn entry(&self, member: &Member) -> Result<String> {
        let mut text = format!("  - host: {}\n    port: {}\n", member.host(), member.port);
        writeln!(text, "    local_port: {}", self.port(&member.name)?)?;
        let protocol = match member.speaks {
            Speaks::Http => "http",
            Speaks::Grpc => "grpc",
            Speaks::Tcp => "tcp",
        };
        writeln!(text, "    protocol: {protocol}")?;
        writeln!(text, "    identity: ns/{}/sa/{}", member.namespace, member.name)?;
        if !member.subset.is_empty() {
            writeln!(text, "    subset: {}", member.subset)?;
        }
        Ok(text)
    }

    /// Gives every service that has none yet a port for programs: HTTP and gRPC share one.
    ///
    /// # Errors
    /// When none is free.
    pub fn assign(&mut self) -> Result<()> {
        for member in self.eastwest.members() {
            if self.ports.contains_key(&member.name) {
                continue;
            }
            let of_http = |name: &&str| {
                let found = self.eastwest.member(name);
                found.is_ok_and(|other| other.speaks != Speaks::Tcp)
            };
            let shared = self.ports.keys().map(String::as_str).find(of_http);
            let shared = shared.filter(|_| member.speaks != Speaks::Tcp);
            let port = match shared.and_then(|name| self.ports.get(name)) {
                Some(port) => *port,
                None => free::port(Ipv4Addr::LOCALHOST.into())?,
            };
            self.ports.insert(member.name.clone(), port);
        }
        Ok(())
    }

    /// The port by which programs here call a service.
    ///
    /// # Errors
    /// When it has none.
    pub fn port(&self, name: &str) -> Result<u16> {
        self.ports.get(name).copied().with_context(|| format!("{name} has no port here"))
    }

    /// Where the agent answers DNS.
    ///
    /// # Errors
    /// When it does not.
    pub async fn dns(&self) -> Result<SocketAddr> {
        let dns = self.vm.status().await?.dns.context("no DNS")?;
        dns.listen.first().copied().context("no DNS address in the status")
    }

    /// The address that the agent's DNS has for a host.
    ///
    /// # Errors
    /// When it has none, or several.
    pub async fn address(&self, host: &str) -> Result<IpAddr> {
        let answer = Dig::a(host).ask(self.dns().await?).await?;
        let addresses = answer.addresses();
        ensure!(addresses.len() == 1, "{host}: {:?} {addresses:?}", answer.code());
        addresses.first().copied().context("no address")
    }

    /// Where a service is, as a program on the machine finds it: its name, then its port.
    ///
    /// # Errors
    /// When its name is not known.
    pub async fn place(&self, name: &str) -> Result<SocketAddr> {
        let ip = self.address(&self.eastwest.member(name)?.host()).await?;
        Ok((ip, self.port(name)?).into())
    }

    /// A request to an HTTP service, as a program on the machine makes it.
    ///
    /// # Errors
    /// When its name is not known, or nothing comes back.
    pub async fn get(&self, name: &str, path: &str) -> Result<Reply> {
        let place = self.place(name).await?;
        let host = format!("{}:{}", self.eastwest.member(name)?.host(), place.port());
        http1::call(place, &Method::GET, path, &[("host", &host)]).await
    }

    /// A gRPC call.
    ///
    /// # Errors
    /// When its name is not known, or the answer is an error.
    pub async fn find(&self, name: &str, item: &str) -> Result<Found> {
        let place = self.place(name).await?;
        let host = format!("{}:{}", self.eastwest.member(name)?.host(), place.port());
        cart::find(place, &host, item).await
    }

    /// Octets there and back.
    ///
    /// # Errors
    /// When its name is not known, or not all of them come back.
    pub async fn echo(&self, name: &str, octets: &[u8]) -> Result<Vec<u8>> {
        let place = self.place(name).await?;
        let exchange = async {
            let mut stream = TcpStream::connect(place).await?;
            stream.write_all(octets).await?;
            let mut back = vec![0; octets.len()];
            stream.read_exact(&mut back).await?;
            anyhow::Ok(back)
        };
        timeout(LIMIT, exchange).await.context("nothing comes back")?
    }

    /// Waits until a request to an HTTP service is answered by it.
    ///
    /// # Errors
    /// The last that went wrong.
    pub async fn answers(&self, name: &str) -> Result<Reply> {
        wait_for("an answer through the gateway", async || {
            let reply = self.get(name, "/here").await?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
            Ok(reply)
        })
        .await
    }
}
