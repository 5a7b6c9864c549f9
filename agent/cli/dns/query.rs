//! `hawser dns query`: asks as a program does, and shows the answer as it came.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    str::FromStr as _,
    time::{Duration, SystemTime},
};

use clap::Args;
use hickory_proto::{
    op::{Edns, Message, Query as Question, ResponseCode},
    rr::{Name, Record, RecordType},
};
use serde_json::json;

use super::explain;
use crate::{
    cli::{Context, Exit, ask, complain, say},
    config::{Config, parse, setting, source},
};

/// Ask the running agent for a name, as a program does
///
/// Ends with 0 if the name was answered, 1 if the answer is an error, 3 if nobody answers.
#[derive(Debug, Args)]
pub(in crate::cli) struct Query {
    /// The whole name, nothing is appended to it; or an address
    #[arg(value_name = "NAME", value_parser = name)]
    name: Name,
    /// The type: A, AAAA, SRV, PTR, ...; else A, and PTR of an address
    #[arg(value_name = "TYPE", value_parser = kind)]
    kind: Option<RecordType>,
    /// Over TCP; else over UDP, and TCP where that is too little
    #[arg(long)]
    tcp: bool,
    /// Another server than the agent: ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS", value_parser = server)]
    server: Option<SocketAddr>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What came back.
struct Answer {
    message: Message,
    size: usize,
    took: Duration,
    tcp: bool,
}

impl Query {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let (name, kind) = (&self.name, self.kind.unwrap_or_else(|| usual(&self.name)));
        let Some(server) = self.server.or_else(|| listening(context)) else {
            complain(
                "hawser: this agent answers no names: dns.enabled is false, or identity.only is true",
            );
            return Exit::Failed;
        };
        let answer = match asked(server, name, kind, self.tcp) {
            Ok(answer) => answer,
            Err(error) => {
                complain(format_args!("hawser: no answer from {server}: {error}"));
                if self.server.is_none() {
                    complain("hawser: is it running? `hawser status` says");
                }
                return Exit::Down;
            }
        };
        // Only the agent can say where it had that from.
        let from = match self.server {
            None => explain::source(context, name, kind),
            Some(_) => None,
        };
        if self.json {
            say(as_json(&answer, server, from.as_deref()));
        } else {
            say(screen(&answer, server, from.as_deref()).trim_end());
        }
        match answer.message.metadata.response_code {
            ResponseCode::NoError => Exit::Ok,
            _ => Exit::Failed,
        }
    }
}

/// The addresses that the agent answers for a name, those of IPv4 first; the code, if it is an error.
pub(in crate::cli) fn addresses(context: &Context, name: &Name) -> Result<Vec<IpAddr>, String> {
    let server = listening(context).ok_or("this agent answers no names")?;
    let mut found = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        let answer = asked(server, name, kind, false).map_err(|error| error.to_string())?;
        if answer.message.metadata.response_code != ResponseCode::NoError {
            return Err(code(&answer.message));
        }
        found.extend(answer.message.answers.iter().filter_map(|record| record.data.ip_addr()));
    }
    Ok(found)
}

/// Where the agent answers: as it says itself, or else as it was told.
fn listening(context: &Context) -> Option<SocketAddr> {
    let running = ask::quietly(&context.paths).and_then(|snapshot| snapshot.dns);
    if let Some(dns) = running {
        return dns.listen.first().copied().map(here);
    }
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    let config = Config::load(&context.paths, &sources).ok();
    match config {
        Some(config) => config.dns?.listen.first().copied().map(here),
        // Who may not read everything can still ask.
        None => {
            let said = sources.values.setting(setting::find("dns.listen")?);
            parse::sockets(&said.value)?.first().copied().map(here)
        }
    }
}

/// The address to ask of one that is listened on.
fn here(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

fn asked(server: SocketAddr, name: &Name, kind: RecordType, tcp: bool) -> io::Result<Answer> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Question::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    query.set_edns(edns);
    let octets = query.to_vec().map_err(io::Error::other)?;
    let started = SystemTime::now();
    let answer = |reply: &[u8], tcp: bool| {
        let message = Message::from_vec(reply).map_err(io::Error::other)?;
        let took = started.elapsed().unwrap_or_default();
        Ok(Answer { message, size: reply.len(), took, tcp })
    };
    if !tcp {
        let answer: Answer = answer(&by_udp(server, &octets)?, false)?;
        if !answer.message.metadata.truncation {
            return Ok(answer);
        }
    }
    answer(&by_tcp(server, &octets)?, true)
}

