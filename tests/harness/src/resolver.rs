//! A resolver outside the mesh: what stands in resolv.conf of a machine.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dig::Transport;
use crate::wait::until;

const TTL: u32 = 60;
const TRIES: usize = 20;
/// How names end that an agent makes up to find out whether its question comes back.
const CANARY: &str = ".hawser-loop.example.com.";

/// What the resolver does with a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// Answers what it knows, and NXDOMAIN to everything else.
    #[default]
    Answers,
    /// Hears and says nothing.
    Mute,
    /// Says this to everything.
    Fails(ResponseCode),
}

/// One query as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its name as it was spelled, with the trailing dot.
    pub name: String,
    /// Its type.
    pub kind: RecordType,
    /// How it came.
    pub transport: Transport,
    /// The UDP size that the client can take, if it said so.
    pub edns: Option<u16>,
}

/// The server; it ends when it is dropped.
pub struct Resolver {
    addr: SocketAddr,
    zone: Arc<Zone>,
    _tasks: JoinSet<()>,
}

struct Zone {
    records: Mutex<BTreeMap<(String, RecordType), Vec<RData>>>,
    manner: Mutex<Manner>,
    heard: watch::Sender<Vec<Heard>>,
}

impl Resolver {
    /// Starts on one free port of 127.0.0.1, for UDP and TCP.
    ///
    /// # Errors
    /// When there is no port that is free for both.
    pub async fn start() -> Result<Self> {
        let (udp, tcp) = sockets().await?;
        Self::on(udp, tcp)
    }

    /// Starts on an address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn start_at(addr: SocketAddr) -> Result<Self> {
        let udp = UdpSocket::bind(addr).await.context("bind UDP")?;
        Self::on(udp, TcpListener::bind(addr).await.context("bind TCP")?)
    }

    fn on(udp: UdpSocket, tcp: TcpListener) -> Result<Self> {
        let addr = udp.local_addr()?;
        let zone = Arc::new(Zone {
            records: Mutex::default(),
            manner: Mutex::default(),
            heard: watch::Sender::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&zone)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        Ok(Self { addr, zone, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Adds an address to a name.
    pub fn address(&self, name: &str, ip: IpAddr) {
        let (kind, data) = match ip {
            IpAddr::V4(ip) => (RecordType::A, RData::A(ip.into())),
            IpAddr::V6(ip) => (RecordType::AAAA, RData::AAAA(ip.into())),
        };
        self.record(name, kind, data);
    }

    /// Adds a record of any type to a name.
    pub fn record(&self, name: &str, kind: RecordType, data: RData) {
        self.zone.records.lock().entry((key(name), kind)).or_default().push(data);
    }

    /// Changes what it does with queries.
    pub fn manner(&self, manner: Manner) {
        *self.zone.manner.lock() = manner;
    }

    /// Every query so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.zone.heard.borrow().clone()
    }

    /// Waits until it has heard something.
    ///
    /// # Errors
    /// After [`crate::wait::PATIENCE`].
    pub async fn until(
        &self,
        what: &str,
        done: impl FnMut(&Vec<Heard>) -> bool,
    ) -> Result<Vec<Heard>> {
        until(what, &mut self.zone.heard.subscribe(), done).await
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Zone {
    /// The answer to a query; none if it is not one, or there is to be silence.
    fn answer(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?.clone();
        let edns = query.edns.as_ref().map(Edns::max_payload);
        let name = question.name().to_ascii();
        // An agent that looks for loops asks by itself; tests are about what programs ask.
        if !name.ends_with(CANARY) {
            let heard = Heard { name, kind: question.query_type(), transport, edns };
            self.heard.send_modify(|all| all.push(heard));
        }
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.recursion_desired = query.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(question.clone());
        match *self.manner.lock() {
            Manner::Mute => return None,
            Manner::Fails(code) => reply.metadata.response_code = code,
            Manner::Answers => self.look_up(question.name(), question.query_type(), &mut reply),
        }
        if edns.is_some() {
            let mut own = Edns::new();
            own.set_max_payload(4096);
            reply.set_edns(own);
        }
        let bytes = reply.to_vec().ok()?;
        let room = match transport {
            Transport::Udp => usize::from(edns.unwrap_or(512).max(512)),
            Transport::Tcp => usize::from(u16::MAX),
        };
        if bytes.len() <= room { Some(bytes) } else { reply.truncate().to_vec().ok() }
    }

    fn look_up(&self, name: &Name, kind: RecordType, reply: &mut Message) {
        let records = self.records.lock();
        let lower = key(&name.to_ascii());
        if let Some(found) = records.get(&(lower.clone(), kind)) {
            let record = |data: &RData| Record::from_rdata(name.clone(), TTL, data.clone());
            reply.add_answers(found.iter().map(record));
        } else if !records.keys().any(|(known, _)| *known == lower) {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
    }
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// A UDP and a TCP socket on the same number.
async fn sockets() -> Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..TRIES {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind UDP")?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no try"), Into::into))
        .context("find a port that is free for UDP and TCP")
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let query = buffer.get(..length).unwrap_or_default();
        if let Some(reply) = zone.answer(query, Transport::Udp) {
            // A client that is gone needs no answer.
            let _gone = socket.send_to(&reply, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let zone = Arc::clone(&zone);
        connections.spawn(async move {
            // How a connection ends is the client's business.
            let _end = converse(stream, &zone).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(mut stream: TcpStream, zone: &Zone) -> std::io::Result<()> {
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        if let Some(reply) = zone.answer(&query, Transport::Tcp) {
            let length = u16::try_from(reply.len()).unwrap_or(u16::MAX);
            stream.write_all(&[&length.to_be_bytes()[..], &reply].concat()).await?;
        }
    }
}
