//! Certificates as files for other programs: where, whose, and what to run then.

use std::path::PathBuf;

use hawser_identity::Source;
use hawser_rt::Command;

use super::{Reader, accounts, parse, paths::Paths, problem::Problem};

/// The files, and whose they are.
#[derive(Debug, Clone)]
pub struct Export {
    /// The directory that they are in.
    pub directory: PathBuf,
    /// Their owner, if it is not the agent's user.
    pub owner: Option<u32>,
    /// Their group, if it is not the agent's.
    pub group: Option<u32>,
    /// The mode of the key.
    pub key_mode: u32,
    /// The mode of the certificates.
    pub mode: u32,
    /// What to run when there are new ones.
    pub command: Option<Command>,
}

impl Reader<'_> {
    /// None where no directory is said.
    pub(super) fn export(
        &mut self,
        paths: &Paths,
        source: Option<&Source>,
    ) -> Option<Option<Export>> {
        let directory = self.place("export.directory", paths, None);
        let owner = self.optional("export.owner", accounts::user);
        let group = self.optional("export.group", accounts::group);
        let key_mode = self.required("export.key_mode", parse::key_mode);
        let mode = self.required("export.mode", parse::mode);
        let command = self.optional("export.command", |text| text.parse().ok());

        let Some(directory) = directory? else { return Some(None) };
        if let Some(Source::Files(files)) = source
            && files.key.parent() == Some(&directory)
        {
            let expected = "the certificate is read from there; export to another directory";
            self.problems.push(Problem::with("export.directory", expected));
        }
        Some(Some(Export {
            directory,
            owner: owner?,
            group: group?,
            key_mode: key_mode?,
            mode: mode?,
            command: command?,
        }))
    }
}
