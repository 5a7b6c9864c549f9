//! A directory on a disk of its own, small and taken away from everybody else, for one agent.
//!
//! It is mounted in a mount namespace that the agent is started in, so nothing outside sees it and
//! it goes with the agent. This needs root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use crate::wait::PATIENCE;

/// What is there is copied onto the small disk, and that is put in its place.
const MOUNT: &str = r#"set -e
place=$1 size=$2
shift 2
disk=$(mktemp -d)
mount -t tmpfs -o "size=$size,mode=0700" tmpfs "$disk"
cp -a "$place/." "$disk"
mount --move "$disk" "$place"
rmdir "$disk"
exec "$@"
"#;

/// The file that takes the room.
const BALLAST: &str = ".ballast";

/// A small disk at a directory, once an agent is started under it.
#[derive(Debug, Clone)]
pub struct Disk {
    place: PathBuf,
    bytes: usize,
}

impl Disk {
    /// A disk of so many bytes (whole pages, at least a few) at a directory, which is made if it
    /// is not there.
    ///
    /// # Errors
    /// When no disk can be mounted here; the text says what is needed.
    pub async fn small(place: &Path, bytes: usize) -> Result<Self> {
        std::fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
        let mut probe = Command::new("unshare");
        probe.args(["--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs"]);
        run(probe.arg(place)).await.context(
            "mount a disk of its own for the agent: run the tests as root (CAP_SYS_ADMIN), with \
             util-linux and mount installed",
        )?;
        Ok(Self { place: place.to_owned(), bytes })
    }

    /// The command to start the agent under.
    #[must_use]
    pub fn under(&self) -> Vec<OsString> {
        let start = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT, "disk"];
        let mut command: Vec<_> = start.into_iter().map(OsString::from).collect();
        command.push(self.place.clone().into());
        command.push(self.bytes.to_string().into());
        command
    }

    /// Takes all the room that is left, as the process of this id sees it.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn fill(&self, pid: i32) -> Result<()> {
        let fill = r#"! cat /dev/zero 2>/dev/null >"$1""#;
        self.within(pid, &["sh", "-c", fill, "fill"], Some(BALLAST)).await
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn clear(&self, pid: i32) -> Result<()> {
        self.within(pid, &["rm", "-f"], Some(BALLAST)).await
    }

    /// Lets nobody write.
    ///
    /// # Errors
    /// When it cannot, for example because a file is open for writing.
    pub async fn read_only(&self, pid: i32) -> Result<()> {
        self.within(pid, &["mount", "-o", "remount,ro"], None).await
    }

    /// Lets everybody write again.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn writable(&self, pid: i32) -> Result<()> {
        self.within(pid, &["mount", "-o", "remount,rw"], None).await
    }

    /// A file of the disk, by a path that is good outside while that process lives.
    #[must_use]
    pub fn file(&self, pid: i32, name: &str) -> PathBuf {
        let inside = self.place.strip_prefix("/").unwrap_or(&self.place);
        Path::new("/proc").join(pid.to_string()).join("root").join(inside).join(name)
    }

    /// Runs a command, with the place or a file of it behind, where that process lives.
    async fn within(&self, pid: i32, command: &[&str], name: Option<&str>) -> Result<()> {
        let mut enter = Command::new("nsenter");
        enter.args(["--mount", "--target", &pid.to_string(), "--"]).args(command);
        run(enter.arg(name.map_or_else(|| self.place.clone(), |name| self.place.join(name)))).await
    }
}

async fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.with_context(|| format!("{:?} runs on", command.as_std()))?;
    let output = output.with_context(|| format!("run {:?}", command.as_std()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?}: {} {}", command.as_std(), output.status, told.trim());
    Ok(())
}
