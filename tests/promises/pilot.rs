//! Called `pilot-agent`, the program takes the words of Istio's, and does what scripts expect.

use std::{os::unix::fs::symlink, path::PathBuf, process::Output, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::wait::wait_for;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    HAWSER,
    rig::{Rig, said, text},
};

/// The program by its other name, on a machine.
struct Pilot<'a> {
    rig: &'a Rig,
    link: PathBuf,
}

impl<'a> Pilot<'a> {
    fn of(rig: &'a Rig) -> Result<Self> {
        let link = rig.file("pilot-agent");
        std::fs::create_dir_all(rig.vm.root())?;
        symlink(HAWSER, &link).context("link the program")?;
        Ok(Self { rig, link })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.link);
        command.args(arguments).env("HAWSER_ROOT", self.rig.vm.root()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().await.with_context(|| format!("run {arguments:?}"))
    }
}

/// A command line, how it ends, and what it says.
type Row = (&'static [&'static str], i32, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn command_lines_end_as_those_of_istios_agent() -> Result<()> {
    let rig = Rig::joined().await?;
    let pilot = Pilot::of(&rig)?;
    let rows: [Row; 19] = [
        (&[], 0, "Usage"),
        (&["--help"], 0, "istio-iptables"),
        (&["nonsense"], 255, "Error: "),
        (&["version"], 0, "client version: version.BuildInfo{Version:\""),
        (&["version", "-s"], 0, "client version: 0."),
        (&["version", "-o", "yaml"], 0, "clientVersion:\n  golang_version"),
        (&["version", "-o", "xml"], 255, "Error: --output must be 'yaml' or 'json'"),
        (&["version", "--nonsense"], 255, "Error: "),
        (&["--nonsense=1", "version", "-s"], 0, "client version: "),
        (&["request", "GET"], 255, "Error: "),
        (&["request", "GET", "x", "--debug-port", "99"], 255, "not in allowed list"),
        (&["request", "GET", "x"], 255, "Error: http://localhost:"),
        (
            &[
                "wait",
                "--timeoutSeconds",
                "1",
                "--periodMillis",
                "50",
                "--url",
                "http://127.0.0.1:1/",
            ],
            255,
            "timeout waiting for Envoy proxy to become ready. Last error: ",
        ),
        (&["wait", "--url", "https://x/"], 255, "expected http://"),
        (&["proxy", "router"], 255, "this agent is for a sidecar"),
        (&["istio-iptables", "--cni-mode"], 1, "there is no CNI on a machine"),
        (&["istio-iptables", "--cni-mode=false", "-n"], 0, "table inet hawser"),
        (&["istio-iptables", "--network-namespace", "/run/netns/x"], 1, "in its own network alone"),
        (&["istio-iptables", "-n", "-z", "nonsense"], 1, "intercept.inbound_port"),
    ];
    for (line, code, says) in rows {
        let output = pilot.run(line).await?;
        let told = said(&output);
        assert_eq!(output.status.code(), Some(code), "{line:?}: {told}");
        ensure!(told.contains(says), "{line:?}: no {says:?} in {told}");
    }
    let output = pilot.run(&["version", "-o", "json"]).await?;
    let version: Value = serde_json::from_slice(&output.stdout)?;
    let keys = ["golang_version", "revision", "status", "tag", "version"];
    ensure!(keys.iter().all(|key| version["clientVersion"][key].is_string()), "{version}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_istio_iptables_are_settings_and_its_variables_too() -> Result<()> {
    let rig = Rig::joined().await?;
    let pilot = Pilot::of(&rig)?;
    let flags = [
        "istio-iptables",
        "--dry-run",
        "-i",
        "10.1.0.0/16",
        "-b",
        "8080",
        "-p",
        "16001",
        "-u",
        "4242",
    ];
    let output = pilot.run(&flags).await?;
    let told = said(&output);
    for part in ["10.1.0.0/16", "8080", "redirect to :16001", "4242"] {
        ensure!(told.contains(part), "no {part} in {told}");
    }
    let none = pilot.run(&["istio-iptables", "--dry-run", "--native-nftables"]).await?;
    ensure!(said(&none).contains("--native-nftables does nothing here"), "{}", said(&none));

    // A variable says it for a script that has no flags, and a flag is stronger.
    let mut command = pilot.command(&["istio-iptables", "-i", "10.2.0.0/16"]);
    command.env("DRY_RUN", "true").env("ISTIO_SERVICE_CIDR", "10.3.0.0/16");
    let told = said(&command.output().await?);
    ensure!(told.contains("10.2.0.0/16") && !told.contains("10.3.0.0/16"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn request_and_wait_ask_envoy() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let pilot = Pilot::of(&rig)?;
    let _agent = rig.serving().await?;

    let output = pilot.run(&["wait", "--timeoutSeconds", "30", "--periodMillis", "50"]).await?;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    ensure!(said(&output).ends_with("Envoy is ready!\n"), "{}", said(&output));

    // With and without a slash, the body alone and a line feed.
    for path in ["server_info", "/server_info"] {
        let output = pilot.run(&["request", "GET", path]).await?;
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{}", said(&output));
        let info: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(info["state"], "LIVE");
        ensure!(output.stdout.ends_with(b"\n"));
    }
    let output = pilot.run(&["request", "GET", "/nonsense"]).await?;
    assert_eq!(output.status.code(), Some(0), "404 is an answer: {}", said(&output));
    let output = pilot.run(&["request", "GET", "/quitquitquit"]).await?;
    assert_eq!(output.status.code(), Some(255), "{}", said(&output));
    ensure!(said(&output).contains("received unsuccessful status code 40"), "{}", said(&output));
    let output = pilot.run(&["request", "POST", "/logging?paths=http:debug"]).await?;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_is_the_agent_with_envoy_under_it() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let pilot = Pilot::of(&rig)?;
    let envoy = rig.vm.envoy.clone().context("no Envoy")?;
    let toml = rig.vm.toml()?;
    let toml = toml.replace("[envoy]\n", &format!("[envoy]\nbinary = \"{}\"\n", text(&envoy)?));
    rig.vm.settings(&toml)?;
    let log = std::fs::File::create(rig.file("pilot.log"))?;
    let line = [
        "proxy",
        "sidecar",
        "--nonsense",
        "--stsPort=7",
        "--concurrency",
        "1",
        "--proxyLogLevel=warning",
        "--proxyComponentLogLevel=misc:error",
        "--log_output_level=default:debug",
    ];
    let mut agent = pilot.command(&line).stdout(log.try_clone()?).stderr(log).spawn()?;

    rig.envoy_ready().await?;
    ensure!(rig.request().await.is_ok() || rig.names_known().await.is_ok());
    let info = pilot.run(&["request", "GET", "server_info"]).await?;
    let info: Value = serde_json::from_slice(&info.stdout)?;
    assert_eq!(info["command_line_options"]["concurrency"], 1);
    assert_eq!(info["command_line_options"]["component_log_level"], "misc:error");
    let id = agent.id().context("it has ended")?;
    kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)?;
    let ended = tokio::time::timeout(Duration::from_secs(60), agent.wait()).await??;
    assert_eq!(ended.code(), Some(0));
    let log = std::fs::read_to_string(rig.file("pilot.log"))?;
    ensure!(log.contains("--stsPort does nothing here"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_is_disabled_is_not_started() -> Result<()> {
    let rig = Rig::joined().await?;
    let pilot = Pilot::of(&rig)?;
    let mut command = pilot.command(&["proxy"]);
    command.env("DISABLE_ENVOY", "true").stdout(std::process::Stdio::null());
    let _agent = command.stderr(std::process::Stdio::null()).spawn()?;

    wait_for("the agent", async || {
        let status = rig.vm.status().await?;
        ensure!(status.identity.spiffe_id.is_some(), "not yet");
        assert_eq!(status.envoy.state, "elsewhere");
        Ok(())
    })
    .await
}
