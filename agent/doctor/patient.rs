//! The machine that is looked at: what was set on it, what its agent says, its files and programs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hawser_rt::{
    Chain,
    command::{Command, Limits},
};
use tokio::sync::OnceCell;

use super::{Finding, istiod, services};
use crate::{
    bundle::Bundle,
    config::{
        Config,
        paths::{self, Paths},
        problem::Problems,
        source::{self, Environment, Flag, Sources},
    },
    status::Snapshot,
};

/// The machine that is looked at.
#[derive(Debug)]
pub(crate) struct Patient {
    /// Where our files are.
    pub(crate) paths: Paths,
    /// Where the system's files are: `/`, or the root that was said.
    pub(crate) root: PathBuf,
    /// What was set, and where.
    pub(crate) sources: Sources,
    /// What that amounts to, or what is wrong with it.
    pub(crate) config: Result<Config, Problems>,
    /// What the running agent says.
    pub(crate) snapshot: Option<Snapshot>,
    /// Why it says nothing, if it does not.
    pub(crate) silence: Option<io::Error>,
    /// Whether everything may be seen.
    pub(crate) is_root: bool,
    /// Whether it is looked at before it joins.
    pub(crate) preflight: bool,
    /// Where the files of a bundle are while they are looked at, and what to call that.
    pub(crate) called: Option<(PathBuf, PathBuf)>,
    /// When.
    pub(crate) now: SystemTime,
    /// What is at istiod's addresses, once somebody has looked.
    pub(super) istiod: OnceCell<Result<istiod::Seen, String>>,
    /// What is behind the gateways of the file of services, once somebody has called them.
    pub(super) services: OnceCell<Result<services::Seen, Finding>>,
}

impl Patient {
    /// As it is now. `said` is what the agent says.
    pub(crate) fn seen(
        paths: Paths,
        environment: &Environment,
        flags: &[Flag],
        said: io::Result<Snapshot>,
    ) -> Self {
        let sources = source::read(&paths, environment, flags);
        let (snapshot, silence) = match said {
            Ok(snapshot) => (Some(snapshot), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            config: Config::load(&paths, &sources),
            root: paths.root().to_owned(),
            paths,
            sources,
            snapshot,
            silence,
            is_root: nix::unistd::geteuid().is_root(),
            preflight: false,
            called: None,
            now: SystemTime::now(),
            istiod: OnceCell::new(),
            services: OnceCell::new(),
        }
    }

    /// A machine of which nothing is known but its root.
    #[cfg(test)]
    pub(crate) fn bare(root: &Path) -> Self {
        let said = Err(io::ErrorKind::NotFound.into());
        Self::seen(Paths::under(root), &Environment::default(), &[], said)
    }

    /// Whether it is without istiod, and its services are all in a file.
    pub(crate) fn is_alone(&self) -> bool {
        self.config.as_ref().is_ok_and(Config::is_alone)
    }

    /// Whether it is one of a mesh: it has joined, or has a file of services.
    pub(crate) fn is_of_a_mesh(&self) -> bool {
        self.sources.joined || self.is_alone()
    }

    /// What was joined with, or is to be, as far as it is in one directory.
    pub(crate) fn bundle(&self) -> Option<Bundle> {
        Bundle::installed(self.paths.bundle_file(paths::CLUSTER_ENV).parent()?)
    }

    /// A file of the system, under its root.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(Path::new(path).strip_prefix("/").unwrap_or(Path::new(path)))
    }

    /// What is in a file of the system: text of no great length.
    pub(crate) fn text(&self, path: &str) -> io::Result<String> {
        let mut text = Vec::new();
        File::open(self.file(path))?.take(MAX_FILE).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// What a program of the system prints, or why it does not, in a few words. It is looked for
    /// where programs are, under the root of the system.
    pub(crate) async fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut places = PROGRAMS.iter().map(|place| self.file(place).join(program));
        let Some(path) = places.find(|path| path.exists()) else {
            return Err(format!("there is no {program} on this machine"));
        };
        let path = std::path::absolute(&path).unwrap_or(path);
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        let printed = match Command::new(path, arguments) {
            Ok(command) => command.run(&[("LC_ALL", "C")], LIMITS).await,
            Err(error) => Err(error),
        };
        let printed = printed.map_err(|error| Chain(&error).to_string())?;
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }

    /// What was seen, in names that mean something to whoever asked.
    pub(crate) fn told(&self, finding: Finding) -> Finding {
        let Some((at, called)) = &self.called else { return finding };
        let (at, called) = (at.display().to_string(), called.display().to_string());
        let told = |text: String| text.replace(&at, &called);
        Finding {
            result: finding.result,
            evidence: told(finding.evidence),
            cause: finding.cause.map(told),
            remedy: finding.remedy.map(told),
        }
    }

    /// What to say of something that could not be seen: that root sees it, if root does.
    pub(crate) fn unseen(&self, what: &str, error: &io::Error) -> String {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        if denied && !self.is_root {
            return format!("run as root to see {what}");
        }
        format!("{what} cannot be seen: {error}")
    }
}

const PROGRAMS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const LIMITS: Limits = Limits { time: Duration::from_secs(5), output: 4 * 1024 * 1024 };
const MAX_FILE: u64 = 4 * 1024 * 1024;
