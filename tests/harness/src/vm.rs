//! A machine that joins the fake mesh: a root of its own, its settings, and the commands on it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::agent::{Agent, hawser_with};
use crate::ca::Certified;
use crate::free;
use crate::mesh::Mesh;
use crate::store::Store;

/// A machine: everything of it is under one directory, and no port is fixed.
#[derive(Debug, Clone)]
pub struct Vm {
    binary: PathBuf,
    root: PathBuf,
    /// The Envoy that the agent is to run; without one it runs none.
    pub envoy: Option<PathBuf>,
    /// The command that the agent is started by, such as that of a
    /// [disk](crate::disk::Disk::under).
    pub under: Vec<OsString>,
    /// What keeps the agent's sockets from one start to the next, if anything does.
    pub store: Option<Store>,
    /// Variables that the agent and every command on it have, such as those of a
    /// [clock](crate::faketime::Faketime::env).
    pub env: Vec<(OsString, OsString)>,
}

/// What `hawser status --json` tells; what is not named here is in `rest`.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the agent's own status")]
pub struct Status {
    pub identity: IdentityStatus,
    pub dns: Option<DnsStatus>,
    pub envoy: EnvoyStatus,
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// The certificate that is served.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct IdentityStatus {
    pub spiffe_id: Option<String>,
    /// Seconds since 1970.
    pub not_after: Option<u64>,
}

/// The DNS proxy.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct DnsStatus {
    pub listen: Vec<SocketAddr>,
}

/// Envoy as the agent sees it.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct EnvoyStatus {
    pub admin: SocketAddr,
    pub state: String,
    pub pid: Option<i32>,
}

impl Vm {
    /// Makes the root of a machine whose outside resolver is the mesh's; it has not joined.
    ///
    /// # Errors
    /// When its files cannot be written or no ports are free.
    pub fn new(binary: &Path, root: &Path, mesh: &Mesh) -> Result<Self> {
        Self::apart(binary, root, mesh.outside.addr())
    }

    /// The same for a machine with this resolver and no mesh.
    ///
    /// # Errors
    /// As above.
    pub fn apart(binary: &Path, root: &Path, outside: SocketAddr) -> Result<Self> {
        let port = || free::port(Ipv4Addr::LOCALHOST.into());
        let settings = format!(
            "[dns]\nlisten = \"127.0.0.1:0\"\nupstreams = [\"{outside}\"]\n\n\
             [envoy]\nadmin_port = {}\nstatus_port = {}\nprometheus_port = {}\ndrain = \"1s\"\n\n\
             [status]\nlisten = \"127.0.0.1:{}\"\n",
            port()?,
            port()?,
            port()?,
            port()?,
        );
        let vm = Self {
            binary: binary.to_owned(),
            root: root.to_owned(),
            envoy: None,
            under: Vec::new(),
            store: None,
            env: Vec::new(),
        };
        vm.settings(&settings)?;
        Ok(vm)
    }

    /// The agent's program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Where everything of it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Replaces its `hawser.toml`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn settings(&self, toml: &str) -> Result<()> {
        let path = self.root.join("etc/hawser/hawser.toml");
        let parent = path.parent().context("a path without a parent")?;
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        let mut file = fs::File::create(&path).with_context(|| format!("create {path:?}"))?;
        file.write_all(toml.as_bytes()).context("write settings")
    }

    /// Its `hawser.toml`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn toml(&self) -> Result<String> {
        fs::read_to_string(self.root.join("etc/hawser/hawser.toml")).context("read settings")
    }

    /// Puts a pair into a directory of it, as somebody who provisions machines does; answers the
    /// directory.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn provision(&self, dir: &str, pair: &Certified) -> Result<PathBuf> {
        let dir = self.root.join(dir.trim_start_matches('/'));
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        for (name, mode, text) in
            [("key.pem", 0o600, &pair.key), ("cert-chain.pem", 0o644, &pair.chain)]
        {
            put(&dir.join(name), mode, text)?;
        }
        Ok(dir)
    }

    /// Puts roots there too, as `root-cert.pem`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn provision_roots(&self, dir: &str, roots: &str) -> Result<PathBuf> {
        let dir = self.root.join(dir.trim_start_matches('/'));
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        put(&dir.join("root-cert.pem"), 0o644, roots)?;
        Ok(dir)
    }

    /// Runs `hawser identity ARGS… --root ROOT` to its end.
    ///
    /// # Errors
    /// When it cannot be run; its failure is no error.
    pub async fn identity(&self, args: &[&str]) -> Result<Output> {
        let args: Vec<_> = ["identity"].into_iter().chain(args.iter().copied()).collect();
        self.hawser(&args).await
    }

    /// Runs `hawser ARGS… --root ROOT` to its end.
    ///
    /// # Errors
    /// When it cannot be run; its failure is no error.
    pub async fn hawser(&self, args: &[&str]) -> Result<Output> {
        let args = args.iter().map(OsStr::new);
        let args: Vec<_> = args.chain([OsStr::new("--root"), self.root.as_os_str()]).collect();
        hawser_with(&self.binary, &args, &self.env).await
    }

    /// Runs `hawser join BUNDLE`.
    ///
    /// # Errors
    /// When it fails; the text is what it printed.
    pub async fn join(&self, bundle: &Path) -> Result<()> {
        self.join_with(bundle, &[]).await
    }

    /// Runs `hawser join BUNDLE` with more arguments.
    ///
    /// # Errors
    /// As above.
    pub async fn join_with(&self, bundle: &Path, args: &[&str]) -> Result<()> {
        let bundle = bundle.to_string_lossy();
        let output = self.hawser(&[&["join", &*bundle][..], args].concat()).await?;
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        ensure!(output.status.success(), "hawser join ended with {}:\n{printed}", output.status);
        Ok(())
    }

    /// Starts the agent; returns when it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(&self) -> Result<Agent> {
        self.start_with(&[], &[]).await
    }

    /// Starts the agent with more arguments and variables.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start_with(&self, args: &[&str], env: &[(&str, &str)]) -> Result<Agent> {
        self.spawn(args, env)?.ready().await
    }

    /// Starts the agent and does not wait until it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, args: &[&str], env: &[(&str, &str)]) -> Result<Agent> {
        let args = self.arguments(args);
        let args: Vec<_> = args.iter().map(OsStr::new).collect();
        let more = env.iter().map(|(key, value)| (key.into(), value.into()));
        let env: Vec<_> = self.env.iter().cloned().chain(more).collect();
        Agent::spawn_under(
            (&self.under, self.store.as_ref()),
            &self.binary,
            &self.root,
            &args,
            &env,
        )
    }

    /// What the agent says of itself.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn status(&self) -> Result<Status> {
        let output = self.hawser(&["status", "--json"]).await?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let told = String::from_utf8_lossy(&output.stderr);
        serde_json::from_str(&printed).with_context(|| format!("read status {printed} {told}"))
    }

    fn arguments(&self, args: &[&str]) -> Vec<String> {
        let envoy = self
            .envoy
            .iter()
            .flat_map(|path| ["--envoy".to_owned(), path.to_string_lossy().into_owned()]);
        envoy.chain(args.iter().map(|one| (*one).to_owned())).collect()
    }
}

/// Replaces a file as a whole: whoever reads it reads the old or the new one.
pub(crate) fn put(path: &Path, mode: u32, text: &str) -> Result<()> {
    let fresh = path.with_extension("fresh");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(&fresh);
    let mut file = file.with_context(|| format!("create {}", fresh.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("put {} in its place", path.display()))
}
