//! `hawser join`: a bundle is judged, tried against istiod, and only then put in its place.

use std::path::PathBuf;

use clap::Args;
use hawser_rt::{Chain, signal::Signals};

use super::{Context, Exit, complain, complain_of, say};
use crate::{
    bundle::Bundle,
    check::{self, Token},
    config::{
        Config,
        problem::{Problem, Problems},
        source,
    },
    install::Staged,
    options,
};

/// Join a mesh with the files that istioctl wrote
///
/// BUNDLE is what `istioctl x workload entry configure -o` wrote: cluster.env, mesh.yaml,
/// root-cert.pem, istio-token and hosts, as a directory or as a tar. Everything is checked, and
/// istiod is called, before anything on this machine changes.
#[derive(Debug, Args)]
pub(super) struct Join {
    /// The directory or tar
    bundle: PathBuf,
    /// Do not call istiod: for images that are built where it cannot be reached
    #[arg(long)]
    offline: bool,
}

impl Join {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let (staged, config) = match self.judged(context) {
            Ok(judged) => judged,
            Err(Refused::Problems(problems)) => {
                complain_of(&problems);
                complain("hawser: nothing was changed");
                return Exit::Failed;
            }
            Err(Refused::Install(error)) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                return Exit::Failed;
            }
        };
        if !self.offline
            && let Err(error) = reach(&config)
        {
            let staged = staged.dir().display().to_string();
            let error = error.replace(&staged, &self.bundle.display().to_string());
            complain(format_args!("hawser: {error}"));
            complain("hawser: nothing was changed; `--offline` joins without calling istiod");
            return Exit::Failed;
        }
        match staged.put_in_place() {
            Ok(previous) => {
                told(context, &config, previous.as_deref());
                Exit::Ok
            }
            Err(error) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                Exit::Failed
            }
        }
    }

    fn judged(&self, context: &Context) -> Result<(Staged, Config), Refused> {
        let bundle = Bundle::read(&self.bundle)?;
        let staged = Staged::write(&bundle, &context.paths).map_err(Refused::Install)?;
        let paths = context.paths.with_bundle(staged.dir());
        let sources = source::read(&paths, &context.environment, &context.flags);
        match check::all(&paths, &sources, Token::Needed) {
            Ok(config) => Ok((staged, config)),
            Err(problems) => Err(in_bundle(problems, &staged, &bundle).into()),
        }
    }
}

enum Refused {
    Problems(Problems),
    Install(crate::install::Error),
}

impl From<Problems> for Refused {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

/// The files were read where they are staged; people know them by where they came from.
fn in_bundle(problems: Problems, staged: &Staged, bundle: &Bundle) -> Problems {
    let here = staged.dir().display().to_string();
    let there = bundle.place().display().to_string();
    let rename = |text: &str| text.replace(&here, &there);
    let renamed = problems.0.into_iter().map(|problem| Problem {
        key: rename(&problem.key),
        expected: rename(&problem.expected),
        source: problem.source.map(|source| source.moved(staged.dir(), bundle.place())),
        ..problem
    });
    Problems(renamed.collect())
}

/// Whether istiod is there, and is who the roots say: for certificates and for configuration.
fn reach(config: &Config) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
    let said = |error: &dyn std::error::Error| Chain(error).to_string();
    let reached = runtime.block_on(async {
        let mut signals = Signals::install().map_err(|error| said(&error))?;
        let mut ways = vec![options::ca(config)];
        if config.ca != config.istiod {
            ways.push(options::xds(config));
        }
        let called = async {
            for way in ways {
                let istiod = check::unshown(way).map_err(|error| said(&error))?;
                istiod.connect().await.map_err(|error| said(&error))?;
            }
            Ok(())
        };
        // Cancel safe: what is dropped is a call that nobody waits for. The signal has to be heard
        // here, so that what is staged is taken away again.
        tokio::select! {
            reached = called => reached,
            signal = signals.stop() => Err(format!("stopped by {signal}")),
        }
    });
    runtime.shutdown_background();
    reached
}

fn told(context: &Context, config: &Config, previous: Option<&std::path::Path>) {
    say(format_args!("joined {} as {}", config.istiod, config.node.id));
    say(format_args!("installed in {}", context.paths.bundle().display()));
    if let Some(previous) = previous {
        say(format_args!("what was there before is in {}", previous.display()));
    }
    for unheeded in options::unheeded(config) {
        say(format_args!("note: {unheeded}"));
    }
    say(if context.paths.is_system() {
        "next: systemctl enable hawser && systemctl restart hawser".to_owned()
    } else {
        format!("next: hawser run --root {}", context.paths.root().display())
    });
}
