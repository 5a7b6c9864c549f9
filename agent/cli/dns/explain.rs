//! `hawser dns explain`: why a name resolves as it does on this machine.

use clap::Args;
use hawser_dns::{
    Search, Table, Upstream,
    explain::{self, Does, Inquiry, Rule},
    resolv,
};
use hickory_proto::rr::{Name, RecordType};

use super::query::{kind, name, usual};
use crate::{
    cli::{
        Context, Exit,
        ask::{self, Said},
        complain, say,
        span::{now, span},
    },
    config::{Config, dns::Mode, source},
    options,
    status::dns::{Explained, ResolverStatus, TableStatus},
};

/// Show why a name resolves as it does
///
/// Which rule holds, which entry of the name table, how old that is, who would be asked, and what
/// bypasses the agent. Without an agent: from the names that it kept.
/// Ends with 0 if it is told, 1 if that is no name, 3 if nobody answers and nothing is kept.
#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// The whole name, nothing is appended to it; or an address
    #[arg(value_name = "NAME", value_parser = name)]
    name: Name,
    /// The type: A, AAAA, SRV, PTR, ...; else A, and PTR of an address
    #[arg(value_name = "TYPE", value_parser = kind)]
    kind: Option<RecordType>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let kind = self.kind.unwrap_or_else(|| usual(&self.name));
        let explained = match ask(context, &self.name.to_ascii(), kind) {
            Ok(explained) => explained,
            Err(exit) => return exit,
        };
        if self.json {
            match serde_json::to_string_pretty(&explained) {
                Ok(text) => say(text),
                Err(error) => complain(format_args!("hawser: {error}")),
            }
        } else {
            say(screen(&explained, kind).trim_end());
        }
        Exit::Ok
    }
}

/// Where the answer to a question comes from, if the agent tells.
pub(super) fn source(context: &Context, name: &Name, kind: RecordType) -> Option<String> {
    let said = Said::ask(&context.paths.admin_socket(), &path(&name.to_ascii(), kind)).ok()?;
    let explained: Explained = serde_json::from_str(&said.text().ok()?).ok()?;
    let told = &explained.explanation;
    match (told.does, &told.entry) {
        (Does::Answers, Some(entry)) => Some(format!("the mesh: {}", entry.host)),
        (Does::Answers, None) => Some("the mesh".to_owned()),
        (Does::Relays, _) => {
            let first = explained.resolvers.first()?;
            Some(format!("resolvers or the cache; first asked is {}", first.address))
        }
        (Does::Refuses | Does::Drops, _) => None,
    }
}

/// Why a name resolves as it does, and whether the agent has said so; else it is by the names that
/// it has kept. None, if neither is to be had.
pub(in crate::cli) fn told(context: &Context, name: &Name) -> Option<(Explained, bool)> {
    let (name, kind) = (name.to_ascii(), RecordType::A);
    let answer = || {
        let said = Said::ask(&context.paths.admin_socket(), &path(&name, kind)).ok()?;
        serde_json::from_str(&said.text().ok()?).ok()
    };
    if let Some(explained) = answer() {
        return Some((explained, true));
    }
    kept(context, &name, kind).map(|explained| (explained, false))
}

fn path(name: &str, kind: RecordType) -> String {
    format!("/dns/explain?name={}&type={}", ask::escaped(name), u16::from(kind))
}

fn ask(context: &Context, name: &str, kind: RecordType) -> Result<Explained, Exit> {
    let said = match Said::ask(&context.paths.admin_socket(), &path(name, kind)) {
        Ok(said) => said,
        Err(error) => {
            return offline(context, name, kind)
                .ok_or_else(|| ask::no_answer(&context.paths, &error));
        }
    };
    let status = said.status;
    let text = said.text().map_err(|error| ask::no_answer(&context.paths, &error))?;
    if status != 200 {
        complain(format_args!("hawser: {}", text.trim_end()));
        return Err(Exit::Failed);
    }
    serde_json::from_str(&text).map_err(|error| {
        complain(format_args!("hawser: this is not what an agent says: {error}"));
        Exit::Failed
    })
}

/// The same by the names that the agent kept, for whoever may read them.
fn offline(context: &Context, name: &str, kind: RecordType) -> Option<Explained> {
    let explained = kept(context, name, kind)?;
    complain("hawser: the agent does not answer; told by the names that it kept");
    Some(explained)
}

fn kept(context: &Context, name: &str, kind: RecordType) -> Option<Explained> {
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    let config = Config::load(&context.paths, &sources).ok()?;
    let dns = config.dns.as_ref()?;
    let kept = hawser_dns::kept::look(&context.paths.names())?;
    let scope = options::dns::scope(&config, dns);
    let (table, _) = Table::build(&kept.names, &scope);
    let listed = resolv::watch::read(&dns.resolv_conf).unwrap_or_default();
    let resolvers = match dns.upstreams.as_slice() {
        [] => listed.servers.into_iter().map(Upstream::from).collect(),
        some => some.to_vec(),
    };
    let search = Search::new(&listed.search);
    let (kind, style) = (u16::from(kind), dns.style);
    let inquiry = Inquiry { name, kind, table: Some(&table), style, search: &search };
    let told = TableStatus::of(&kept.names, kept.since, true);
    let resolvers = resolvers.iter().map(ResolverStatus::unasked).collect();
    let explanation = explain::explain(&inquiry)?;
    let split = dns.mode == Mode::Resolved;
    Some(Explained::of(explanation, Some(told), resolvers, split))
}

