//! What is asked of the machine before Envoy: who asks, who the agent is, what the rules are.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    time::Duration,
};

use hawser_dns::explain::Does;
use hawser_intercept::{
    gates,
    plan::{self, Call, Gate},
    report::Report,
};
use hawser_rt::Chain;
use nix::unistd::{Uid, geteuid};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    cli::{
        Context, ask,
        dns::{explain, query},
        intercept::{
            self, Wrong,
            around::{Around, Planned},
        },
        span::now,
    },
    config::{setting, source},
    explain::{
        Kind, Step,
        listener::Arrival,
        name::Known,
        peer::Own,
        request::Request,
        rule::{self, Case, Live, Table},
    },
    status::{services::ServiceRow, units},
};

/// Who makes the request.
#[derive(Debug, Clone)]
pub(super) struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// The one of this name or number; without one, who asks.
    pub(super) fn named(name: Option<&str>) -> Option<Self> {
        let by_number = |uid: u32| nix::unistd::User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let found = match name {
            None => by_number(geteuid().as_raw()),
            Some(name) => match name.parse() {
                Ok(uid) => by_number(uid),
                Err(_name) => nix::unistd::User::from_name(name).ok().flatten(),
            },
        };
        let known =
            found.map(|it| Self { name: it.name, uid: it.uid.as_raw(), gid: it.gid.as_raw() });
        // A number needs no name.
        let uid = match name {
            None => Some(geteuid().as_raw()),
            Some(name) => name.parse().ok(),
        };
        known.or_else(|| uid.map(|uid| Self { name: "uid".to_owned(), uid, gid: uid }))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.uid)
    }
}

/// What the agent says, as far as it does.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Whether it answers.
    pub(super) agent: bool,
    /// Where Envoy's admin interface is.
    pub(super) admin: SocketAddr,
    /// Who this machine is.
    pub(super) own: Own,
    addresses: Vec<IpAddr>,
}

impl Facts {
    pub(super) fn of(context: &Context) -> Self {
        let said = ask::quietly(&context.paths);
        let own = said.as_ref().map(|snapshot| Own {
            known: true,
            spiffe_id: snapshot.identity.spiffe_id.clone(),
            expires_in: snapshot.identity.not_after.map(|until| until.cast_signed() - now()),
        });
        let admin =
            said.as_ref().and_then(|snapshot| snapshot.envoy.as_ref()).map(|envoy| envoy.admin);
        Self {
            agent: said.is_some(),
            admin: admin.unwrap_or_else(|| configured(context)),
            own: own.unwrap_or_default(),
            addresses: source::addresses(),
        }
    }

    /// Whether an address is of this machine.
    pub(super) fn is_here(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains(&address)
    }
}

