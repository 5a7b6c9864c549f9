//! What only an Envoy can judge, shown to the Envoy of this machine. It starts nothing, and calls nobody.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hawser_envoy::{choose::validate, find};
use hawser_services::{Services, make::Trial};

use super::super::Context;
use crate::config::{problem::Problem, setting, source};

/// What became of it.
pub(super) enum Tried {
    /// There is nothing that others cannot judge too.
    Nothing,
    /// It was not asked, for this reason.
    Unasked(String),
    /// It takes all of them.
    Taken,
    /// It does not take these.
    Refused(Vec<Problem>),
}

/// Asks an Envoy about each filter and each transcoding by itself.
pub(super) fn tried(services: &Services, context: &Context) -> Tried {
    let trials = services.trials();
    if trials.is_empty() {
        return Tried::Nothing;
    }
    let asked =
        envoy(context).and_then(|envoy| ask(&envoy, &trials).map_err(|error| error.to_string()));
    match asked {
        Err(reason) => Tried::Unasked(reason),
        Ok(refused) if refused.is_empty() => Tried::Taken,
        Ok(refused) => Tried::Refused(refused),
    }
}

fn envoy(context: &Context) -> Result<PathBuf, String> {
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    let named = setting::find("envoy.binary").map(|known| sources.values.setting(known).value);
    let named = named.filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = context.environment.get("HOME").map(PathBuf::from);
    let found = find::find(context.paths.root(), named.as_deref(), home.as_deref());
    found.map_err(|error| error.to_string())
}

fn ask(envoy: &Path, trials: &[Trial]) -> io::Result<Vec<Problem>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = Place::make()?;
    // Envoy knows by the ending what it is given.
    let path = place.0.join("trial.pb");
    let shown = path.display().to_string();
    let arguments = ["-c", &shown, "-l", "critical", "--log-format", "%v", "--use-dynamic-base-id"];
    let arguments = arguments.map(str::to_owned);
    let mut refused = Vec::new();
    for trial in trials {
        let written = hawser_state::write_file(&path, 0o600, &trial.bootstrap);
        written.map_err(io::Error::other)?;
        let asked = validate(envoy, &arguments);
        if let Err(said) = runtime.block_on(asked) {
            let Trial { place, what, .. } = trial;
            let expected = "expected what this machine's Envoy takes";
            let found = format!("found {}: {expected}", reason(&said));
            refused.push(Problem::with(format!("{place}: {what}"), found));
        }
    }
    Ok(refused)
}

/// What Envoy has said, without the file that it was asked about.
fn reason(said: &str) -> &str {
    let said = said.split_once("trial.pb': ").map_or(said, |(_, reason)| reason);
    said.trim_start_matches([':', ' '])
}

/// A directory of this command's own, which goes with it.
struct Place(PathBuf);

impl Place {
    fn make() -> io::Result<Self> {
        Ok(Self(nix::unistd::mkdtemp(&std::env::temp_dir().join("hawser.XXXXXX"))?))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // There is nothing else to be done about what is left in a temporary directory.
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn what_envoy_says_is_told_without_what_it_was_given() {
        for (said, told) in [
            ("error initializing configuration '/tmp/a/trial.pb': no such field", "no such field"),
            (": Proto constraint validation failed (x)", "Proto constraint validation failed (x)"),
            ("envoy --mode validate: exit status: 1", "envoy --mode validate: exit status: 1"),
        ] {
            assert_eq!(reason(said), told);
        }
    }
}
