//! `hawser identity seal`: a key for the state file, which systemd hands to the agent and to
//! nobody else.

use std::{
    fs::DirBuilder,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    process::{Command, Stdio},
};

use clap::Args;
use hawser_identity::SealKey;

use super::super::{Context, Exit, complain, say};
use crate::config::identity::SEAL;

/// Have the certificate sealed at rest with systemd-creds
///
/// Makes a key that only this machine can open (with its TPM where it has one), and that systemd
/// gives to hawser.service alone. Needs root, systemd 250 or newer, and a restart of the agent.
#[derive(Debug, Args)]
pub(super) struct Seal {}

impl Seal {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Exit {
        let store = context.paths.at(STORE);
        let file = store.join(SEAL);
        if file.exists() {
            say(format_args!("{} is there already", file.display()));
            return Exit::Ok;
        }
        let sealed = SealKey::random()
            .map_err(|error| error.to_string())
            .and_then(|key| encrypted(key.bytes()).map_err(|error| error.to_string()))
            .and_then(|sealed| {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&store)
                    .map_err(|error| format!("make {}: {error}", store.display()))?;
                hawser_state::write_file(&file, 0o600, &sealed)
                    .map_err(|error| hawser_rt::Chain(&error).to_string())
            });
        match sealed {
            Ok(()) => {
                say(format_args!("made {}", file.display()));
                say("next: systemctl restart hawser");
                Exit::Ok
            }
            Err(error) => {
                complain(format_args!("hawser: {error}"));
                complain(
                    "hawser: nothing was changed; the certificate stays plain, for its owner alone",
                );
                Exit::Failed
            }
        }
    }
}

/// What systemd-creds makes of it. The key goes there through a pipe, never through an argument.
fn encrypted(key: &[u8]) -> io::Result<Vec<u8>> {
    let name = format!("--name={SEAL}");
    let mut child = Command::new("systemd-creds")
        .args(["encrypt", &name, "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("run systemd-creds: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(key)?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default().escape_debug().to_string();
    Err(io::Error::other(format!("systemd-creds ended with {}: {said}", output.status)))
}

/// Where systemd looks for credentials that a unit asks for by name.
const STORE: &str = "etc/credstore.encrypted";
