//! The package installs, starts on a booted systemd, and goes without a trace.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    HAWSER,
    machine::{Machine, wait_for},
};

#[test]
fn a_machine_installs_joins_starts_and_removes() -> Result<()> {
    let package = package("packages")?;
    let mesh = Path::new(HAWSER).with_file_name("mesh");
    let shared = [package.parent().context("a directory")?, mesh.parent().context("a directory")?];
    let machine = Machine::boot("package", &shared)?;
    let deb = package.to_str().context("a path in UTF-8")?;

    // A service that has not joined says so, and systemd does not try again.
    machine.succeed(&["dpkg", "-i", deb])?;
    machine.succeed(&["systemd-analyze", "verify", "--man=no", "hawser.service"])?;
    ensure!(!machine.run(&["systemctl", "start", "hawser"])?.status.success(), "it has not joined");
    let journal = machine.succeed(&["journalctl", "-u", "hawser", "-o", "cat"])?;
    ensure!(journal.contains("run `hawser join BUNDLE`"), "{journal}");
    let result = machine.succeed(&["systemctl", "show", "hawser"])?;
    ensure!(result.contains("ExecMainStatus=78\n"), "{result}");
    ensure!(result.contains("NRestarts=0\n"), "{result}");
    machine.succeed(&["systemctl", "reset-failed", "hawser"])?;

    // With a mesh, it joins and is ready when systemctl returns.
    let _mesh = machine.start(&[mesh.to_str().context("UTF-8")?, "--dir", "/srv/mesh"])?;
    wait_for("the mesh in the machine", Duration::from_secs(30), || {
        Ok(machine
            .run(&["test", "-e", "/srv/mesh/bundle/root-cert.pem"])?
            .status
            .success()
            .then_some(()))
    })?;
    machine.succeed(&["hawser", "join", "/srv/mesh/bundle"])?;
    machine.succeed(&["systemctl", "enable", "--now", "hawser"])?;
    let status = machine.succeed(&["hawser", "status"])?;
    ensure!(status.contains("ready"), "{status}");
    let shown = machine.succeed(&["hawser", "identity", "show"])?;
    ensure!(shown.contains("at rest      plain, for its owner alone"), "{shown}");

    runs_confined(&machine)?;
    speaks_to_the_journal(&machine)?;

    // An upgrade does not wait for an identity, and the new program takes over with the old one's.
    machine.succeed(&["dpkg", "-i", deb])?;
    wait_for("the service after an upgrade", Duration::from_secs(60), || {
        Ok(machine.run(&["hawser", "status"])?.status.success().then_some(()))
    })?;

    // Killed, it comes back; and the identity it has makes it ready without the token.
    machine.succeed(&["rm", "/etc/hawser/mesh/istio-token"])?;
    machine.succeed(&["systemctl", "kill", "-s", "KILL", "hawser"])?;
    wait_for("the service after a crash", Duration::from_secs(60), || {
        Ok(machine.run(&["hawser", "status"])?.status.success().then_some(()))
    })?;

    seals_what_it_keeps(&machine)?;
    says_how_to_go_on_without_the_seal(&machine)?;
    keeps_files_for_other_programs(&machine)?;

    // Removed and purged, nothing is left but the user.
    machine.succeed(&["dpkg", "-r", "hawser"])?;
    ensure!(!machine.run(&["systemctl", "is-active", "hawser"])?.status.success(), "still active");
    machine.succeed(&["dpkg", "-P", "hawser"])?;
    let look = "find / -xdev -name '*hawser*' -not -path '/proc/*' -not -path '/var/log/*'; \
                find /etc/certs /etc/credstore.encrypted /run/hawser -mindepth 1";
    let left = machine.run(&["sh", "-c", look])?;
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    let shared_name =
        |line: &&str| shared.iter().any(|dir| line.starts_with(&*dir.to_string_lossy()));
    let left: Vec<&str> = left.lines().filter(|line| !shared_name(line)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// Not root, no capability, and nothing that strangers may open.
fn runs_confined(machine: &Machine) -> Result<()> {
    let user =
        machine.succeed(&["sh", "-c", "ps -o user= -p $(systemctl show hawser -P MainPID)"])?;
    ensure!(user.trim() == "istio-p+" || user.trim() == "istio-proxy", "{user}");
    let status = "grep Cap /proc/$(systemctl show hawser -P MainPID)/status";
    let capabilities = machine.succeed(&["sh", "-c", status])?;
    ensure!(capabilities.lines().all(|line| line.ends_with("0000000000000000")), "{capabilities}");
    let modes = machine.succeed(&["stat", "-c", "%a %U", "/var/lib/hawser", "/run/hawser"])?;
    ensure!(modes == "700 istio-proxy\n755 istio-proxy\n", "{modes}");
    let score = machine.succeed(&["systemd-analyze", "security", "hawser", "--no-pager"])?;
    let overall = score.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
    let score: f32 =
        overall.split_whitespace().find_map(|word| word.parse().ok()).context("score")?;
    ensure!(score <= 2.0, "{overall}");
    Ok(())
}

/// Values stand in the line that people read, and in fields that programs read.
fn speaks_to_the_journal(machine: &Machine) -> Result<()> {
    let plain = machine.succeed(&["journalctl", "-u", "hawser", "-o", "cat"])?;
    ensure!(plain.contains("certificate"), "{plain}");
    let json = machine.succeed(&["journalctl", "-u", "hawser", "-o", "json"])?;
    let entries =
        json.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let with_fields = entries.filter(|entry| entry.get("TARGET").is_some()).count();
    ensure!(with_fields > 0, "no entry has fields of its own:\n{json}");
    Ok(())
}

/// One command, and the key does not lie on the disk as text any more; the seal opens again after
/// a restart, where the token is long gone.
fn seals_what_it_keeps(machine: &Machine) -> Result<()> {
    let plain = ["grep", "-rq", "PRIVATE KEY", "/var/lib/hawser"];
    ensure!(machine.run(&plain)?.status.success(), "before, it is as it is");

    let said = machine.succeed(&["hawser", "identity", "seal"])?;
    ensure!(said.contains("next: systemctl restart hawser"), "{said}");
    let said = machine.succeed(&["hawser", "identity", "seal"])?;
    ensure!(said.contains("is there already, and opens"), "{said}");
    let modes =
        machine.succeed(&["stat", "-c", "%a %U", "/etc/credstore.encrypted/hawser.seal"])?;
    ensure!(modes == "600 root\n", "{modes}");

    for start in ["the first start with the seal", "a start with what is sealed"] {
        machine.succeed(&["systemctl", "restart", "hawser"])?;
        let shown = machine.succeed(&["hawser", "identity", "show", "--json"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        ensure!(shown["at_rest"] == "sealed with systemd-creds", "{start}: {shown}");
        ensure!(shown["asked"] == 0, "{start} needs no istiod: {shown}");
        ensure!(!machine.run(&plain)?.status.success(), "{start}: a key in plain");
    }
    Ok(())
}

/// On a machine that has lost what it was sealed with, such as a clone, it is said what to do.
fn says_how_to_go_on_without_the_seal(machine: &Machine) -> Result<()> {
    machine.succeed(&["rm", "/var/lib/systemd/credential.secret"])?;
    ensure!(!machine.run(&["systemctl", "restart", "hawser"])?.status.success(), "it has started");
    let journal = machine.succeed(&["journalctl", "-u", "hawser", "-o", "cat", "-n", "20"])?;
    ensure!(journal.contains("hawser identity seal says what to do"), "{journal}");
    let told = machine.run(&["hawser", "identity", "seal"])?;
    ensure!(told.status.code() == Some(1), "{told:?}");
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    ensure!(told.contains("does not open on this machine"), "{told}");
    ensure!(told.contains("remove /etc/credstore.encrypted/hawser.seal, `hawser join`"), "{told}");

    machine.succeed(&["rm", "/etc/credstore.encrypted/hawser.seal"])?;
    machine.succeed(&["hawser", "join", "/srv/mesh/bundle"])?;
    machine.succeed(&["systemctl", "restart", "hawser"])?;
    machine.succeed(&["hawser", "identity", "show"])?;
    let made = machine.succeed(&["hawser", "identity", "seal"])?;
    ensure!(made.contains("made /etc/credstore.encrypted/hawser.seal"), "{made}");
    Ok(())
}

/// The hardened service may write where programs look for certificates, and a program that is
/// named to systemd reloads when there are new ones.
fn keeps_files_for_other_programs(machine: &Machine) -> Result<()> {
    let make = ["install", "-d", "-o", "istio-proxy", "-g", "istio-proxy", "/etc/certs"];
    machine.succeed(&make)?;
    let setting = "s|^#directory = .*|directory = \"/etc/certs\"|";
    machine.succeed(&["sed", "-i", setting, "/etc/hawser/hawser.toml"])?;
    machine.succeed(&["systemctl", "restart", "hawser"])?;
    let look = ["stat", "-L", "-c", "%n %a %U", "key.pem", "cert-chain.pem", "root-cert.pem"];
    let look: Vec<&str> = ["env", "-C", "/etc/certs"].into_iter().chain(look).collect();
    let files = wait_for("the files", Duration::from_secs(30), || {
        let told = machine.run(&["test", "-e", "/run/hawser/exported"])?.status.success();
        Ok(if told { Some(machine.succeed(&look)?) } else { None })
    })?;
    let expected = "key.pem 600 istio-proxy\ncert-chain.pem 644 istio-proxy\n\
                    root-cert.pem 644 istio-proxy\n";
    ensure!(files == expected, "{files}");

    machine.succeed(&["sh", "-c", &format!("echo '{PROGRAM}' >{PROGRAM_UNIT}")])?;
    machine.succeed(&["systemctl", "daemon-reload"])?;
    machine.succeed(&["systemctl", "start", "program"])?;
    machine.succeed(&["systemctl", "enable", "--now", "hawser-reload@program.path"])?;
    let chain = machine.succeed(&["cat", "/etc/certs/cert-chain.pem"])?;
    let renewed = machine.succeed(&["hawser", "identity", "renew"])?;
    ensure!(renewed.contains("renewed: spiffe://"), "{renewed}");
    let read = wait_for("the program to reload", Duration::from_secs(60), || {
        let read = machine.run(&["cat", "/run/program.read"])?;
        Ok(read.status.success().then(|| String::from_utf8_lossy(&read.stdout).into_owned()))
    })?;
    ensure!(read.contains("BEGIN CERTIFICATE") && read != chain, "it reads the old ones: {read}");
    Ok(())
}

/// A program that takes its certificates over when it is told to reload.
const PROGRAM: &str = "[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/cp /etc/certs/cert-chain.pem /run/program.fresh
ExecReload=/bin/mv /run/program.fresh /run/program.read";
const PROGRAM_UNIT: &str = "/run/systemd/system/program.service";

/// The package, made of the program under test, in a directory that nobody else makes it in.
pub(crate) fn package(directory: &str) -> Result<PathBuf> {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").join(directory);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build-deb.sh");
    let build = Command::new(script).arg(HAWSER).arg(&output).output()?;
    let said = String::from_utf8_lossy(&build.stderr).into_owned();
    ensure!(build.status.success(), "build-deb.sh: {said}");
    let mut packages = std::fs::read_dir(&output)?.filter_map(Result::ok).map(|entry| entry.path());
    packages.find(|path| path.extension().is_some_and(|ext| ext == "deb")).context("no package")
}
