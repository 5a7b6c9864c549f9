//! `hawser join`: a bundle is judged, tried against istiod, put in its place, and started with.

mod plan;
mod reach;
mod rules;
mod start;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use hawser_audit::JOINED;
use hawser_istiod::token::{self, Span};
use hawser_pki::Bundle as Roots;
use hawser_rt::Chain;

use super::{Context, Exit, complain, complain_of, say, status::wait};
use crate::{
    bundle::{self, Brought, Bundle, Origin},
    check::{self, Token},
    config::{
        Config, paths,
        problem::{Problem, Problems},
        source,
    },
    install::{Staged, service::Service},
    log::note,
    options,
};

/// Join a mesh with the files that istioctl wrote, and start
///
/// BUNDLE is what `istioctl x workload entry configure -o` wrote: cluster.env, mesh.yaml,
/// root-cert.pem, istio-token and hosts. In place of token and mesh.yaml there may be a pair,
/// key.pem and cert-chain.pem. Everything is checked, and istiod is called, before anything on
/// this machine changes. Joining again with the same bundle changes nothing.
#[derive(Debug, Args)]
pub(super) struct Join {
    /// A directory, a tar, - for a tar on standard input, or https addresses of a tar, the first
    /// that gives one
    #[arg(required_unless_present = "credential")]
    bundle: Vec<String>,
    /// Take the tar from a credential of systemd, of the unit or of the machine
    #[arg(long, value_name = "NAME", conflicts_with = "bundle")]
    credential: Option<String>,
    /// The roots that an https address is checked by, instead of the system's
    #[arg(long, value_name = "FILE", requires = "bundle")]
    ca: Option<PathBuf>,
    /// Show what would be done, and do none of it
    #[arg(long)]
    plan: bool,
    /// Go on where this machine is somebody else already, or in another mesh
    #[arg(long)]
    replace: bool,
    /// Start nothing now, but at the next boot: for images, and for cloud-init
    #[arg(long)]
    no_start: bool,
    /// Do not call istiod either: for images that are built where it cannot be reached
    #[arg(long)]
    offline: bool,
    /// How long to wait until the agent is ready
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = wait::patience)]
    wait: Duration,
}

/// A bundle that is good, and what it amounts to.
struct Judged {
    staged: Staged,
    config: Config,
    /// What is there now, if this machine has joined.
    before: Option<Before>,
    notes: Vec<String>,
}

/// What this machine has joined with.
struct Before {
    bundle: Bundle,
    /// None where it is not usable any more.
    config: Option<Config>,
}

