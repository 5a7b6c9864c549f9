//! The guard: what is seen of Envoy, the agent and the machine, to the core; what the core wants, to
//! the kernel.
//!
//! It looks instead of being told, several times a second and at little cost: whether somebody
//! listens is no event to anyone, and what others do to our table is none that has to be trusted.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hawser_audit::{
    CONFIGURATION_READ, CONFIGURATION_WRONG, RULES_CLEARED, RULES_REPAIRED, RULES_TROUBLE,
};
use hawser_rt::{BoxError, Chain, Cidr, Notifier, Throttle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::keep::{Keep, Wanted};
use super::{Core, Phase, Settings, Surroundings};
use crate::Error;
use crate::apply::Places;
use crate::gates::Gates;
use crate::nft::Nft;
use crate::plan::{Machine, Plan, Taken};
use crate::report::{Report, seconds};
use crate::trial::Trial;
use crate::view::{Sights, View};

/// How often Envoy is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How often the agent is asked, and how long it may take.
const ASK: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often it is looked whether anybody has changed what is loaded.
const CHECK: Duration = Duration::from_secs(10);
/// How often accounts and units are looked up, where units are named and else.
const UNITS: Duration = Duration::from_secs(1);
const ACCOUNTS: Duration = Duration::from_secs(10);
/// How often the agent is asked for addresses of services.
const VIPS: Duration = Duration::from_secs(10);

static TROUBLE: Throttle = Throttle::new(Duration::from_secs(60));
static REPAIRED: Throttle = Throttle::new(Duration::from_secs(60));

/// What the guard is started with.
#[derive(Debug)]
pub struct Parts<'a, S> {
    /// What is around it.
    pub surroundings: Arc<S>,
    /// The settings, as they were read to begin with.
    pub settings: Settings,
    /// Below which programs are: `/`.
    pub root: PathBuf,
    /// Where it keeps what it knows.
    pub places: Places,
    /// What it looks at.
    pub sights: Sights,
    /// Whom it tells that it watches.
    pub notifier: &'a Notifier,
}

/// Keeps the kernel as the settings want it until `stop`. At the end everything is removed, unless
/// `leave` says that another guard takes over.
pub async fn run<S: Surroundings>(
    parts: Parts<'_, S>,
    stop: CancellationToken,
    leave: impl Future<Output = bool>,
) -> Result<(), Error> {
    let _life = alone(&parts.places).await?;
    let hangup = signal(SignalKind::hangup());
    let mut hangup = hangup.map_err(|source| Error::Hangup { source })?;
    let mut guard = Guard::begin(parts).await?;
    // What is the case is known before anything is said of it.
    guard.look();
    guard.put().await;
    let watch = async {
        let mut look = every(LOOK);
        let mut check = every(CHECK);
        let mut ask = every(ASK);
        let mut feed = every(guard.notifier.watchdog().unwrap_or(NEVER));
        let (mut accounts, mut vips) = (every(UNITS), every(VIPS));
        let mut asked: JoinSet<Heard> = JoinSet::new();
        let mut last_accounts = Instant::now();
        loop {
            // Cancel safe, all of them: ticks, a signal, and what has ended.
            tokio::select! {
                _ = look.tick() => guard.look(),
                _ = check.tick() => guard.check().await,
                _ = ask.tick() => guard.ask(&mut asked),
                _ = vips.tick() => guard.ask_vips(&mut asked),
                _ = accounts.tick() => {
                    if guard.names_units() || last_accounts.elapsed() >= ACCOUNTS {
                        last_accounts = Instant::now();
                        guard.look_up(&mut asked);
                    }
                }
                _ = feed.tick() => guard.notifier.feed(),
                _ = hangup.recv() => guard.read_again(&mut asked),
                Some(Ok(heard)) = asked.join_next() => guard.hear(heard),
            }
            guard.put().await;
        }
    };
    stop.run_until_cancelled(watch).await;
    guard.notifier.stopping();
    if leave.await {
        info!("ends, and leaves the rules to the next guard");
        return Ok(());
    }
    guard.keep.clear().await?;
    drop(Report::forget(&guard.places));
    info!(message_id = RULES_CLEARED.id, "traffic is not redirected any more");
    Ok(())
}

/// What was asked beside the loop, and what came of it.
enum Heard {
    Answered(bool),
    Vips(Option<Vec<Cidr>>),
    Machine(Machine),
    Settings(Box<Result<(Settings, Machine), BoxError>>),
}

