//! A whole mesh to join: istiod, the workload `hello`, a resolver outside, and a bundle.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::bundle::Bundle;
use crate::ca::{Shape, TestCa, spiffe_id};
use crate::istiod::FakeIstiod;
use crate::resolver::Resolver;
use crate::service::{Secrets, Service};
use crate::sidecar::{self, Arrival};
use crate::time::Time;
use crate::token::TokenSigner;
use crate::workload::Workload;

/// Namespace, service account and group of the machine that joins.
pub const NAMESPACE: &str = "vms";
/// Its service account.
pub const ACCOUNT: &str = "web";
/// Its workload group.
pub const GROUP: &str = "web";

/// A name that only the resolver outside knows.
pub const OUTSIDE: &str = "outside.example.org";
/// The address of that name.
pub const OUTSIDE_IP: [u8; 4] = [192, 0, 2, 7];

/// Where a service is that only traffic rules lead to.
const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);

/// The mesh; all of it ends when it is dropped.
#[derive(Debug)]
pub struct Mesh {
    /// The control plane.
    pub istiod: FakeIstiod,
    /// The workload behind the service.
    pub hello: Workload,
    /// The service `hello.demo.svc.cluster.local`.
    pub service: Service,
    /// What stands in resolv.conf.
    pub outside: Resolver,
    /// What goes into the bundle.
    pub bundle: Bundle,
    /// Where the bundle is.
    pub bundle_dir: PathBuf,
}

impl Mesh {
    /// Starts everything and writes the bundle into `dir`/bundle.
    ///
    /// # Errors
    /// When a part cannot be started or the bundle cannot be written.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, Shape::SelfSigned).await
    }

    /// The same with a choice of CA.
    ///
    /// # Errors
    /// When a part cannot be started or the bundle cannot be written.
    pub async fn start_with(dir: &Path, shape: Shape) -> Result<Self> {
        Self::start_at(dir, shape, &Time::default()).await
    }

    /// The same in a time of its own; the workload and its certificates are in it too.
    ///
    /// # Errors
    /// When a part cannot be started or the bundle cannot be written.
    pub async fn start_at(dir: &Path, shape: Shape, time: &Time) -> Result<Self> {
        let ca = TestCa::at(shape, time)?;
        let istiod = FakeIstiod::start(&ca, &TokenSigner::at(time)?).await?;
        let hello = Workload::start(&ca, "demo", "hello").await?;
        let service = Service::new("hello", "demo", hello.addr())?;
        istiod.world().change(|state| {
            Service::publish(std::slice::from_ref(&service), Secrets::Agent, state);
        });
        Self::of(dir, istiod, hello, service, Resolver::start().await?)
    }

    /// One for a machine whose traffic is intercepted: on an address that it can reach, with
    /// istiod's own ports and port 53, and a service whose address is nobody's. `inbound` are the
    /// ports of the machine that the mesh may call.
    ///
    /// # Errors
    /// When a part cannot be started or the bundle cannot be written.
    pub async fn start_on(
        dir: &Path,
        ip: Ipv4Addr,
        inbound: &[u16],
        arrival: Arrival,
    ) -> Result<Self> {
        let ca = TestCa::new(Shape::SelfSigned)?;
        let istiod = FakeIstiod::start_on(&ca, &TokenSigner::at(&Time::default())?, ip).await?;
        let hello = Workload::start_on(&ca, "demo", "hello", ip).await?;
        let mut service = Service::new("hello", "demo", hello.addr())?;
        service.vip = SERVICE;
        istiod.world().change(|state| sidecar::publish(&service, inbound, arrival, state));
        let outside = Resolver::start_at((ip, 53).into()).await?;
        Self::of(dir, istiod, hello, service, outside)
    }

    fn of(
        dir: &Path,
        istiod: FakeIstiod,
        hello: Workload,
        service: Service,
        outside: Resolver,
    ) -> Result<Self> {
        istiod.workload_group(NAMESPACE, GROUP, ACCOUNT);
        outside.address(OUTSIDE, OUTSIDE_IP.into());
        let bundle = Bundle::new(&istiod, NAMESPACE, ACCOUNT, GROUP)?;
        let bundle_dir = dir.join("bundle");
        bundle.write(&bundle_dir)?;
        Ok(Self { istiod, hello, service, outside, bundle, bundle_dir })
    }

    /// The SPIFFE id of the machine that joins.
    #[must_use]
    pub fn identity(&self) -> String {
        spiffe_id(&self.bundle.namespace, &self.bundle.service_account)
    }
}
