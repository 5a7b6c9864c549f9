//! Where things are. All of it can be moved under one root, for tests and for use without root.
//!
//! What an operator says as an absolute path is meant as it stands; and `/etc/resolv.conf` belongs
//! to the machine, wherever the rest has been moved.

use std::path::{Path, PathBuf};

/// The root that every path hangs from, `/` on an installed machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
    bundle: Option<PathBuf>,
}

impl Paths {
    /// Everything under this directory.
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), bundle: None }
    }

    /// The same, with the files of a bundle that is not installed yet.
    pub fn with_bundle(&self, dir: impl Into<PathBuf>) -> Self {
        Self { root: self.root.clone(), bundle: Some(dir.into()) }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the installed layout and not one moved elsewhere.
    pub fn is_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A path of the installed layout, under the root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Our own configuration.
    pub fn toml(&self) -> PathBuf {
        self.at("etc/hawser/hawser.toml")
    }

    /// The file of services.
    pub fn services(&self) -> PathBuf {
        self.at("etc/hawser/services.yaml")
    }

    /// What `hawser join` has installed.
    pub fn bundle(&self) -> PathBuf {
        self.at("etc/hawser/mesh")
    }

    /// State that survives a reboot.
    pub fn state(&self) -> PathBuf {
        self.at("var/lib/hawser")
    }

    /// What Envoy took last, for a start without istiod.
    pub fn last_good(&self) -> PathBuf {
        self.state().join("configuration")
    }

    /// The last names of the mesh, for a start without istiod.
    pub fn names(&self) -> PathBuf {
        self.state().join("names")
    }

    /// Wasm modules, which Envoy's user has to be able to read.
    pub fn modules(&self) -> PathBuf {
        self.cache().join("wasm")
    }

    /// What can be had again.
    pub fn cache(&self) -> PathBuf {
        self.at("var/cache/hawser")
    }

    /// Sockets and what is rendered at each start.
    pub fn run(&self) -> PathBuf {
        self.at("run/hawser")
    }

    /// Locked by the one agent that there may be.
    pub fn lock(&self) -> PathBuf {
        self.run().join("lock")
    }

    /// What Envoy's unit leaves for everybody to read.
    pub fn envoy_run(&self) -> PathBuf {
        self.at("run/hawser-envoy")
    }

    /// Where Envoy asks for certificates.
    pub fn sds_socket(&self) -> PathBuf {
        self.run().join("sds.sock")
    }

    /// Where Envoy asks for configuration.
    pub fn xds_socket(&self) -> PathBuf {
        self.run().join("xds.sock")
    }

    /// Where `hawser status` asks.
    pub fn admin_socket(&self) -> PathBuf {
        self.run().join("admin.sock")
    }

    /// Touched when other programs have a new certificate: what units of systemd watch.
    pub fn exported(&self) -> PathBuf {
        self.run().join("exported")
    }

    /// What the privileged part that redirects traffic says and remembers.
    pub fn intercept_run(&self) -> PathBuf {
        self.at("run/hawser-intercept")
    }

    /// What systemd-resolved is to ask for, when it is to ask.
    pub fn dns_domains(&self) -> PathBuf {
        self.run().join("dns-domains")
    }

    /// The bootstrap of programs that speak xDS themselves (`GRPC_XDS_BOOTSTRAP`).
    pub fn grpc_bootstrap(&self) -> PathBuf {
        self.run().join("grpc-bootstrap.json")
    }

    /// The bootstrap that Envoy is started with.
    pub fn bootstrap(&self) -> PathBuf {
        self.run().join("envoy.json")
    }

    /// Where a file of the bundle is: what was joined, else Istio's own place.
    ///
    /// One or the other as a whole: half of a bundle says nothing about the other half.
    pub fn bundle_file(&self, name: &str) -> PathBuf {
        if let Some(dir) = &self.bundle {
            return dir.join(name);
        }
        let joined = self.bundle();
        let mut known = BUNDLE.iter().chain(&PAIR);
        let legacy = known.find(|(file, _)| *file == name).map_or("", |(_, at)| at);
        if legacy.is_empty() || joined.is_dir() { joined.join(name) } else { self.at(legacy) }
    }
}

/// The five files of a bundle, by the name that istioctl gives them and the place where a machine
/// that ran Istio's own agent has them.
pub const BUNDLE: [(&str, &str); 5] = [
    (CLUSTER_ENV, "var/lib/istio/envoy/cluster.env"),
    (MESH_YAML, "etc/istio/config/mesh"),
    (ROOT_CERT, "etc/certs/root-cert.pem"),
    (TOKEN, "var/run/secrets/tokens/istio-token"),
    (HOSTS, ""),
];

/// What the oldest form of a bundle has in place of a token: a pair that the mesh's authority has
/// issued beforehand.
pub const PAIR: [(&str, &str); 2] =
    [(KEY, "etc/certs/key.pem"), (CHAIN, "etc/certs/cert-chain.pem")];

/// Variables of the workload and of interception.
pub const CLUSTER_ENV: &str = "cluster.env";
/// `defaultConfig` of the mesh.
pub const MESH_YAML: &str = "mesh.yaml";
/// The roots of istiod's certificate.
pub const ROOT_CERT: &str = "root-cert.pem";
/// The token of the service account.
pub const TOKEN: &str = "istio-token";
/// The address of the east-west gateway under istiod's name.
pub const HOSTS: &str = "hosts";
/// The key of a pair.
pub const KEY: &str = "key.pem";
/// Its certificate, and those that lead to the root.
pub const CHAIN: &str = "cert-chain.pem";

/// Labels and annotations of a pod, in Istio's places.
pub const POD_LABELS: &str = "etc/istio/pod/labels";
/// The same for annotations.
pub const POD_ANNOTATIONS: &str = "etc/istio/pod/annotations";

/// Istio's file for what an operator adds by hand.
pub const SIDECAR_ENV: &str = "var/lib/istio/envoy/sidecar.env";
