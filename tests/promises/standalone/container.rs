//! The image is made by its recipe and does what it is for, as an ordinary user; and the examples are ones.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{envoy::envoy_binary, standalone::CERTIFICATES, wait::wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::Machine;
use crate::{HAWSER, package::pack};

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_makes_an_image_that_calls_services_as_an_ordinary_user() -> Result<()> {
    let machine = Machine::new().await?;
    let builder = Builder::new(machine.dir())?;
    let base = builder.base()?;
    let context = pack("container", None, &["tar"])?;
    let recipe = packaging("container/Containerfile");
    let (recipe, context) = (recipe.display().to_string(), context.display().to_string());
    let from = format!("BASE={base}");
    let build = ["build", "--isolation", "chroot", "--build-arg", &from, "-t", IMAGE, "-f"];
    builder.run(&[&build[..], &[recipe.as_str(), context.as_str()]].concat())?;

    let image: Value = serde_json::from_str(&builder.run(&["inspect", "--type", "image", IMAGE])?)?;
    let config = &image["OCIv1"]["config"];
    ensure!(config["User"] == format!("{USER}:{USER}"), "{config}");
    ensure!(config["Volumes"]["/var/lib/hawser"].is_object(), "{config}");
    let words = config["Entrypoint"].as_array().context("no entry point")?;
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();

    // Shared with it, so that it can be asked from here.
    let root = machine.vm.root();
    let run = root.join("run");
    fs::create_dir(&run)?;
    chown(&run, Some(USER), Some(USER))?;
    chown(root.join(CERTIFICATES).join("key.pem"), Some(USER), None)?;
    let mut container = builder.start(&words, root)?;
    let answer = machine.answers("reviews").await.with_context(|| container.said())?;
    let answer: hawser_harness::workload::Answer = answer.json()?;
    ensure!(answer.caller == machine.identity(), "{answer:?}");
    let pid = machine.status().await?["pid"].as_i64().context("no pid")?;
    let of = fs::read_to_string(format!("/proc/{pid}/status"))?;
    for line in [format!("Uid:\t{USER}\t{USER}"), "CapEff:\t0000000000000000".to_owned()] {
        ensure!(of.contains(&line), "{line} is not in {of}");
    }

    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;

    container.ends().await
}