pub(super) struct Guard<'a, S> {
    pub(super) surroundings: Arc<S>,
    pub(super) settings: Settings,
    pub(super) sights: Sights,
    pub(super) places: Places,
    pub(super) notifier: &'a Notifier,
    pub(super) keep: Keep,
    pub(super) core: Core,
    /// Accounts and units.
    pub(super) known: Machine,
    pub(super) view: View,
    /// The same with what was seen; what the plan was made for.
    pub(super) machine: Machine,
    pub(super) plan: Plan,
    pub(super) warnings: Vec<String>,
    /// Who was found on Envoy's port last.
    squats: Option<(u16, u32)>,
    /// Questions to the agent that are on their way.
    pub(super) asking: bool,
    pub(super) looking: bool,
    pub(super) trial: Trial,
    pub(super) phase: Phase,
    pub(super) since: u64,
    pub(super) read: u64,
    /// Why the settings that there are now are not those that hold.
    pub(super) refused: Option<String>,
    pub(super) trouble: Option<String>,
    pub(super) ready: bool,
    pub(super) written: Option<Report>,
}

impl<'a, S: Surroundings> Guard<'a, S> {
    async fn begin(parts: Parts<'a, S>) -> Result<Self, Error> {
        let Parts { surroundings, settings, root, places, sights, notifier } = parts;
        let mut keep = Keep::new(Nft::find(&root)?, places.clone());
        let mut core = Core::new(settings.on_failure, settings.hold);
        core.resume(&keep.found().await?, Instant::now());
        let look_up = Arc::clone(&settings.machine);
        let known = spawn_blocking(move || look_up()).await.unwrap_or_default();
        let vips = timeout(PATIENCE, surroundings.vips()).await.ok().flatten();
        let view = View::look(&sights, vips.unwrap_or_default())?;
        let machine = view.of(known.clone(), &settings.options);
        let (plan, warnings) = Plan::new(&settings.options, &machine);
        let mut guard = Self {
            surroundings,
            settings,
            sights,
            places,
            notifier,
            keep,
            core,
            known,
            view,
            machine,
            plan,
            warnings: Vec::new(),
            squats: None,
            asking: false,
            looking: false,
            trial: Trial::None,
            phase: Phase::Waiting,
            since: seconds(),
            read: 1,
            refused: None,
            trouble: None,
            ready: false,
            written: None,
        };
        guard.warn(warnings.iter().map(ToString::to_string).collect());
        Ok(guard)
    }

    /// Looks at the machine, and plans anew if that matters.
    fn look(&mut self) {
        match View::look(&self.sights, self.view.vips.clone()) {
            Ok(view) => self.view = view,
            Err(error) => return self.fail(&error),
        }
        self.plan();
        let listens = self.view.envoy_listens(&self.plan, &self.settings.options, &self.machine);
        self.core.envoy(listens, Instant::now());
    }

    fn plan(&mut self) {
        let mut machine = self.view.of(self.known.clone(), &self.settings.options);
        // An Envoy that is away for a moment comes back as it was.
        if !self.core.listens() && self.core.phase() != Phase::Waiting {
            (machine.ipv4, machine.ipv6) = (self.machine.ipv4, self.machine.ipv6);
        }
        if machine == self.machine {
            // Whoever sits on a port may have come or gone.
            if self.squatter() != self.squats {
                let (_, warnings) = Plan::new(&self.settings.options, &self.machine);
                self.warn(warnings.iter().map(ToString::to_string).collect());
            }
            return;
        }
        self.machine = machine;
        let (plan, warnings) = Plan::new(&self.settings.options, &self.machine);
        if plan != self.plan {
            info!("the machine has changed, rules are made anew");
            self.plan = plan;
        }
        self.warn(warnings.iter().map(ToString::to_string).collect());
    }

    /// Tells of warnings that are new.
    fn warn(&mut self, mut warnings: Vec<String>) {
        warnings.extend(self.settings.unheeded.iter().cloned());
        self.squats = self.squatter();
        warnings.extend(self.squatter().map(|(port, uid)| {
            format!("port {port} is not Envoy's but user {uid}'s: nothing is sent there")
        }));
        for warning in warnings.iter().filter(|warning| !self.warnings.contains(warning)) {
            warn!(warning, "interception");
        }
        self.warnings = warnings;
    }

    /// Who listens where Envoy would, and is not Envoy.
    fn squatter(&self) -> Option<(u16, u32)> {
        self.view.squatter(&self.plan, &self.settings.options, &self.machine)
    }

    fn names_units(&self) -> bool {
        let scope = &self.settings.options.scope;
        let named = matches!(&scope.units, Taken::Only(units) if !units.is_empty());
        named || !scope.exclude_units.is_empty()
    }

