//! `hawser status`: what the running agent says of itself.

mod dns;
mod units;
pub(super) mod wait;

use clap::Args;

use super::{
    Context, Exit, ask, say,
    span::{now, span},
};
use crate::status::{
    EnvoyStatus, Snapshot, State,
    mesh::{RefusingStatus, ReplacedStatus},
};

/// Show what the running agent says of itself
///
/// Ends with 0 if it is ready, 1 if it is not yet, 3 if nobody answers. With --wait-ready it ends
/// with 0 as soon as all of it is ready, Envoy and the traffic rules too, and with 75 if that is not
/// in time.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// As JSON
    #[arg(long, conflicts_with = "wait_ready")]
    json: bool,
    /// Wait until programs can rely on the mesh, for five minutes or this long
    #[arg(long, value_name = "TIME", num_args = 0..=1,
          default_missing_value = "5m",
          value_parser = wait::patience)]
    wait_ready: Option<std::time::Duration>,
}

impl Status {
    pub(super) fn run(&self, context: &Context) -> Exit {
        if let Some(patience) = self.wait_ready {
            return wait::until_ready(&context.paths, patience);
        }
        let (text, snapshot) = match ask::snapshot(&context.paths) {
            Ok(answer) => answer,
            Err(exit) => return exit,
        };
        if self.json {
            say(text.trim_end());
        } else {
            say(screen(&snapshot).trim_end());
        }
        match snapshot.state {
            State::Ready => Exit::Ok,
            State::Starting => Exit::Failed,
        }
    }
}

fn screen(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        text.push_str(&format!("{name:<10} {value}\n"));
    };
    row("hawser", format!("{} {}", snapshot.version, state(snapshot)));
    row("node", snapshot.node.clone());
    row("identity", identity(snapshot));
    if let Some(trouble) = &snapshot.identity.trouble {
        row("", trouble.clone());
    }
    if let Some(istiod) = &snapshot.istiod {
        let state = if istiod.connected { "connected" } else { "not connected" };
        row("istiod", format!("{} {state}", istiod.address));
        if let Some(trouble) = &istiod.trouble {
            row("", trouble.clone());
        }
        row("names", names(snapshot));
    }
    match &snapshot.health {
        Some(health) if health.well => row("workload", "well".to_owned()),
        Some(health) => {
            let reason = health.reason.as_deref().unwrap_or("no reason given");
            row(
                "workload",
                format!("not well, the mesh sends no traffic here: {}", one_line(reason)),
            );
        }
        None => {}
    }
    if let Some(dns) = &snapshot.dns {
        dns::rows(dns, &mut row);
    }
    let (Some(proxy), Some(relay)) = (&snapshot.envoy, &snapshot.relay) else {
        row("", "certificates only: no configuration, no names, no Envoy".to_owned());
        return text;
    };
    units::rows(&snapshot.units, &mut row);
    row("envoy", envoy(proxy, snapshot.secrets.accepted > 0, relay.joined > 0));
    if let Some(trouble) = &relay.trouble {
        row("", trouble.clone());
    }
    if let Some(stale) = &relay.stale {
        let ago = |at: u64| span(now() - at.cast_signed());
        let (of, since) = (ago(stale.of), ago(stale.since));
        row("", format!("stale: works with what it took up to {of} ago, unconfirmed for {since}"));
    }
    if let Some(trouble) = &relay.kept.trouble {
        row("", format!("not kept for a start without istiod: {trouble}"));
    }
    for lacks in relay.lacks.iter().take(MAX_LACKS) {
        let fate = if lacks.passes { "refuses what holds it:" } else { "is spared" };
        row("", format!("cannot load {}, {fate} {} {}", lacks.type_url, lacks.place, lacks.name));
    }
    if relay.lacks.len() > MAX_LACKS {
        row("", format!("and {} more, see --json", relay.lacks.len() - MAX_LACKS));
    }
    for ReplacedStatus { name, stops, reason } in relay.replaced.iter().take(MAX_LACKS) {
        let fate = if *stops { "stops all traffic" } else { "lets traffic pass without it" };
        row("", format!("filter {name} {fate}, its module is not to be had: {}", one_line(reason)));
    }
    if relay.refused_peers > 0 {
        row("", format!("{} strangers were refused at its sockets", relay.refused_peers));
    }
    for (type_url, seen) in &relay.types {
        if let Some(refused) = seen.rejected.as_ref().filter(|_| seen.refuses) {
            row("", format!("refuses {}: {}", short(type_url), one_line(refused)));
        }
    }
    for RefusingStatus { program, type_url, reason } in relay.refusing.iter().take(MAX_LACKS) {
        let refused = format!("refuses {}: {}", short(type_url), one_line(reason));
        row("", format!("program {program} {refused}"));
    }
    text
}

fn state(snapshot: &Snapshot) -> String {
    match snapshot.state {
        State::Ready => "ready".to_owned(),
        State::Starting => format!("starting, waits for {}", snapshot.waits_for.join(", ")),
    }
}

fn identity(snapshot: &Snapshot) -> String {
    match (&snapshot.identity.spiffe_id, snapshot.identity.expires_in) {
        (Some(id), Some(left)) if left > 0 => format!("{id}, valid for {}", span(left)),
        (Some(id), _) => format!("{id}, expired"),
        (None, _) => "none yet".to_owned(),
    }
}

fn envoy(envoy: &EnvoyStatus, secrets: bool, streams: bool) -> String {
    let has = match (secrets, streams) {
        (true, true) => "has certificates and configuration",
        (true, false) => "has certificates; no stream to istiod",
        (false, true) => "has configuration; no certificate asked for yet",
        (false, false) => "has not asked for anything yet",
    };
    format!("{envoy}, {has}")
}

/// The last part of a type URL, which is the part that people say.
fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}

/// What somebody else said, in a length that fits a screen; `--json` has all of it.
fn one_line(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = line.take(MAX_LINE).collect();
    if line.chars().count() == MAX_LINE {
        line.push('…');
    }
    line
}

fn names(snapshot: &Snapshot) -> String {
    let kept = snapshot.dns.as_ref().and_then(|dns| dns.table.as_ref()).filter(|table| table.stale);
    match (snapshot.names, kept) {
        (_, Some(kept)) => {
            let ago = span(now() - kept.at.cast_signed());
            format!("{} kept, stale: istiod said so {ago} ago, and has not since", kept.hosts)
        }
        (Some(count), None) => format!("{count} from istiod"),
        (None, None) => "none yet; every name is relayed".to_owned(),
    }
}

const MAX_LINE: usize = 200;
const MAX_LACKS: usize = 8;