#[test]
fn the_unit_of_the_container_fits_the_image_and_those_of_the_package() -> Result<()> {
    let text = fs::read_to_string(packaging("container/hawser.container"))?;
    let recipe = fs::read_to_string(packaging("container/Containerfile"))?;
    let said = lines(&text);
    let of = |section: &str, key: &str| {
        let found = said.iter().filter(|(s, k, _)| s == section && k == key);
        found.map(|(_, _, value)| value.as_str()).collect::<Vec<_>>()
    };
    for (section, key, value) in &said {
        let known = ["Unit", "Container", "Service", "Install"].contains(&section.as_str());
        ensure!(known && !value.is_empty(), "[{section}] {key}={value}");
        ensure!(
            section != "Container" || KEYS.contains(&key.as_str()),
            "{key} is none of Quadlet's"
        );
    }
    ensure!(recipe.contains("podman build -t hawser "), "the image has another name");
    ensure!(of("Container", "Image") == ["localhost/hawser:latest"], "{said:?}");
    let places: BTreeSet<&str> =
        of("Container", "Volume").iter().filter_map(|volume| volume.split(':').nth(1)).collect();
    ensure!(places == ["/etc/certs", "/etc/hawser", "/var/lib/hawser"].into(), "{places:?}");
    let package = fs::read_to_string(packaging("../systemd/hawser.service"))?;
    for code in of("Service", "RestartPreventExitStatus") {
        ensure!(package.contains(&format!("RestartPreventExitStatus={code}\n")), "{code}");
    }
    // What is not Quadlet's is systemd's, which judges it.
    let dir = tempfile::tempdir()?;
    let unit = dir.path().join("hawser.service");
    let service = "[Service]\nType=notify\nExecStart=/bin/true\n";
    let (before, rest) = text.split_once("[Container]").context("no container")?;
    let (_, rest) = rest.split_once("[Service]\n").context("no service")?;
    hawser_state::write_file(&unit, 0o644, format!("{before}{service}{rest}").as_bytes())?;
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output();
    let verify = verify.context("run systemd-analyze; tests/tools.sh installs it")?;
    let told = String::from_utf8_lossy(&verify.stderr).into_owned();
    ensure!(verify.status.success() && !told.contains("hawser.service:"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_a_file_of_services_is_right() -> Result<()> {
    for name in ["services.yaml", "forwarder.yaml", "inbound.yaml"] {
        let path = packaging("examples").join(name);
        let path = path.to_str().context("a path in UTF-8")?;
        let checked = Command::new(HAWSER).args(["services", "check", path]).output()?;
        ensure!(checked.status.success(), "{name}: {}", crate::rig::said(&checked));
    }
    Ok(())
}

/// Section, key and value of every line that says something.
fn lines(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => name.clone_into(&mut section),
            None => {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                found.push((section.clone(), key.to_owned(), value.to_owned()));
            }
        }
    }
    found
}

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

/// What makes images, with a store of its own.
struct Builder {
    dir: PathBuf,
}

impl Builder {
    fn new(dir: &Path) -> Result<Self> {
        let dir = dir.join("images");
        fs::create_dir(&dir)?;
        Ok(Self { dir })
    }

    /// An image with an Envoy and what the recipe runs, of what is on this machine: none is fetched.
    fn base(&self) -> Result<String> {
        let tree = self.dir.join("tree");
        let envoy = envoy_binary()?;
        place(&envoy, &tree.join("usr/local/bin/envoy"))?;
        for program in ["/bin/sh", "/bin/mkdir", "/bin/chown", "/bin/chmod"] {
            place(Path::new(program), &tree.join(program.trim_start_matches('/')))?;
        }
        let programs = ["/bin/sh", "/bin/mkdir", "/bin/chown", "/bin/chmod", HAWSER];
        for program in programs.into_iter().map(Path::new).chain([envoy.as_path()]) {
            let listed = Command::new("ldd").arg(program).output().context("run ldd")?;
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
                place(Path::new(library), &tree.join(library.trim_start_matches('/')))?;
            }
        }
        fs::create_dir_all(tree.join("tmp"))?;
        let container = self.run(&["from", "scratch"])?;
        let (container, tree) = (container.trim(), tree.display().to_string());
        self.run(&["copy", "--quiet", container, &tree, "/"])?;
        self.run(&["commit", "--quiet", container, BASE])?;
        Ok(BASE.to_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.dir.join("store"));
        command.arg("--runroot").arg(self.dir.join("run"));
        command.args(["--storage-driver", "vfs"]).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output();
        let output = output.context("run buildah; tests/tools.sh installs it")?;
        let said = crate::rig::said(&output);
        ensure!(output.status.success(), "buildah {arguments:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The program of the image, with what the unit of the container gives it from a machine's root.
    fn start(&self, words: &[&str], root: &Path) -> Result<Container> {
        let name = self.run(&["from", IMAGE])?;
        let log = self.dir.join("log");
        let file = fs::File::create(&log)?;
        let mut volumes = Vec::new();
        for (place, mode) in [("etc/hawser", ":ro"), (CERTIFICATES, ":ro"), ("run", "")] {
            let from = root.join(place).display().to_string();
            volumes.extend(["--volume".to_owned(), format!("{from}:/{place}{mode}")]);
        }
        let volumes: Vec<&str> = volumes.iter().map(String::as_str).collect();
        let run = ["run", "--isolation", "chroot"];
        let words = [&run[..], &volumes, &[name.trim(), "--"], words].concat();
        let mut command = self.command(&words);
        let child = command.stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Container { child, log, lock: root.join("run/hawser/lock") })
    }
}

/// One that runs. Ended when dropped.
struct Container {
    child: Child,
    log: PathBuf,
    /// Which has the number of the agent.
    lock: PathBuf,
}

impl Container {
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has ended well.
    async fn ends(&mut self) -> Result<()> {
        let status = wait_for("the end of the container", async || {
            self.child.try_wait()?.with_context(|| "it runs")
        })
        .await?;
        ensure!(status.success(), "{status} {}", self.said());
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The agent itself is told, which ends its Envoy; what started them would leave both.
        let pid = fs::read_to_string(&self.lock).ok().and_then(|pid| pid.trim().parse().ok());
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), pid) {
            let _sent = kill(Pid::from_raw(pid), Signal::SIGTERM);
            for _ in 0..GRACE.as_millis() / 20 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn place(from: &Path, to: &Path) -> Result<()> {
    if !to.exists() {
        fs::create_dir_all(to.parent().context("a path without a parent")?)?;
        fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    }
    Ok(())
}

/// Keys of Quadlet's section, as far as they are used.
const KEYS: [&str; 11] = [
    "Image",
    "ContainerName",
    "Network",
    "Volume",
    "Tmpfs",
    "ReadOnly",
    "NoNewPrivileges",
    "DropCapability",
    "AddCapability",
    "Notify",
    "StopTimeout",
];
const BASE: &str = "localhost/base:latest";
const IMAGE: &str = "localhost/hawser:latest";
const USER: u32 = 1337;
const GRACE: Duration = Duration::from_secs(10);
