//! Shells complete commands, each as it is shipped.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::manual::tool;
use crate::HAWSER;

#[test]
fn bash_completes_commands_and_flags() -> Result<()> {
    let place = tempfile::tempdir()?;
    let script = script("bash", place.path())?;
    runs(Command::new("bash"), &["-n", &script])?;
    for (typed, expected) in [
        ("hawser sta", "status"),
        ("hawser status --wait-", "--wait-ready"),
        ("hawser identity re", "renew"),
        ("hawser intercept apply --con", "--confirm"),
    ] {
        let words: Vec<&str> = typed.split(' ').collect();
        let last = words.last().context("a word")?;
        let before = words.get(words.len() - 2).context("two words")?;
        // As bash does it for whoever presses the key.
        let press = format!(
            ". {script}; COMP_WORDS=({typed}); COMP_CWORD={}; COMP_LINE='{typed}'; \
             COMP_POINT={}; function=$(complete -p hawser | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
             $function hawser '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
            typed.len(),
        );
        let offered = runs(Command::new("bash"), &["--norc", "-c", &press])?;
        ensure!(offered.lines().any(|line| line == expected), "{typed}: {offered}");
    }
    Ok(())
}

#[test]
fn zsh_and_fish_understand_theirs() -> Result<()> {
    let place = tempfile::tempdir()?;
    runs(tool("zsh")?, &["-n", &script("zsh", place.path())?])?;
    runs(tool("fish")?, &["--no-execute", &script("fish", place.path())?])?;
    Ok(())
}

/// What the program says for a shell, in a file.
fn script(shell: &str, directory: &Path) -> Result<String> {
    let script = runs(Command::new(HAWSER), &["completions", shell])?;
    let file = directory.join(shell);
    hawser_state::write_file(&file, 0o644, script.as_bytes())?;
    ensure!(fs::metadata(&file)?.len() > 1000, "{shell}: {script}");
    Ok(file.display().to_string())
}

fn runs(mut program: Command, arguments: &[&str]) -> Result<String> {
    let output = program.args(arguments).output();
    let output = output.with_context(|| format!("run {program:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program:?}: {said}{error}");
    Ok(said)
}
