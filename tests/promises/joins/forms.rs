//! The same bundle in every form in which it may come.

use std::{path::Path, process::Output};

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hawser_harness::{faketime::Faketime, istiod::Reach};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::tree;
use crate::rig::{Rig, said, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_tar_joins_from_standard_input() -> Result<()> {
    let rig = Rig::new().await?;
    let tar = rig.mesh.bundle.tar()?;

    let output = fed(&rig, &tar).await?;

    ensure!(output.status.success(), "{}", said(&output));
    assert_eq!(tree(&rig.file("etc/hawser/mesh"))?, tree(&rig.mesh.bundle_dir)?);

    for (bytes, expected) in [
        (&tar[..tar.len() / 4], "standard input: cannot be read as a bundle"),
        (b"<html>log in</html>".as_slice(), "standard input: cannot be read as a bundle"),
        (b"".as_slice(), "standard input"),
    ] {
        let output = fed(&rig, bytes).await?;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        ensure!(said(&output).contains(expected), "{}", said(&output));
        ensure!(said(&output).contains("nothing was changed"), "{}", said(&output));
    }
    assert_eq!(tree(&rig.file("etc/hawser/mesh"))?, tree(&rig.mesh.bundle_dir)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_systemd_joins_as_a_tar_or_in_base64() -> Result<()> {
    let mut rig = Rig::new().await?;
    let tar = rig.mesh.bundle.tar()?;
    let unit = rig.file("credentials");
    put(&rig.file("run/credentials/@system/of-the-machine"), &tar)?;
    // As `base64` writes it.
    let lines: Vec<String> = BASE64_STANDARD
        .encode(&tar)
        .as_bytes()
        .chunks(76)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    put(&unit.join("of-the-unit"), lines.join("\n").as_bytes())?;

    let output = rig.vm.hawser(&["join", "--credential", "of-the-machine"]).await?;
    ensure!(output.status.success(), "{}", said(&output));
    assert_eq!(tree(&rig.file("etc/hawser/mesh"))?, tree(&rig.mesh.bundle_dir)?);

    let missing = rig.vm.hawser(&["join", "--credential", "of-the-unit"]).await?;
    assert_eq!(missing.status.code(), Some(1));
    ensure!(said(&missing).contains("LoadCredential=of-the-unit:PATH"), "{}", said(&missing));

    rig.vm.env.push(("CREDENTIALS_DIRECTORY".into(), unit.into()));
    let output = rig.vm.hawser(&["join", "--credential", "of-the-unit"]).await?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_is_told_alone() -> Result<()> {
    let mut rig = Rig::new().await?;
    let dir = rig.file("bundle");
    rig.mesh.bundle.write(&dir)?;
    let clock = Faketime::ahead(-7 * 3600)?;
    rig.vm.env = clock.env();
    let before = tree(rig.vm.root())?;

    let output = rig.vm.hawser(&["join", text(&dir)?]).await?;

    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
    ensure!(told.contains("this machine's clock: it is at least "), "{told}");
    ensure!(told.contains(" behind: "), "{told}");
    ensure!(told.contains("timedatectl set-ntp true"), "{told}");
    assert_eq!(tree(rig.vm.root())?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_into_an_image_says_how_long_its_token_is_good() -> Result<()> {
    let rig = Rig::new().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let bundle = text(&rig.mesh.bundle_dir)?;

    let output = rig.vm.hawser(&["join", bundle, "--no-start", "--offline"]).await?;

    ensure!(output.status.success(), "{}", said(&output));
    ensure!(said(&output).contains("note: the token is good for "), "{}", said(&output));
    Ok(())
}

/// `hawser join -` with these bytes on its standard input.
async fn fed(rig: &Rig, bytes: &[u8]) -> Result<Output> {
    let mut command = Command::new(rig.vm.binary());
    command.args(["join", "-", "--root"]).arg(rig.vm.root()).env_clear();
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().context("start hawser")?;
    let mut input = child.stdin.take().context("no standard input")?;
    // Whoever has read enough hangs up.
    drop(input.write_all(bytes).await);
    drop(input);
    child.wait_with_output().await.context("wait for hawser")
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("no parent")?)?;
    Ok(hawser_state::write_file(path, 0o600, bytes)?)
}
