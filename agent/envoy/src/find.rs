//! The Envoy of this machine: where it is, and what it says of itself.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::unistd::{AccessFlags, access};
use tokio::{process::Command, time::timeout};

use crate::{Error, supervise::unstartable};

/// What an Envoy says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// As in `1.40.0`.
    pub number: String,
    /// How it was built, as in `Clean/RELEASE/BoringSSL`.
    pub build: String,
}

/// The Envoy to start: the one that was named, else the first that is found.
///
/// `root` is where the system is; `home` is of whoever runs this: func-e keeps what it fetches below
/// it.
pub fn find(root: &Path, named: Option<&Path>, home: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = named {
        return match (path.is_file(), runs(path)) {
            (true, true) => Ok(path.to_owned()),
            (true, false) => Err(Error::NotExecutable { path: path.to_owned() }),
            (false, _) => Err(Error::Missing { path: path.to_owned() }),
        };
    }
    let usual = USUAL.iter().map(|place| root.join(place));
    let mut all = usual.chain(home.into_iter().flat_map(fetched));
    all.find(|path| path.is_file() && runs(path)).ok_or(Error::NoEnvoy)
}

/// What it says of itself; an error if it is no Envoy.
pub async fn version(binary: &Path) -> Result<Version, Error> {
    let mut command = Command::new(binary);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let foreign = || Error::NotEnvoy { path: binary.to_owned() };
    // Late, or killed: that may be the machine's trouble, and is tried again.
    let failed = |source| unstartable(binary.to_owned(), source);
    let output = timeout(LIMIT, command.output()).await;
    let output = output.map_err(|_late| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
    if output.status.code().is_none() {
        return Err(failed(io::Error::other(format!("--version: {}", output.status))));
    }
    parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(foreign)
}

/// `PATH  version: COMMIT/NUMBER/Clean/RELEASE/BoringSSL`.
fn parse(text: &str) -> Option<Version> {
    let (_, said) = text.lines().find_map(|line| line.split_once("version: "))?;
    let mut parts = said.trim().splitn(3, '/').skip(1);
    let number = parts.next().filter(|number| number.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(Version { number: number.to_owned(), build: parts.next().unwrap_or_default().to_owned() })
}

fn runs(path: &Path) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}

/// What func-e has fetched, the newest first.
fn fetched(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in FUNC_E {
        let versions = std::fs::read_dir(home.join(place)).into_iter().flatten();
        found.extend(versions.filter_map(Result::ok).map(|version| version.path()));
    }
    found.sort_by_key(|version| std::cmp::Reverse(order(version)));
    found.into_iter().map(|version| version.join("bin/envoy")).collect()
}

fn order(version: &Path) -> Vec<u32> {
    let name = version.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, build } = self;
        if build.is_empty() { f.write_str(number) } else { write!(f, "{number} ({build})") }
    }
}

/// Istio's package, what our package has kept of it, then a distribution's.
const USUAL: [&str; 3] = ["usr/local/bin/envoy", "usr/libexec/hawser/envoy", "usr/bin/envoy"];
/// Below the home of whoever has called it; the older place first.
const FUNC_E: [&str; 2] = [".func-e/versions", ".local/share/func-e/envoy-versions"];
const LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[test]
    fn a_version_is_read_and_other_programs_have_none() {
        let envoy = "\n/usr/bin/envoy  version: 9e5580/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        let version = parse(envoy).unwrap();
        assert_eq!(version.to_string(), "1.40.0 (Clean/RELEASE/BoringSSL)");
        assert_eq!(parse("envoy  version: 9e5580/1.30.0-dev").unwrap().to_string(), "1.30.0-dev");
        for other in ["", "ls (GNU coreutils) 9.1", "nginx version: nginx/x1.22.1"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_one_that_was_named_is_taken_and_else_the_newest_of_func_e() {
        let home = tempfile::tempdir().unwrap();
        let put = |path: &str, mode| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = std::fs::OpenOptions::new();
            file.write(true).create(true).mode(mode).open(&path).unwrap();
            path
        };
        put(".func-e/versions/1.9.0/bin/envoy", 0o755);
        let newest = put(".local/share/func-e/envoy-versions/1.40.1/bin/envoy", 0o755);
        put(".func-e/versions/1.40.0/bin/envoy", 0o755);
        let plain = put("plain", 0o644);

        assert_eq!(fetched(home.path()).first(), Some(&newest));
        let find = |named| find(Path::new("/"), named, None);
        assert_eq!(find(Some(newest.as_path())).unwrap(), newest);
        assert!(find(Some(&plain)).unwrap_err().to_string().contains("chmod +x"));
        assert!(matches!(find(Some(&home.path().join("no"))), Err(Error::Missing { .. })));
    }
}
