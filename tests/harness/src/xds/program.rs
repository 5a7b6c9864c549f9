//! The client as a process of another user: who may use a socket shows only so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::process::Command;
use tokio::time::timeout;

use super::Held;
use crate::wait::PATIENCE;

/// What a client tells about itself when it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Why it could not connect.
    pub unconnected: Option<String>,
    /// Code and text of the end of its stream, if it was over.
    pub ended: Option<(String, String)>,
    /// How many responses it has had, by type.
    pub responses: BTreeMap<String, usize>,
    /// The names it holds, by type.
    pub names: BTreeMap<String, Vec<String>>,
}

impl From<&Held> for Report {
    fn from(held: &Held) -> Self {
        let types = || held.types.iter();
        Self {
            unconnected: None,
            ended: held.ended.clone().map(|(code, text)| (format!("{code:?}"), text)),
            responses: types().map(|(url, kept)| (url.clone(), kept.responses)).collect(),
            names: types()
                .map(|(url, kept)| (url.clone(), kept.resources.keys().cloned().collect()))
                .collect(),
        }
    }
}

/// The program `xds` of the harness, where other users can run it.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Program {
    /// Copies it to where everybody can read it.
    ///
    /// # Errors
    /// When it has not been built, or cannot be copied.
    pub fn new() -> Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        // Tests are in `deps`, beside the programs.
        let found = own.ancestors().skip(1).take(2).map(|dir| dir.join("xds"));
        let found = found.into_iter().find(|path| path.exists());
        let built = found.context("no program `xds`: cargo build --workspace --bins")?;
        let dir = tempfile::Builder::new().prefix("xds-").tempdir().context("make a directory")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let path = dir.path().join("xds");
        fs::copy(&built, &path).with_context(|| format!("copy {}", built.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self { path, _dir: dir })
    }

    /// Connects to a socket as a user and group of these numbers and of no other groups, asks for
    /// clusters, and tells what came of it: with the first response, at the end of the stream, or
    /// after `patience`. It needs root.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn run_as(
        &self,
        [uid, gid]: [u32; 2],
        socket: &Path,
        patience: Duration,
    ) -> Result<Report> {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
        command.arg("--clear-groups").arg("--").arg(&self.path).arg("client");
        command.arg("--socket").arg(socket);
        command.arg("--patience").arg(format!("{}", patience.as_secs_f64()));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PATIENCE + patience, command.output()).await;
        let output = output.context("the client runs on")?.context("run the client")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the client ended with {}: {told}", output.status);
        serde_json::from_slice(&output.stdout).context("read the client's report")
    }
}
