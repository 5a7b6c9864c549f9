//! `hawser doctor`: every fault that it looks for is made and named, and a machine that is in order
//! is left in peace.
//!
//! What it looks at of the system is under `--root` too, so most faults are made in files there.

mod agent;
mod credentials;
mod dns;
mod envoy;
mod frame;
mod gateways;
mod healthy;
mod istiod;
mod machine;
mod rules;
mod services;
mod stand_in;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::agent::hawser;
use serde_json::Value;
use tempfile::TempDir;

use crate::{HAWSER, rig::said};

/// A check, and the test that makes what it is there for.
pub(crate) type Fault = (&'static str, fn() -> Result<()>);

/// All of them.
fn faults() -> impl Iterator<Item = Fault> {
    let groups = [
        machine::FAULTS,
        credentials::FAULTS,
        istiod::FAULTS,
        services::FAULTS,
        agent::FAULTS,
        dns::FAULTS,
        rules::FAULTS,
        envoy::FAULTS,
        gateways::FAULTS,
    ];
    groups.into_iter().flatten().copied()
}

#[tokio::test]
async fn every_check_has_its_fault() -> Result<()> {
    let output = hawser(Path::new(HAWSER), &["doctor", "--list", "--json"], &[]).await?;
    let list: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    let rows = list["checks"].as_array().context("no checks")?;
    let checks: BTreeSet<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    let faults: BTreeSet<&str> = faults().map(|(check, _)| check).collect();

    assert_eq!(checks.difference(&faults).collect::<Vec<_>>(), Vec::<&&str>::new(), "no fault");
    assert_eq!(faults.difference(&checks).collect::<Vec<_>>(), Vec::<&&str>::new(), "no check");
    Ok(())
}

/// A machine without an agent: a directory with those files of a system that are looked at, as they
/// are where nothing is wrong.
pub(crate) struct Site {
    dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        let site = Self { dir: tempfile::tempdir()? };
        healthy(site.root())?;
        Ok(site)
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes a file.
    pub(crate) fn put(&self, path: &str, text: &str) -> Result<()> {
        put(self.root(), path, text)
    }

    /// Writes a program, as a script of the shell.
    pub(crate) fn program(&self, path: &str, script: &str) -> Result<()> {
        program(self.root(), path, script)
    }

    /// What one check says.
    pub(crate) async fn look(&self, check: &str) -> Result<Seen> {
        look(self.root(), check).await
    }
}

/// Lays the files of a system in order under a root.
pub(crate) fn healthy(root: &Path) -> Result<()> {
    machine::healthy(root)?;
    agent::healthy(root)?;
    dns::healthy(root)?;
    rules::healthy(root)?;
    envoy::healthy(root)
}

/// A process of a system, and the sockets that it has.
fn process(site: &Site, pid: u32, name: &str, sockets: &[u64]) -> Result<()> {
    site.put(&format!("proc/{pid}/comm"), &format!("{name}\n"))?;
    let files = site.file(&format!("proc/{pid}/fd"));
    fs::create_dir_all(&files)?;
    for (number, inode) in sockets.iter().enumerate() {
        let file = files.join((number + 3).to_string());
        std::os::unix::fs::symlink(format!("socket:[{inode}]"), file)?;
    }
    Ok(())
}

/// A table of the kernel's with sockets on loopback: port, state, inode.
fn sockets(all: &[(u16, &str, u64)]) -> String {
    let mut table = "  sl  local_address rem_address   st tx_queue rx_queue\n".to_owned();
    let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
    for (index, (port, state, inode)) in all.iter().enumerate() {
        table.push_str(&format!(
            "{index}: {loopback:08X}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 33 0 {inode} 1\n"
        ));
    }
    table
}

/// Writes a file of a system under its root.
pub(crate) fn put(root: &Path, path: &str, text: &str) -> Result<()> {
    written(root, path, 0o644, text)
}

fn written(root: &Path, path: &str, mode: u32, text: &str) -> Result<()> {
    let path = root.join(path.trim_start_matches('/'));
    let parent = path.parent().context("a path without a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    Ok(hawser_state::write_file(&path, mode, text.as_bytes())?)
}

/// Writes a program of a system under its root, as a script of the shell.
pub(crate) fn program(root: &Path, path: &str, script: &str) -> Result<()> {
    written(root, path, 0o755, &format!("#!/bin/sh\n{script}\n"))
}

/// What one check says of the machine under a root.
pub(crate) async fn look(root: &Path, check: &str) -> Result<Seen> {
    doctor(root, &["--only", check]).await?.seen(check)
}

/// `hawser doctor --json` on the machine under a root.
pub(crate) async fn doctor(root: &Path, args: &[&str]) -> Result<Report> {
    Report::of(&typed(root, &[&["--json"], args].concat()).await?)
}

/// `hawser doctor` on the machine under a root.
pub(crate) async fn typed(root: &Path, args: &[&str]) -> Result<Output> {
    let root = root.to_str().context("no UTF-8")?;
    let args = [&["--root", root, "doctor"], args].concat();
    hawser(Path::new(HAWSER), &args, &[]).await
}

/// A round as it was shown.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) exit: Option<i32>,
    pub(crate) json: Value,
}

impl Report {
    pub(crate) fn of(output: &Output) -> Result<Self> {
        let json = serde_json::from_slice(&output.stdout).with_context(|| said(output))?;
        Ok(Self { exit: output.status.code(), json })
    }

    /// All checks of it.
    pub(crate) fn all(&self) -> Result<Vec<Seen>> {
        let rows = self.json["checks"].as_array().context("no checks")?;
        Ok(rows.iter().cloned().map(Seen).collect())
    }

    /// One of them.
    pub(crate) fn seen(&self, check: &str) -> Result<Seen> {
        let found = self.all()?.into_iter().find(|seen| seen.0["name"] == check);
        found.with_context(|| format!("no {check} in {:#}", self.json))
    }
}

/// What a check has seen.
#[derive(Debug)]
pub(crate) struct Seen(pub(crate) Value);

impl Seen {
    /// It failed, and says why and what to do: each of the words stands in evidence or cause, and
    /// `remedy` in what to do.
    pub(crate) fn failed(&self, words: &[&str], remedy: &str) -> Result<()> {
        self.says("failed", words)?;
        let told = self.0["remedy"].as_str().unwrap_or_default();
        ensure!(told.contains(remedy), "{remedy:?} is not in what to do: {:#}", self.0);
        Ok(())
    }

    /// It warns, likewise.
    pub(crate) fn warns(&self, words: &[&str], remedy: &str) -> Result<()> {
        self.says("warning", words)?;
        let told = self.0["remedy"].as_str().unwrap_or_default();
        ensure!(told.contains(remedy), "{remedy:?} is not in what to do: {:#}", self.0);
        Ok(())
    }

    /// It came out like this, and says these words.
    pub(crate) fn says(&self, result: &str, words: &[&str]) -> Result<()> {
        ensure!(self.0["result"] == result, "expected {result}: {:#}", self.0);
        let part = |part: &str| self.0[part].as_str().unwrap_or_default().to_owned();
        let told = format!("{}\n{}", part("evidence"), part("cause"));
        for word in words {
            ensure!(told.contains(word), "{word:?} is not told: {:#}", self.0);
        }
        Ok(())
    }

    /// Nothing is wrong with it.
    pub(crate) fn ok(&self) -> Result<()> {
        self.says("ok", &[])
    }
}