impl Join {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let origin = match Origin::of(&self.bundle, self.credential.as_deref()) {
            Ok(origin) => origin,
            Err(wrong) => {
                complain(format_args!("hawser: {wrong}"));
                return Exit::Usage;
            }
        };
        let ca = self.ca.as_deref();
        let brought = match origin.bring(&context.paths, &context.environment, ca) {
            Ok(brought) => brought,
            Err(problems) => return Refused::Problems(problems).told(),
        };
        for problem in &brought.passed_over {
            complain(format_args!("hawser: note: {problem}"));
        }
        let installed = Bundle::installed(&context.paths.bundle());
        let same = installed.as_ref().is_some_and(|installed| installed.is(&brought.bundle));
        let identity = context.paths.state().join(hawser_identity::FILE).exists();
        if same && identity {
            return self.nothing_new(context);
        }
        let judged = match self.judged(context, &brought, installed) {
            Ok(judged) => judged,
            Err(refused) => return refused.told(),
        };
        if !self.offline
            && let Err(error) = reach::istiod(&judged.config, &brought.bundle)
        {
            let staged = judged.staged.dir().display().to_string();
            let error = error.replace(&staged, &brought.bundle.place().display().to_string());
            complain(format_args!("hawser: {error}"));
            complain("hawser: nothing was changed; `--offline` joins without calling istiod");
            return Exit::Failed;
        }
        if self.plan {
            self.show(context, &brought.bundle, &judged);
            return Exit::Ok;
        }
        if same {
            say("what was joined is the same already");
            return self.start(context, &judged.config, false);
        }
        self.install(context, &brought.bundle, judged)
    }

    /// Everything that can be known without asking anybody.
    fn judged(
        &self,
        context: &Context,
        brought: &Brought,
        installed: Option<Bundle>,
    ) -> Result<Judged, Refused> {
        let (bundle, now) = (&brought.bundle, SystemTime::now());
        if let Some(problem) = bundle::out_of_time(bundle, brought.date.as_ref(), now) {
            return Err(Problems(vec![problem]).into());
        }
        let write = if self.plan { Staged::aside } else { Staged::write };
        let staged = write(bundle, &context.paths).map_err(Refused::Install)?;
        let paths = context.paths.with_bundle(staged.dir());
        let sources = source::read(&paths, &context.environment, &context.flags);
        let pair_alone = bundle.has_pair() && bundle.text(paths::TOKEN).is_none();
        let token = if pair_alone { Token::NotNeeded } else { Token::Needed };
        let config = check::all(&paths, &sources, token);
        let config = config.map_err(|problems| in_bundle(problems, &staged, bundle))?;
        Problems::check(bundle::judge(bundle, staged.dir(), &config, now))?;
        let before = installed.map(|bundle| {
            let sources = source::read(&context.paths, &context.environment, &context.flags);
            Before { bundle, config: Config::load(&context.paths, &sources).ok() }
        });
        let mut notes = options::unheeded(&config);
        notes.extend(bundle::gone_names(bundle, &config));
        let other = before.as_ref().and_then(|before| other_mesh(before, bundle, &config));
        match other {
            Some(other) if !self.replace && !self.plan => {
                let what = format!("{other}; `--replace` goes on");
                let problem = Problem::with("this machine has joined already", what);
                return Err(Problems(vec![problem]).into());
            }
            Some(other) => notes.push(other),
            None => {}
        }
        notes.extend(token_note(bundle, now).filter(|_| self.no_start || self.offline));
        Ok(Judged { staged, config, before, notes })
    }

    fn install(&self, context: &Context, bundle: &Bundle, judged: Judged) -> Exit {
        let Judged { staged, config, before, notes } = judged;
        let previous = match staged.put_in_place() {
            Ok(previous) => previous,
            Err(error) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                return Exit::Failed;
            }
        };
        say(format_args!("joined {} as {}", config.istiod, config.node.id));
        let (mesh, id) = (config.istiod.to_string(), config.node.id.to_string());
        note(context.paths.root(), JOINED, "joined a mesh", &[("mesh", mesh), ("id", id)]);
        say(format_args!("installed in {}", context.paths.bundle().display()));
        if let Some(previous) = previous {
            say(format_args!("what was there before is in {}", previous.display()));
        }
        for change in before.iter().flat_map(|before| bundle::changes(&before.bundle, bundle)) {
            say(format_args!("  {change}"));
        }
        for note in notes {
            say(format_args!("note: {note}"));
        }
        self.start(context, &config, true)
    }

    /// The same bundle as before, and there is a certificate since.
    fn nothing_new(&self, context: &Context) -> Exit {
        say(format_args!(
            "this machine has joined with this bundle: nothing has changed in {}",
            context.paths.bundle().display()
        ));
        let service = Service::find(&context.paths).filter(|service| service.booted);
        let state = service.and_then(|service| service.state().ok());
        let runs = state.is_none_or(|state| state.active == "active");
        if runs || self.plan || self.no_start || self.offline {
            return Exit::Ok;
        }
        let sources = source::read(&context.paths, &context.environment, &context.flags);
        match Config::load(&context.paths, &sources) {
            Ok(config) => self.start(context, &config, false),
            Err(problems) => complain_of(&problems),
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

impl Refused {
    fn told(&self) -> Exit {
        match self {
            Self::Problems(problems) => {
                complain_of(problems);
                complain("hawser: nothing was changed");
            }
            Self::Install(error) => complain(format_args!("hawser: {}", Chain(error))),
        }
        Exit::Failed
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

/// What becomes of a machine that is somebody else by this bundle, or in another mesh: with other
/// roots only the address of istiod tells that from a root that was rotated.
fn other_mesh(before: &Before, bundle: &Bundle, config: &Config) -> Option<String> {
    let was = before.config.as_ref()?;
    if was.node.id != config.node.id {
        return Some(format!(
            "it is {} and would be {}: its certificate and what it knows of the mesh are set \
             aside when the agent starts",
            was.node.id, config.node.id
        ));
    }
    let roots = |bundle: &Bundle| Roots::from_pem(bundle.text(paths::ROOT_CERT)?).ok();
    let (old, new) = (roots(&before.bundle)?, roots(bundle)?);
    let shared = new.ders().iter().any(|root| old.ders().contains(root));
    let moved = was.istiod.endpoints != config.istiod.endpoints;
    (!shared && moved).then(|| {
        format!(
            "it is in the mesh of {} and would be in that of {}, with the same name: its \
             certificate is of no use there, and is replaced with the token of this bundle",
            was.istiod, config.istiod
        )
    })
}

/// What is put into an image does not stay good for ever.
fn token_note(bundle: &Bundle, now: SystemTime) -> Option<String> {
    let facts = token::open(bundle.text(paths::TOKEN)?).ok()?;
    let left = facts.expires?.duration_since(now).unwrap_or_default();
    Some(format!(
        "the token is good for {} from now: what starts later needs another, by `hawser join` \
         with a new bundle",
        Span(left)
    ))
}
