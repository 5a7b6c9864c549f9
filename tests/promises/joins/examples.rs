//! The examples that are shipped say what the program understands.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::HAWSER;

#[test]
fn user_data_is_yaml_with_commands_in_it() -> Result<()> {
    let mut found = 0;
    for (path, text) in examples()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("cloud-init-") {
            continue;
        }
        ensure!(text.starts_with("#cloud-config\n"), "{}", path.display());
        let data: Value =
            serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        let commands = data["runcmd"].as_array().context("no runcmd")?;
        for command in commands {
            let words = command.as_array().context("a command is a list of words")?;
            ensure!(words.iter().all(Value::is_string), "{}: {command}", path.display());
        }
        ensure!(
            data["packages"].as_array().is_some_and(|packages| packages.contains(&"hawser".into()))
        );
        found += 1;
    }
    assert_eq!(found, 2);
    Ok(())
}

#[tokio::test]
async fn every_command_and_flag_of_an_example_is_one_of_the_program() -> Result<()> {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut checked = 0;
    for (path, text) in examples()? {
        for words in commands(&text) {
            let command = words.first().context("a command")?.clone();
            if !helps.contains_key(&command) {
                let output = Command::new(HAWSER).args([&command, "--help"]).output().await?;
                ensure!(output.status.success(), "{}: hawser {command}", path.display());
                let help = String::from_utf8_lossy(&output.stdout).into_owned();
                helps.insert(command.clone(), help);
            }
            let help = &helps[&command];
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                ensure!(
                    help.contains(flag.as_str()),
                    "{}: hawser {command} {flag}",
                    path.display()
                );
                checked += 1;
            }
        }
    }
    ensure!(checked > 5, "only {checked} flags were found");
    Ok(())
}

/// What follows `hawser` where that is a word, to the end of the command: in a line of a script, of
/// a unit, of a text between backquotes, or in a list of YAML.
fn commands(text: &str) -> Vec<Vec<String>> {
    // Lists over several lines are one command.
    let flat = text.replace("\n    - ", " ").replace("- - ", "");
    let mut commands = Vec::new();
    for line in flat.lines() {
        let mut words = line
            .split(|c: char| c.is_whitespace() || "[],\"".contains(c))
            .filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if !word.trim_start_matches(['`', '\\']).ends_with("hawser") || word.contains(':') {
                continue;
            }
            let rest: Vec<&str> = words.by_ref().collect();
            let mut command = Vec::new();
            for word in rest {
                command.push(word.trim_end_matches(['`', ';', '\\', '.']).to_owned());
                if word.contains('`') || word.ends_with(';') {
                    break;
                }
            }
            let known = ["join", "leave", "check", "status"];
            if command.first().is_some_and(|first| known.contains(&first.as_str())) {
                commands.push(command);
            }
        }
    }
    commands
}

fn examples() -> Result<Vec<(PathBuf, String)>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging/examples");
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        all.push((path, text));
    }
    Ok(all)
}
