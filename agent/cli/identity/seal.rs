//! `hawser identity seal`: a key for the state file, which systemd hands to the agent and to
//! nobody else.

use std::{
    fs::DirBuilder,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    process::{Command, Stdio},
};

use clap::Args;
use hawser_identity::SealKey;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use super::super::{Context, Exit, complain, say};
use crate::config::identity::SEAL;

/// Have the certificate sealed at rest with systemd-creds
///
/// Makes a key that only this machine can open (with its TPM where it has one), and that systemd
/// gives to hawser.service alone. Needs root, systemd 252 or newer, and a restart of the agent.
/// Where there is one already, says whether it still opens.
#[derive(Debug, Args)]
pub(super) struct Seal {}

impl Seal {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Exit {
        let store = context.paths.at(STORE);
        let file = store.join(SEAL);
        if file.exists() {
            return look(&file);
        }
        match make(&store, &file) {
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

/// One that opens is left alone; the service does not start with one that does not.
fn look(file: &Path) -> Exit {
    match opened(file) {
        Ok(_) => {
            say(format_args!("{} is there already, and opens", file.display()));
            Exit::Ok
        }
        Err(error) => {
            let file = file.display();
            complain(format_args!("hawser: {file} does not open on this machine: {error}"));
            complain(format_args!(
                "hawser: have back what it was made with, or give up what is sealed with it: \
                 remove {file}, `hawser join` a bundle with a fresh token, \
                 `systemctl restart hawser`"
            ));
            Exit::Failed
        }
    }
}

/// Nothing is left behind that would not open.
fn make(store: &Path, file: &Path) -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("this needs root: `sudo hawser identity seal`".to_owned());
    }
    let key = SealKey::random().map_err(|error| error.to_string())?;
    let sealed = recent().and_then(|()| encrypted(key.bytes()));
    let sealed = sealed.map_err(|error| error.to_string())?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(store)
        .map_err(|error| format!("make {}: {error}", store.display()))?;
    hawser_state::write_file(file, 0o600, &sealed)
        .map_err(|error| hawser_rt::Chain(&error).to_string())?;
    opened(file).map(drop).map_err(|error| {
        drop(std::fs::remove_file(file));
        format!("what was sealed does not open again: {error}")
    })
}

/// An older systemd seals, but never looks where units find it.
fn recent() -> io::Result<()> {
    let output = output(Command::new("systemctl").arg("--version"), b"")?;
    let text = String::from_utf8_lossy(&output);
    let digits = |word: &str| word.chars().take_while(char::is_ascii_digit).collect::<String>();
    let version = text.split_whitespace().nth(1).map(digits);
    match version.and_then(|version| version.parse::<u32>().ok()) {
        Some(version) if version < SYSTEMD => Err(io::Error::other(format!(
            "this needs systemd {SYSTEMD} or newer, and here is {version}"
        ))),
        _ => Ok(()),
    }
}

/// What systemd-creds makes of it. The key goes there through a pipe, never through an argument.
///
/// Where there is a TPM, it is bound to that and to no state of it: by default one update of the
/// list of revoked boot loaders would make the seal one that does not open any more.
fn encrypted(key: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let name = format!("--name={SEAL}");
    output(Command::new("systemd-creds").args(["encrypt", "--tpm2-pcrs=", &name, "-", "-"]), key)
}

/// The key, as systemd will find it.
fn opened(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let name = format!("--name={SEAL}");
    output(Command::new("systemd-creds").args(["decrypt", &name]).arg(file).arg("-"), b"")
}

/// What a program of systemd prints; an error unless it succeeds and prints something.
fn output(command: &mut Command, input: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("run {program}: {error}")))?;
    if let Some(mut stdin) = child.stdin.take().filter(|_| !input.is_empty()) {
        stdin.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    let printed = Zeroizing::new(output.stdout);
    if output.status.success() && !printed.is_empty() {
        return Ok(printed);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default().escape_debug().to_string();
    Err(io::Error::other(format!("{program} ended with {}: {said}", output.status)))
}

/// The first whose units find credentials in the store by name.
const SYSTEMD: u32 = 252;
/// Where systemd looks for credentials that a unit asks for by name.
const STORE: &str = "etc/credstore.encrypted";
