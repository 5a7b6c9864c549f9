//! Another resolver, on real sockets, that says what a test wants it to say.

use std::net::SocketAddr;
use std::sync::Arc;

use hawser_dns::answer::Transport;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// A query as it came to the resolver.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) packet: Vec<u8>,
    pub(crate) peer: SocketAddr,
    pub(crate) transport: Transport,
    back: Back,
}

/// The way back to who has asked.
#[derive(Clone, Debug)]
enum Back {
    Udp(Arc<UdpSocket>),
    Tcp(Arc<Mutex<OwnedWriteHalf>>),
}

impl Asked {
    /// Sends a message to who has asked.
    pub(crate) async fn reply(&self, message: &[u8]) {
        match &self.back {
            Back::Udp(socket) => {
                socket.send_to(message, self.peer).await.unwrap();
            }
            Back::Tcp(stream) => {
                let len = u16::try_from(message.len()).unwrap().to_be_bytes();
                stream.lock().await.write_all(&[&len, message].concat()).await.unwrap();
            }
        }
    }
}

/// What stands in the questions of a proxy that looks for loops.
const CANARY: &[u8] = b"hawser-loop";

/// What the resolver sends when it is asked: nothing, one message, or several.
type Behaviour = dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync;

/// A resolver that runs until it is dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
    running: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn start(
        behaviour: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (tell, asked) = mpsc::channel(10_000);
        let mut running = JoinSet::new();
        running.spawn(serve_udp(udp, Arc::clone(&behaviour), tell.clone()));
        running.spawn(serve_tcp(tcp, behaviour, tell));
        Self { address, asked, running }
    }

    /// The resolver of the catalogue.
    pub(crate) async fn of_the_catalogue() -> Self {
        Self::start(|asked| vec![catalogue(&asked.packet)]).await
    }

    /// One that takes queries and never says anything.
    pub(crate) async fn mute() -> Self {
        Self::start(|_| Vec::new()).await
    }

    /// One that knows every name by this address.
    pub(crate) async fn knowing(address: [u8; 4]) -> Self {
        Self::start(move |asked| vec![with_addresses(&asked.packet, &[address], None)]).await
    }

    /// One that answers with this code and nothing else.
    pub(crate) async fn saying(code: ResponseCode) -> Self {
        Self::start(move |asked| vec![with_code(&asked.packet, code)]).await
    }

    /// The next query that has come.
    pub(crate) async fn asked(&mut self) -> Asked {
        self.asked.recv().await.unwrap()
    }

    /// Whether a query has come that was not looked at.
    pub(crate) fn was_asked(&mut self) -> bool {
        self.asked.try_recv().is_ok()
    }

    /// Ends the resolver: its ports are free.
    pub(crate) async fn end(mut self) -> SocketAddr {
        self.running.shutdown().await;
        self.address
    }
}

async fn serve_udp(socket: UdpSocket, behaviour: Arc<Behaviour>, tell: mpsc::Sender<Asked>) {
    let socket = Arc::new(socket);
    let mut packet = vec![0; 65535];
    loop {
        let (len, peer) = socket.recv_from(&mut packet).await.unwrap();
        let packet = packet[..len].to_vec();
        if is_canary(&packet) {
            continue;
        }
        let back = Back::Udp(Arc::clone(&socket));
        let asked = Asked { packet, peer, transport: Transport::Udp, back };
        // A proxy that looks for loops asks before anybody has asked it.
        if asked.packet.windows(CANARY.len()).any(|octets| octets == CANARY) {
            continue;
        }
        tell.send(asked.clone()).await.unwrap();
        for message in behaviour(&asked) {
            asked.reply(&message).await;
        }
    }
}

/// Whether this is a query by which the proxy finds out if a resolver leads back to it.
pub(crate) fn is_canary(packet: &[u8]) -> bool {
    packet.windows(11).any(|octets| octets == b"hawser-loop")
}

async fn serve_tcp(listener: TcpListener, behaviour: Arc<Behaviour>, tell: mpsc::Sender<Asked>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        connections.spawn(converse(stream, peer, Arc::clone(&behaviour), tell.clone()));
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    behaviour: Arc<Behaviour>,
    tell: mpsc::Sender<Asked>,
) {
    let (mut read, write) = stream.into_split();
    let write = Arc::new(Mutex::new(write));
    while let Ok(len) = read.read_u16().await {
        let mut packet = vec![0; usize::from(len)];
        read.read_exact(&mut packet).await.unwrap();
        let back = Back::Tcp(Arc::clone(&write));
        let asked = Asked { packet, peer, transport: Transport::Tcp, back };
        tell.send(asked.clone()).await.unwrap();
        for message in behaviour(&asked) {
            asked.reply(&message).await;
        }
    }
}

/// A reply to a query, without records.
fn reply(packet: &[u8]) -> Message {
    let query = Message::from_vec(packet).unwrap();
    let mut reply = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(query.queries);
    reply
}

pub(crate) fn with_code(packet: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = reply(packet);
    reply.metadata.response_code = code;
    reply.to_vec().unwrap()
}

/// A reply with these addresses, of `owner` or of the name that was asked.
pub(crate) fn with_addresses(packet: &[u8], ips: &[[u8; 4]], owner: Option<&str>) -> Vec<u8> {
    let mut reply = reply(packet);
    let owner = match owner {
        Some(owner) => Name::from_ascii(owner).unwrap(),
        None => reply.queries[0].name().clone(),
    };
    for &[a, b, c, d] in ips {
        reply.add_answer(Record::from_rdata(owner.clone(), 60, RData::A(A::new(a, b, c, d))));
    }
    reply.to_vec().unwrap()
}

fn catalogue(packet: &[u8]) -> Vec<u8> {
    let name = reply(packet).queries[0].name().to_ascii().to_ascii_lowercase();
    let giant: Vec<[u8; 4]> = (0..64).map(|n| [240, 0, 0, n]).collect();
    let owner = Some("aaaaaaaaaaaa.aaaaaa.");
    match &*name {
        "www.bing.com." => with_addresses(packet, &[[1, 1, 1, 1]], None),
        "giant." => with_addresses(packet, &giant, owner),
        "giant-tc." => {
            let mut reply = with_addresses(packet, &giant[..29], owner);
            reply[2] |= 0x02;
            reply
        }
        _ => with_code(packet, ResponseCode::NXDomain),
    }
}
