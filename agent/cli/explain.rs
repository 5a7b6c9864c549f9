//! `hawser explain`: the whole path of one request.

mod facts;
mod screen;

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use hawser_envoy::admin::Admin;

use self::facts::{Facts, Rules, User};
use super::{Context, Exit, complain, say};
use crate::explain::{
    Kind, Path, Step, Verdict,
    dump::{Address, Listening},
    gather,
    listener::{self, Arrival},
    name::{self, Resolved},
    request::{Request, Talk},
    rule::Case,
    walk::{self, Start},
};

/// Show the whole path of a request, and where it breaks
///
/// From the name over the address, the rules of interception, Envoy's listener, route, cluster and
/// endpoints to whoever has to answer, with whose certificate. It asks the agent and Envoy, and
/// sends no request.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 the path is whole, 1 it breaks, 3 the agent or Envoy does not answer.

Examples:
  hawser explain reviews.prod
  hawser explain http://reviews.prod:9080/health --method POST
  hawser explain tcp://mysql.prod:3306 --user app
  hawser explain 10.96.0.10:443")]
pub(super) struct Explain {
    /// NAME, NAME:PORT, ADDRESS, ADDRESS:PORT, or an address of the web: http://NAME:PORT/PATH;
    /// tcp:// for what is not HTTP, https:// where the program speaks TLS itself
    #[arg(value_name = "REQUEST")]
    request: Request,
    /// The method of an HTTP request
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// As if a program of this user made it; else of who asks
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// As JSON: `verdict`, and `steps` with `what`, `breaks` and `next` of each
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let Some(user) = User::named(self.user.as_deref()) else {
            let name = self.user.as_deref().unwrap_or_default();
            complain(format_args!("hawser: this machine knows no user {name}"));
            return Exit::Usage;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(format_args!("hawser: {error}"));
                return Exit::Failed;
            }
        };
        let request = Request { method: self.method.to_ascii_uppercase(), ..self.request.clone() };
        let steps = runtime.block_on(self.steps(context, &request, &user));
        // A look-up that hangs is not waited for.
        runtime.shutdown_background();
        let path = Path::new(request, user.to_string(), steps);
        if self.json {
            match serde_json::to_string_pretty(&path) {
                Ok(text) => say(text),
                Err(error) => complain(format_args!("hawser: {error}")),
            }
        } else {
            say(screen::screen(&path).trim_end());
        }
        match path.verdict {
            Verdict::Whole => Exit::Ok,
            Verdict::Breaks => Exit::Failed,
            Verdict::Unknown => Exit::Down,
        }
    }

    async fn steps(&self, context: &Context, request: &Request, user: &User) -> Vec<Step> {
        let facts = Facts::of(context);
        let (mut steps, resolved) = resolve(context, request, &facts).await;
        let Some(address) = resolved.addresses.first().copied() else { return steps };
        let envoy = Admin::new(facts.admin);
        let index = gather::listening(&envoy).await;
        let listening = index.as_deref().unwrap_or_default();
        let (mut step, to) = place(request, address, &resolved, listening);
        if steps.is_empty() && !facts.agent {
            step = facts::no_agent(step);
        }
        steps.push(step);
        let listens = facts.is_here(address) && binds(&envoy, listening, to).await;
        let whom = user.to_string();
        let rules = Rules::of(context).await;
        if let (Ok(rules), Some(first), true) = (&rules, steps.first_mut(), resolved.ours) {
            first.more.extend(rules.unasked());
        }
        // While Envoy does not answer, that is what is wrong.
        let ours = resolved.ours && index.is_ok();
        let case = Case { whom: &whom, ours, listens };
        let (step, arrival) = match rules {
            Ok(rules) => rules.step(user, (to, facts.is_here(address)), &case),
            Err(step) if listens => (step, Some(Arrival::Directly)),
            Err(step) => facts::by_the_guard(context, step),
        };
        steps.push(step);
        match (index, arrival) {
            (Err(error), _) => steps.push(walk::silent(Kind::Listener, &error)),
            (Ok(_), None) => {}
            (Ok(_), Some(arrival)) => {
                let start = Start { request, to, arrival, ours: resolved.ours };
                steps.extend(walk::walk(&envoy, &start, &facts.own).await);
            }
        }
        steps
    }
}

/// What the name resolves to; an address is itself.
async fn resolve(context: &Context, request: &Request, facts: &Facts) -> (Vec<Step>, Resolved) {
    if let Some(address) = request.address() {
        return (Vec::new(), Resolved { addresses: vec![address], ours: false });
    }
    match facts::known(context, request).await {
        Some((known, live)) => {
            let (mut step, resolved) = name::step(&known);
            if !live {
                step = facts::no_agent(step.and("told by the names that it kept"));
            }
            (vec![step], resolved)
        }
        None => {
            let addresses = facts::by_the_system(&request.host).await;
            let what = match addresses.as_slice() {
                [] => format!("nobody tells what {} is", request.host),
                some => format!("the machine's resolver says {}", name::list(some)),
            };
            let step = Step::new(Kind::Name, what);
            let step = if facts.agent { step } else { facts::no_agent(step) };
            let step = match addresses.as_slice() {
                [] => step.breaks(
                    "the name does not resolve",
                    format!("hawser dns explain {}", request.host),
                ),
                _ => step,
            };
            (vec![step], Resolved { addresses, ours: false })
        }
    }
}

/// Where the program connects to; where no port was said, the one that Envoy listens on for it.
fn place(
    request: &Request,
    address: IpAddr,
    resolved: &Resolved,
    index: &[Listening],
) -> (Step, SocketAddr) {
    let sockets = index.iter().filter_map(|one| Address::socket(&one.local_address));
    let mut ports: Vec<u16> =
        sockets.filter(|own| own.ip() == address).map(|own| own.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    let (port, why) = match (request.port, ports.as_slice()) {
        (Some(port), _) => (port, None),
        (None, [one]) => {
            (*one, Some("the only port that Envoy has there; none was said".to_owned()))
        }
        (None, _) if request.talk == Talk::Tls => (443, None),
        (None, []) => (80, Some("as no port was said".to_owned())),
        (None, some) => {
            let all: Vec<String> = some.iter().map(u16::to_string).collect();
            (80, Some(format!("as no port was said; Envoy has {} there", all.join(", "))))
        }
    };
    let to = SocketAddr::new(address, port);
    let mut step = Step::new(Kind::Address, to.to_string()).facts(serde_json::json!({
        "address": address, "port": port, "service": resolved.ours,
    }));
    if let Some(why) = why {
        step = step.and(why);
    }
    if resolved.addresses.len() > 1 {
        step = step.and(format!("the first of {}", resolved.addresses.len()));
    }
    (step, to)
}

/// Whether Envoy itself takes connections at this place.
async fn binds(envoy: &Admin, index: &[Listening], to: SocketAddr) -> bool {
    for (name, _) in listener::candidates(index, to, Arrival::Directly) {
        let found = gather::listener(envoy, &name).await.ok().flatten();
        if found.is_some_and(|listener| listener.bind_to_port != Some(false)) {
            return true;
        }
    }
    false
}
