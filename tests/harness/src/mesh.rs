//! A whole mesh to join: istiod, the workload `hello`, a resolver outside, and a bundle.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::bundle::Bundle;
use crate::ca::{Shape, TestCa, spiffe_id};
use crate::istiod::FakeIstiod;
use crate::resolver::Resolver;
use crate::service::{Secrets, Service};
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
        istiod.workload_group(NAMESPACE, GROUP, ACCOUNT);
        let hello = Workload::start(&ca, "demo", "hello").await?;
        let service = Service::new("hello", "demo", hello.addr())?;
        istiod.world().change(|state| {
            Service::publish(std::slice::from_ref(&service), Secrets::Agent, state);
        });
        let outside = Resolver::start().await?;
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
