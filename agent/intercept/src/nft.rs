//! The program that loads, shows and removes our table: `nft`, each time in one transaction.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::gates::{self, Gates, Open};
use crate::plan::{Gate, TABLE};
use crate::program::{self, Ran};

/// Tens of thousands of networks are loaded in a fraction of it.
const LIMIT: Duration = Duration::from_secs(30);

/// The program, where it was found.
#[derive(Clone, Debug)]
pub struct Nft {
    program: PathBuf,
}

impl Nft {
    /// Looks for it below `root`.
    pub fn find(root: &Path) -> Result<Self, Error> {
        match program::find(root, "nft") {
            Some(program) => Ok(Self { program }),
            None if program::find(root, "iptables").is_some() => Err(Error::OnlyIptables),
            None => Err(Error::NoNft),
        }
    }

    /// Carries out commands, all of them or none.
    pub(crate) async fn load(&self, what: &'static str, commands: &str) -> Result<(), Error> {
        self.run(what, &["-f", "-"], commands).await.map(drop)
    }

    /// Says whether it would take the commands, and changes nothing.
    pub async fn check(&self, commands: &str) -> Result<(), Error> {
        self.run("check the rules", &["-c", "-f", "-"], commands).await.map(drop)
    }

    /// Our table as it is loaded, with counters; none, if it is not.
    pub async fn table(&self) -> Result<Option<String>, Error> {
        self.table_named(TABLE).await
    }

    /// A table of family `inet`.
    pub(crate) async fn table_named(&self, table: &str) -> Result<Option<String>, Error> {
        let list = ["list", "table", "inet", table];
        match self.run("show the rules", &list, "").await {
            Ok(listing) => Ok(Some(listing)),
            Err(Error::Refused { complaint, .. }) if complaint.contains(NO_SUCH) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts gates as they are to be.
    pub(crate) async fn gates(&self, gates: &Gates<Open>, which: &[Gate]) -> Result<(), Error> {
        self.load("open or shut the gates", &gates::commands(gates, false, which)).await
    }

    /// Removes a table of family `inet`, whether it is there or not.
    pub(crate) async fn remove(&self, table: &str) -> Result<(), Error> {
        // Older programs know no `destroy`.
        let commands = format!("add table inet {table}\ndelete table inet {table}\n");
        self.load("remove the rules", &commands).await
    }

    async fn run(
        &self,
        what: &'static str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, Error> {
        let ran = program::run(&self.program, arguments, input, LIMIT).await;
        let ran = ran.map_err(|source| match source.kind() {
            ErrorKind::NotFound => Error::NoNft,
            _ => Error::Run { program: self.program.clone(), what, source },
        })?;
        self.judged(what, ran)
    }

    fn judged(&self, what: &'static str, ran: Ran) -> Result<String, Error> {
        if ran.status.success() {
            return Ok(ran.output);
        }
        let complaint = ran.complaint();
        let program = self.program.clone();
        if complaint.contains("Operation not permitted") || complaint.contains("must be root") {
            return Err(Error::NotAllowed { program, what });
        }
        Err(Error::Refused { program, what, complaint })
    }
}

const NO_SUCH: &str = "No such file or directory";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_machine_without_nft_is_told_of_the_package() {
        let root = tempfile::tempdir().unwrap();
        let said = Nft::find(root.path()).unwrap_err();
        assert!(said.is_final());
        assert!(said.to_string().contains("install the package nftables"), "{said}");

        fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        fs::File::create(root.path().join("usr/sbin/iptables")).unwrap();
        let said = Nft::find(root.path()).unwrap_err().to_string();
        assert!(said.contains("only iptables") && said.contains("package nftables"), "{said}");
    }

    #[test]
    fn what_nft_complains_of_is_what_is_said() {
        let nft = Nft { program: "/usr/sbin/nft".into() };
        let cases = [
            ("netlink: Error: cache initialization failed: Operation not permitted\n", "as root"),
            ("/dev/stdin:1:1-3: Error: syntax error, unexpected x\nx\n^\n", "unexpected x"),
        ];
        for (complaints, expected) in cases {
            let ran = Ran {
                status: ExitStatus::from_raw(256),
                output: String::new(),
                complaints: complaints.to_owned(),
            };
            let said = nft.judged("load the rules", ran).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
