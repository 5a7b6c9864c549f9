//! The manual: what judges pages has nothing to say of them.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::HAWSER;

#[test]
fn what_judges_manual_pages_has_nothing_to_say() -> Result<()> {
    let place = tempfile::tempdir()?;
    let write = ["manual", "--date", "2001-02-03"];
    let written = Command::new(HAWSER).args(write).arg(place.path()).output()?;
    ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let mut pages = Vec::new();
    for entry in fs::read_dir(place.path())? {
        pages.push(entry?.path());
    }
    ensure!(pages.len() > 30, "only {} pages", pages.len());

    let judged = tool("mandoc")?.args(["-Tlint", "-Wwarning"]).args(&pages).output()?;
    let said = String::from_utf8_lossy(&judged.stdout);
    ensure!(judged.status.success() && said.is_empty(), "{said}");
    Ok(())
}

/// A program that `make tools` has unpacked, with its libraries, or that is installed.
pub(super) fn tool(name: &str) -> Result<Command> {
    let unpacked = Path::new(HAWSER).ancestors().nth(2).context("a directory")?.join("servers");
    let below = ["usr/bin", "bin"].map(|directory| unpacked.join(directory).join(name));
    let Some(program) = below.into_iter().find(|path| path.exists()) else {
        let here = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(name));
        let program = here.into_iter().find(|path| path.exists());
        return program
            .map(Command::new)
            .with_context(|| format!("no {name} here: `make tools` brings it, or install it"));
    };
    let mut libraries = Vec::new();
    for place in ["usr/lib", "lib"].map(|place| unpacked.join(place)) {
        libraries.push(place.clone());
        for entry in fs::read_dir(place).into_iter().flatten() {
            libraries.push(entry?.path());
        }
    }
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?);
    Ok(command)
}
