//! The programs that do it: `ip` and `resolvectl`.
//!
//! They are what an operator has at hand to see and to undo the same. Talking to the kernel and to
//! systemd-resolved ourselves would take two protocols and gain nothing: it happens a few times in
//! the life of a machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hawser_rt::{Command, command::Limits};

use crate::Error;

/// Where programs are.
const PLACES: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];
/// systemd-resolved may have to be started first.
const LIMITS: Limits = Limits { time: Duration::from_secs(30), output: 64 * 1024 };
/// The first that takes `address:port`.
const OLDEST: u32 = 246;

/// The programs, each where it was found.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    ip: PathBuf,
    resolvectl: PathBuf,
}

impl Tools {
    /// Looks for them below `root`.
    pub(crate) fn find(root: &Path) -> Result<Self, Error> {
        let find = |name, package| {
            let mut places = PLACES.iter().map(|place| root.join(place).join(name));
            places.find(|path| path.is_file()).ok_or(Error::NoProgram { name, package })
        };
        Ok(Self {
            resolvectl: find("resolvectl", "systemd-resolved")?,
            ip: find("ip", "iproute2")?,
        })
    }

    /// An error if systemd is too old.
    pub(crate) async fn recent(&self) -> Result<(), Error> {
        let said = run(&self.resolvectl, &["--version"]).await;
        let said = said.map_err(|source| Error::Version { source })?;
        match version(&said) {
            Some(found) if found < OLDEST => Err(Error::TooOld { found }),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) async fn ip(&self, arguments: &[&str]) -> Result<String, hawser_rt::Error> {
        run(&self.ip, arguments).await
    }

    pub(crate) async fn resolvectl(&self, arguments: &[&str]) -> Result<String, hawser_rt::Error> {
        run(&self.resolvectl, arguments).await
    }
}

async fn run(program: &Path, arguments: &[&str]) -> Result<String, hawser_rt::Error> {
    let arguments = arguments.iter().copied().map(str::to_owned).collect();
    let printed =
        Command::new(program.to_owned(), arguments)?.run(&[("LC_ALL", "C")], LIMITS).await;
    Ok(String::from_utf8_lossy(&printed?).into_owned())
}

/// `systemd 252 (252.39-1~deb12u2)`.
fn version(said: &str) -> Option<u32> {
    let number = said.split_ascii_whitespace().nth(1)?;
    let digits = number.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(number.len());
    number.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_version_is_the_number_behind_the_name() {
        assert_eq!(version("systemd 252 (252.39-1~deb12u2)\n+PAM +AUDIT\n"), Some(252));
        assert_eq!(version("systemd 257~rc1 (x)\n"), Some(257));
        assert_eq!(version("systemd v250\n"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_its_package() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("bin")).unwrap();
        let said = Tools::find(root.path()).unwrap_err();
        assert!(said.is_final());
        assert!(said.to_string().contains("install the package systemd-resolved"), "{said}");
        fs::File::create(root.path().join("bin/resolvectl")).unwrap();
        let said = Tools::find(root.path()).unwrap_err().to_string();
        assert!(said.contains("install the package iproute2"), "{said}");
    }
}