    fn ask(&mut self, asked: &mut JoinSet<Heard>) {
        let Some(dns) = &self.settings.options.dns else { return };
        if self.asking {
            return;
        }
        self.asking = true;
        let (addresses, surroundings) = (dns.listen.clone(), Arc::clone(&self.surroundings));
        asked.spawn(async move {
            for address in addresses {
                match timeout(PATIENCE, surroundings.answers(address)).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Heard::Answered(false),
                }
            }
            Heard::Answered(true)
        });
    }

    fn ask_vips(&self, asked: &mut JoinSet<Heard>) {
        let surroundings = Arc::clone(&self.surroundings);
        asked.spawn(async move {
            Heard::Vips(timeout(PATIENCE, surroundings.vips()).await.ok().flatten())
        });
    }

    fn look_up(&mut self, asked: &mut JoinSet<Heard>) {
        if self.looking {
            return;
        }
        self.looking = true;
        let look_up = Arc::clone(&self.settings.machine);
        asked.spawn_blocking(move || Heard::Machine(look_up()));
    }

    fn read_again(&self, asked: &mut JoinSet<Heard>) {
        self.notifier.reloading();
        let surroundings = Arc::clone(&self.surroundings);
        asked.spawn_blocking(move || {
            Heard::Settings(Box::new(surroundings.settings().map(|settings| {
                let machine = (settings.machine)();
                (settings, machine)
            })))
        });
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Answered(answered) => {
                self.asking = false;
                self.core.agent(answered);
            }
            // What the agent said last holds while it is away.
            Heard::Vips(None) => {}
            Heard::Vips(Some(vips)) => {
                self.view.vips = vips;
                self.plan();
            }
            Heard::Machine(known) => {
                self.looking = false;
                self.known = known;
                self.plan();
            }
            Heard::Settings(read) => self.take(*read),
        }
    }

    /// Other settings hold from now on, unless they are wrong.
    fn take(&mut self, read: Result<(Settings, Machine), BoxError>) {
        self.read = self.read.saturating_add(1);
        match read {
            Ok((settings, known)) => {
                self.core.set(settings.on_failure, settings.hold);
                self.settings = settings;
                self.known = known;
                self.machine = self.view.of(self.known.clone(), &self.settings.options);
                let (plan, warnings) = Plan::new(&self.settings.options, &self.machine);
                self.plan = plan;
                self.refused = None;
                self.warn(warnings.iter().map(ToString::to_string).collect());
                info!(message_id = CONFIGURATION_READ.id, "settings were read again");
            }
            Err(error) => {
                let error = Chain(error.as_ref()).to_string();
                let message_id = CONFIGURATION_WRONG.id;
                warn!(message_id, error, "settings are wrong, those before them hold");
                self.refused = Some(error);
            }
        }
        self.notifier.ready();
    }

    /// Looks whether somebody else has changed what is loaded.
    async fn check(&mut self) {
        match self.keep.look().await {
            Ok(None) => {}
            Ok(Some(what)) => {
                if let Some(suppressed) = REPAIRED.allow() {
                    let id = RULES_REPAIRED.id;
                    warn!(what, suppressed, message_id = id, "rules were changed, put back");
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Makes the kernel what is wanted, and says so.
    async fn put(&mut self) {
        let mut gates = if self.settings.enabled { self.core.gates() } else { Gates::default() };
        // Whoever has taken Envoy's port while it was away is not given what was meant for it. One
        // beside an Envoy that listens cannot switch the mesh off.
        if !self.core.listens() && self.squatter().is_some() {
            (gates.outbound, gates.inbound) = (false, false);
        }
        let groups: Vec<_> = self.machine.units.values().map(|group| group.id).collect();
        let put = if self.settings.enabled {
            let wanted = Wanted { plan: &self.plan, groups: &groups, gates };
            self.keep.put(&wanted).await
        } else if self.keep.holds() {
            self.keep.clear().await.map(|()| Trial::None)
        } else {
            Ok(Trial::None)
        };
        match put {
            Ok(trial) => {
                self.trial = trial;
                self.trouble = None;
                self.tell();
                if !self.ready {
                    self.ready = true;
                    self.notifier.ready();
                }
            }
            Err(error) => {
                self.fail(&error);
                self.tell();
                sleep(LOOK).await;
            }
        }
    }

    pub(super) fn fail(&mut self, error: &Error) {
        let text = Chain(error).to_string();
        if let Some(suppressed) = TROUBLE.allow() {
            let message_id = RULES_TROUBLE.id;
            warn!(message_id, error = text, suppressed, "rules are not as they should be");
        }
        self.trouble = Some(text);
    }
}

/// Whoever only looks whether there is a guard is in the way for a moment.
async fn alone(places: &Places) -> Result<File, Error> {
    for _ in 0..TRIES {
        if let Some(life) = places.unguarded()? {
            return Ok(life);
        }
        sleep(LOOK / 5).await;
    }
    Err(Error::Guarded)
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

const TRIES: usize = 20;
const NEVER: Duration = Duration::from_secs(365 * 86_400);
