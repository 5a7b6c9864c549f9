//! The agent's group may look, and only look.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Output,
};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{getegid, geteuid};
use tokio::process::Command;

use crate::rig::{Rig, said};

const NOBODY: u32 = 65534;

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_agents_group_may_look_and_change_nothing() -> Result<()> {
    ensure!(geteuid().is_root(), "this test runs commands as another user and needs root");
    let rig = Rig::joined().await?;
    for dir in rig.vm.root().ancestors().take(2) {
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    let _agent = rig.vm.start().await?;
    let socket = fs::metadata(rig.file("run/hawser/admin.sock"))?;
    let group = getegid().as_raw();
    ensure!((socket.mode() & 0o777, socket.gid()) == (0o660, group), "{socket:?}");

    let looks = rig.ask_as(group, "GET", "/status").await?;
    let changes = rig.ask_as(group, "POST", "/drain").await?;
    let stranger = rig.ask_as(NOBODY, "GET", "/status").await?;

    ensure!(said(&looks).contains("\"state\""), "{}", said(&looks));
    ensure!(said(&changes).contains("try again with sudo"), "{}", said(&changes));
    ensure!(said(&changes).contains("403"), "{}", said(&changes));
    ensure!(said(&stranger).contains("ermission"), "{}", said(&stranger));
    ensure!(rig.status().await?["draining"].is_null(), "nothing has changed");
    Ok(())
}

impl Rig {
    /// A request to the admin socket, made by nobody as one of a group.
    async fn ask_as(&self, group: u32, method: &str, path: &str) -> Result<Output> {
        let socket = self.file("run/hawser/admin.sock");
        Command::new("setpriv")
            .args([&format!("--reuid={NOBODY}"), &format!("--regid={group}"), "--clear-groups"])
            .args(["curl", "--silent", "--show-error", "--include", "--request", method])
            .args(["--verbose", "--unix-socket"])
            .arg(socket)
            .arg(format!("http://localhost{path}"))
            .output()
            .await
            .context("run setpriv and curl; `tests/tools.sh` installs them")
    }
}