fn screen(explained: &Explained, kind: RecordType) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<10} {value}\n"));
    let told = &explained.explanation;
    row("name", format!("{} {kind}", told.name));
    row("answer", answer(explained));
    row("rule", rule(explained));
    if let Some(domain) = &told.search_domain {
        row("", format!("with the search domain {domain} taken off its end"));
    }
    if let Some(entry) = &told.entry {
        let addresses = match entry.addresses.as_slice() {
            [] => "no address".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        row("entry", format!("{} ({}): {addresses}", entry.host, entry.registry));
        if !entry.aliases.is_empty() {
            row("", format!("also {}", entry.aliases.join(" ")));
        }
    }
    if !told.tried.is_empty() {
        row("tried", told.tried.join(" "));
    }
    row("table", table(explained.table.as_ref()));
    if told.does == Does::Relays {
        let mut head = "resolvers";
        for resolver in &explained.resolvers {
            row(std::mem::take(&mut head), self::resolver(resolver));
        }
        match explained.resolvers.first() {
            None => row("resolvers", "none: it is answered SERVFAIL; see dns.upstreams".to_owned()),
            Some(first) => {
                let server = first.address;
                row(
                    "",
                    format!("`hawser dns query {} {kind} --server {server}` asks it", told.name),
                );
            }
        }
    }
    match told.kept {
        _ if told.does != Does::Relays => {}
        None => row("cache", "nothing is kept of it".to_owned()),
        Some(0) => row("cache", "kept past its time, for when nobody replies".to_owned()),
        Some(left) => row("cache", format!("kept, in its time for {left}s; nobody is asked")),
    }
    for hosts in &explained.hosts {
        let (line, address) = (hosts.line, hosts.address);
        row("bypassed", format!("/etc/hosts line {line} says {address}, and nobody is asked"));
        row("", format!("`getent ahosts {}` shows what programs get", told.name));
    }
    let mut head = "beside";
    for neighbour in &explained.neighbours {
        row(std::mem::take(&mut head), format!("{}: {}", neighbour.who, neighbour.meaning));
        if matches!(neighbour.who.as_str(), "systemd-resolved" | "nss-resolve") {
            row("", format!("`resolvectl query {}` shows what it says", told.name));
        }
    }
    text
}

fn answer(explained: &Explained) -> String {
    let told = &explained.explanation;
    let code = told.code.as_deref().unwrap_or("none");
    match told.does {
        Does::Answers if told.addresses.is_empty() && told.rule != Rule::Reverse => {
            format!("{code}, from the mesh, without such a record")
        }
        Does::Answers if told.addresses.is_empty() => format!("{code}, from the mesh"),
        Does::Answers => {
            let all: Vec<_> = told.addresses.iter().map(ToString::to_string).collect();
            format!("{code}, from the mesh: {}", all.join(" "))
        }
        Does::Refuses => format!("{code}, refused"),
        Does::Relays => "what other resolvers say, or said lately".to_owned(),
        Does::Drops => "none".to_owned(),
    }
}

fn rule(explained: &Explained) -> String {
    let told = &explained.explanation;
    let matched = told.matched.as_deref().unwrap_or_default();
    match told.rule {
        Rule::Host => "it is a host of the mesh".to_owned(),
        Rule::Alias => format!("{matched} is another name of a host of the mesh"),
        Rule::Wildcard => format!("{matched} is in the mesh"),
        Rule::Port => format!("{matched} is a host of the mesh, whose ports are not told by DNS"),
        Rule::Reverse => format!("it is the address of {matched}"),
        Rule::Excluded => format!("dns.exclude keeps the mesh out of {matched}"),
        Rule::Unknown => {
            "the mesh does not know it; `hawser dns table FILTER` lists what it knows".to_owned()
        }
        Rule::NoTable => "nothing is known of the mesh yet; `hawser status` says why".to_owned(),
    }
}

/// Where the names are from, and how old they are.
pub(in crate::cli) fn table(table: Option<&TableStatus>) -> String {
    let Some(table) = table else { return "none yet".to_owned() };
    let ago = span(now() - table.at.cast_signed());
    if table.stale {
        format!("{} hosts, kept; istiod said so {ago} ago, and has not since", table.hosts)
    } else {
        format!("{} hosts, from istiod {ago} ago", table.hosts)
    }
}

/// Who would be asked, and how it does.
pub(in crate::cli) fn resolver(resolver: &ResolverStatus) -> String {
    let ResolverStatus { address, transport, state, .. } = resolver;
    let mut text = match transport.as_str() {
        "udp" => format!("{address} {state}"),
        other => format!("{address} over {other} {state}"),
    };
    if let Some(program) = &resolver.program {
        text.push_str(&format!(" ({program})"));
    }
    if let Some(us) = resolver.srtt_us {
        text.push_str(&format!(", {:.1} ms", f64::from(us) / 1e3));
    }
    if resolver.asked > 0 {
        text.push_str(&format!(", {} of {} answered", resolver.answered, resolver.asked));
    }
    if resolver.looping {
        text.push_str("; what it is asked comes back here, so it is not asked: see dns.upstreams");
    } else if let Some(error) = resolver.last_error.as_ref().filter(|_| state == "silent") {
        text.push_str(&format!("; {error}"));
    }
    text
}
