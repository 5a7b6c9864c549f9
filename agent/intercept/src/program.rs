//! One run of a program of the system: with an input, a time limit, and everything that it says.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// Where programs of the administrator are, whatever `PATH` says.
const PLACES: [&str; 4] = ["usr/sbin", "sbin", "usr/bin", "bin"];
/// A large table is a few megabytes of text.
const MOST: u64 = 64 * 1024 * 1024;
/// Of what a program complains.
const COMPLAINTS: u64 = 16 * 1024;
const LINE: usize = 300;

/// How a run went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) complaints: String,
}

/// A program by its name, below `root`.
pub(crate) fn find(root: &Path, name: &str) -> Option<PathBuf> {
    PLACES.iter().map(|place| root.join(place).join(name)).find(|path| path.is_file())
}

/// Runs `program` to its end. Dropped, or when its time is up, it is killed.
pub(crate) async fn run(
    program: &Path,
    arguments: &[&str],
    input: &str,
    limit: Duration,
) -> io::Result<Ran> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read to the end says why in its own words.
            drop(stdin.write_all(input.as_bytes()).await);
        }
    };
    let mut said = Vec::new();
    let mut complained = Vec::new();
    let hear = async {
        match stdout {
            Some(stdout) => stdout.take(MOST).read_to_end(&mut said).await,
            None => Ok(0),
        }
    };
    let listen = async {
        match stderr {
            Some(stderr) => stderr.take(COMPLAINTS).read_to_end(&mut complained).await,
            None => Ok(0),
        }
    };
    let whole = async { tokio::join!(feed, hear, listen) };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("not done after {limit:?}"));
    let ((), heard, listened) = timeout(limit, whole).await.map_err(late)?;
    heard.and(listened)?;
    let status = timeout(limit, child.wait()).await.map_err(late)??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { status, output: text(said), complaints: text(complained) })
}

impl Ran {
    /// The line in which the program says what is wrong, or how it has ended.
    pub(crate) fn complaint(&self) -> String {
        let lines = || self.complaints.lines().map(str::trim).filter(|line| !line.is_empty());
        let told = lines().find(|line| line.contains("rror:")).or_else(|| lines().next());
        let line = told.map_or_else(|| self.status.to_string(), str::to_owned);
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: &str = "/bin/sh";

    async fn shell(script: &str, input: &str) -> io::Result<Ran> {
        run(Path::new(SHELL), &["-c", script], input, Duration::from_secs(10)).await
    }

    #[tokio::test]
    async fn a_program_is_fed_heard_and_judged() {
        let ran = shell("cat; echo one >&2; echo 'x: Error: two' >&2; echo ^^^ >&2; exit 3", "in")
            .await
            .unwrap();

        assert_eq!((ran.status.code(), &*ran.output), (Some(3), "in"));
        assert_eq!(ran.complaint(), "x: Error: two");
        assert_eq!(shell("exit 2", "").await.unwrap().complaint(), "exit status: 2");
    }

    #[tokio::test]
    async fn one_that_reads_nothing_does_not_hold_us_up() {
        let large = "x".repeat(1 << 20);

        let ran = shell("echo done", &large).await.unwrap();

        assert!(ran.status.success());
        assert_eq!(ran.output, "done\n");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_end_is_killed() {
        let late = shell("exec sleep 3600", "").await.unwrap_err();

        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn programs_are_found_in_the_places_of_the_administrator() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("sbin")).unwrap();
        assert_eq!(find(root.path(), "nft"), None);
        std::fs::File::create(root.path().join("sbin/nft")).unwrap();
        assert_eq!(find(root.path(), "nft"), Some(root.path().join("sbin/nft")));
    }
}
