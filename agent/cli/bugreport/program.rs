//! What other programs say, within bounds: of more than enough, the beginning.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};

use super::piece::Raw;
use crate::config::paths::Paths;

/// What a program prints; or why it prints nothing.
pub(super) async fn said(paths: &Paths, name: &str, arguments: &[&str]) -> Result<Raw, String> {
    let Some(program) = find(paths, name) else { return Err(format!("{name} is not here")) };
    run(&program, arguments, PATIENCE).await.map_err(|reason| format!("{name}: {reason}"))
}

/// The same of a program that is known by its path.
pub(super) async fn run(
    program: &Path,
    arguments: &[&str],
    patience: Duration,
) -> Result<Raw, String> {
    let mut child = Command::new(program)
        .args(arguments)
        // Whoever types the command may have things in there that are nobody's business.
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let done = async {
        let (out, err) = tokio::join!(read(out, MOST), read(err, MOST_COMPLAINT));
        if out.cut {
            drop(child.start_kill());
        }
        (out, err, child.wait().await)
    };
    let Ok((out, complaint, ended)) = timeout(patience, done).await else {
        return Err(format!("took longer than {} s", patience.as_secs()));
    };
    if !out.bytes.is_empty() {
        return Ok(out);
    }
    let complaint = String::from_utf8_lossy(&complaint.bytes);
    // Some show below what is wrong where it stands, others say first what they are about to do.
    let wrong = complaint.lines().find(|line| line.contains("rror"));
    let last = complaint.lines().rfind(|line| line.contains(char::is_alphanumeric));
    match (wrong.or(last), ended) {
        (Some(line), _) => Err(hawser_redact::text(line.trim())),
        (None, Ok(status)) if status.success() => Ok(Raw::whole("(nothing)\n")),
        (None, Ok(status)) => Err(format!("ended with {status}")),
        (None, Err(error)) => Err(error.to_string()),
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> Raw {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read before something went wrong is better than nothing.
        drop(from.take(most + 1).read_to_end(&mut bytes).await);
    }
    let cut = bytes.len() as u64 > most;
    if cut {
        bytes.pop();
    }
    Raw { bytes, cut }
}

/// Where a program is: in the tree that the command is about, else on this machine.
fn find(paths: &Paths, name: &str) -> Option<PathBuf> {
    let own = (!paths.is_system()).then(|| paths.at("usr/bin").join(name));
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|dir| Path::new(dir).join(name));
    own.into_iter().chain(system).find(|path| path.exists())
}

const PATIENCE: Duration = Duration::from_secs(15);
const MOST: u64 = 8 << 20;
const MOST_COMPLAINT: u64 = 16 << 10;