/// Where the admin interface is by the settings, wrong or not.
fn configured(context: &Context) -> SocketAddr {
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    let said = setting::find("envoy.admin_port").map(|known| sources.values.setting(known).value);
    let port = said.and_then(|port| port.parse().ok()).unwrap_or(ADMIN);
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The agent does not answer.
pub(super) fn no_agent(step: Step) -> Step {
    step.and("the agent does not answer").unknown("systemctl status hawser")
}

/// What the agent knows of a name; what it relays is asked of it.
pub(super) async fn known(context: &Context, request: &Request) -> Option<(Known, bool)> {
    let name = query::name(&request.host).ok()?;
    let (told, live) = explain::told(context, &name)?;
    let relayed = told.explanation.does == Does::Relays;
    let resolved = match (relayed, live) {
        (false, _) => Ok(Vec::new()),
        (true, true) => query::addresses(context, &name),
        (true, false) => Ok(by_the_system(&request.host).await),
    };
    let host = told.explanation.entry.as_ref().map(|entry| entry.host.trim_end_matches('.'));
    let listed = host.filter(|_| live).and_then(|host| listed(context, host)).unwrap_or_default();
    Some((Known { told, resolved, listed }, live))
}

/// What the running agent has of a host from its file of services.
fn listed(context: &Context, host: &str) -> Option<Vec<ServiceRow>> {
    let path = format!("/services?host={}", ask::escaped(host));
    let said = ask::Said::ask(&context.paths.admin_socket(), &path).ok()?;
    let there = said.status == 200;
    serde_json::from_str(&said.text().ok()?).ok().filter(|_| there)
}

/// What the machine's own resolver says.
pub(super) async fn by_the_system(host: &str) -> Vec<IpAddr> {
    let host = host.to_owned();
    let asked = spawn_blocking(move || {
        let found = (host.as_str(), 0).to_socket_addrs();
        found.map(|all| all.map(|own| own.ip()).collect::<Vec<_>>()).unwrap_or_default()
    });
    let mut found = timeout(PATIENCE, asked).await.ok().and_then(Result::ok).unwrap_or_default();
    found.dedup();
    found
}

/// What the settings mean on this machine, and whether it is in the kernel.
pub(super) struct Rules {
    planned: Planned,
    live: Live,
}

impl Rules {
    /// Them, or a step that says why nobody knows them.
    pub(super) async fn of(context: &Context) -> Result<Self, Step> {
        let planned = Around::of(context).planned().await.map_err(|wrong| unread(&wrong))?;
        let report = units::intercept::read(&context.paths).filter(is_fresh);
        let wanted = planned.settings.enabled && !planned.plan.gates().is_empty();
        let table = if geteuid().is_root() && wanted { loaded(context).await } else { None };
        let why_not = planned.warnings.first().map(ToString::to_string).filter(|_| !wanted);
        Ok(Self { planned, live: Live { wanted, why_not, report, table } })
    }

    /// What becomes of a connection.
    pub(super) fn step(
        &self,
        user: &User,
        (to, here): (SocketAddr, bool),
        case: &Case<'_>,
    ) -> (Step, Option<Arrival>) {
        let call = Call { uid: user.uid, gid: user.gid, to, here };
        let fate = plan::fate(&self.planned.settings.options, &self.planned.machine, &call);
        rule::step(&fate, &self.live, case)
    }

    /// Why a program's questions do not come to the agent, if they are to be redirected.
    pub(super) fn unasked(&self) -> Option<String> {
        let dns = self.planned.settings.options.dns.as_ref().filter(|_| self.live.wanted)?;
        let resolvers = &self.planned.machine.resolvers;
        let asked = resolvers.iter().any(|own| dns.listen.contains(&SocketAddr::new(*own, 53)));
        let redirected = self.live.opens(Gate::Dns);
        (!asked && !redirected).then(|| {
            let own: Vec<String> = resolvers.iter().map(ToString::to_string).collect();
            format!("programs do not hear that now: they ask {}, unredirected", own.join(", "))
        })
    }
}

fn unread(wrong: &Wrong) -> Step {
    let why = match wrong {
        Wrong::Settings(problems) => {
            problems.0.first().map(ToString::to_string).unwrap_or_default()
        }
        Wrong::Rules(error) => Chain(error).to_string(),
        Wrong::Other(error) => Chain(error.as_ref()).to_string(),
    };
    Step::new(Kind::Rule, "the settings cannot be read").and(why).unknown("hawser check")
}

/// For whoever may not read the settings: what the guard says to everybody.
pub(super) fn by_the_guard(context: &Context, unread: Step) -> (Step, Option<Arrival>) {
    let report = units::intercept::read(&context.paths).filter(is_fresh);
    if !report.is_some_and(|report| report.gates.outbound) {
        return (unread, None);
    }
    let mut step = Step::new(Kind::Rule, "redirected to Envoy, unless a setting spares it");
    step.more = unread.more;
    (step.and("root is told which rule it is"), Some(Arrival::Redirected(OUTBOUND)))
}

/// A guard that was killed leaves what it said last.
fn is_fresh(report: &Report) -> bool {
    now() - report.at.cast_signed() <= OLDEST
}

/// What is in the kernel, if it can be asked.
async fn loaded(context: &Context) -> Option<Table> {
    let listing = intercept::nft().ok()?.table().await.ok()?;
    let Some(listing) = listing else { return Some(Table::default()) };
    let gates = gates::listed(&listing);
    let open = Gate::ALL.into_iter().filter(|gate| gates.of(*gate).is_open()).collect();
    let changed = intercept::places(context).is_changed(&listing).unwrap_or(false);
    Some(Table { open, changed })
}

const ADMIN: u16 = 15000;
const OUTBOUND: u16 = 15001;
const PATIENCE: Duration = Duration::from_secs(5);
/// In seconds; a guard that lives speaks twice a minute.
const OLDEST: i64 = 90;