fn by_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut reply = vec![0; usize::from(u16::MAX)];
    let mut tried = 0;
    loop {
        socket.send(query)?;
        match socket.recv(&mut reply) {
            Ok(len) if reply.get(..2) == query.get(..2) => {
                reply.truncate(len);
                return Ok(reply);
            }
            // Not the answer to this.
            Ok(_) => {}
            Err(error) if tried < TRIES && error.kind() == io::ErrorKind::WouldBlock => tried += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
}

fn by_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    let len = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), query].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

fn screen(answer: &Answer, server: SocketAddr, from: Option<&str>) -> String {
    let message = &answer.message;
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<10} {value}\n"));
    row("status", format!("{} ({})", code(message), flags(message).join(" ")));
    let sections = [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ];
    for (name, records) in sections {
        let mut name = name;
        for Record { name: owner, data, ttl, .. } in records {
            let kind = data.record_type();
            row(std::mem::take(&mut name), format!("{owner} {ttl} {kind} {data}"));
        }
    }
    let by = if answer.tcp { "TCP" } else { "UDP" };
    let took = answer.took.as_secs_f64() * 1e3;
    row("took", format!("{took:.1} ms, {} bytes from {server} over {by}", answer.size));
    if let Some(from) = from {
        row("from", from.to_owned());
    }
    text
}

fn as_json(answer: &Answer, server: SocketAddr, from: Option<&str>) -> serde_json::Value {
    let message = &answer.message;
    let records = |records: &[Record]| -> Vec<_> {
        records
            .iter()
            .map(|record| {
                json!({
                    "name": record.name.to_string(),
                    "ttl": record.ttl,
                    "type": record.data.record_type().to_string(),
                    "data": record.data.to_string(),
                })
            })
            .collect()
    };
    json!({
        "status": code(message),
        "flags": flags(message),
        "answer": records(&message.answers),
        "authority": records(&message.authorities),
        "additional": records(&message.additionals),
        "took_ms": answer.took.as_secs_f64() * 1e3,
        "bytes": answer.size,
        "server": server.to_string(),
        "transport": if answer.tcp { "tcp" } else { "udp" },
        "from": from,
    })
}

/// The code, by the name that everybody knows.
fn code(message: &Message) -> String {
    let word = match message.metadata.response_code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        other => return other.to_string(),
    };
    word.to_owned()
}

fn flags(message: &Message) -> Vec<&'static str> {
    let told = &message.metadata;
    let all = [
        (told.authoritative, "aa"),
        (told.truncation, "tc"),
        (told.recursion_desired, "rd"),
        (told.recursion_available, "ra"),
        (told.authentic_data, "ad"),
        (told.checking_disabled, "cd"),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
}

/// What is asked for where nobody says: of an address its name.
pub(super) fn usual(name: &Name) -> RecordType {
    let text = name.to_ascii().to_ascii_lowercase();
    let reverse = text.ends_with(".in-addr.arpa.") || text.ends_with(".ip6.arpa.");
    if reverse { RecordType::PTR } else { RecordType::A }
}

/// A name, or an address turned around.
pub(in crate::cli) fn name(text: &str) -> Result<Name, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let mut name = Name::from_ascii(text).or_else(|_| Name::from_utf8(text)).map_err(wrong)?;
    name.set_fqdn(true);
    Ok(name)
}

fn wrong(error: impl std::fmt::Display) -> String {
    format!("this is no name: {error}")
}

pub(super) fn kind(text: &str) -> Result<RecordType, String> {
    let upper = text.to_ascii_uppercase();
    let numbered = upper.strip_prefix("TYPE").and_then(|number| number.parse::<u16>().ok());
    match numbered {
        Some(number) => Ok(number.into()),
        None => RecordType::from_str(&upper).map_err(|_unknown| {
            "expected a type as A, AAAA, SRV, PTR, or TYPE and a number".to_owned()
        }),
    }
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53));
    parse::socket(text)
        .or(address.ok())
        .ok_or_else(|| "expected ADDRESS or ADDRESS:PORT".to_owned())
}

/// What every resolver and every way takes.
const PAYLOAD: u16 = 1232;
const PATIENCE: Duration = Duration::from_secs(3);
const TRIES: usize = 2;
