//! A tiny DNS client.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::http1;

const LIMIT: Duration = Duration::from_secs(10);

/// How a query travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection of its own.
    Tcp,
}

/// A query to be sent.
#[derive(Debug, Clone)]
pub struct Dig<'a> {
    /// The name, with or without trailing dot; never completed.
    pub name: &'a str,
    /// The type.
    pub kind: RecordType,
    /// The way.
    pub transport: Transport,
    /// The UDP size to advertise; none sends no OPT.
    pub edns: Option<u16>,
}

impl<'a> Dig<'a> {
    /// Asks for IPv4 addresses by UDP.
    #[must_use]
    pub fn a(name: &'a str) -> Self {
        Self { name, kind: RecordType::A, transport: Transport::Udp, edns: None }
    }

    /// The same by another way.
    #[must_use]
    pub fn by(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// The same for another type.
    #[must_use]
    pub fn kind(self, kind: RecordType) -> Self {
        Self { kind, ..self }
    }

    /// Sends it once and waits for the answer.
    ///
    /// # Errors
    /// When there is none within ten seconds, or it does not belong to the query.
    pub async fn ask(&self, server: SocketAddr) -> Result<Answer> {
        self.ask_from(http1::unspecified(server), server).await
    }

    /// The same from one of the addresses of this machine.
    ///
    /// # Errors
    /// As above.
    pub async fn ask_from(&self, own: IpAddr, server: SocketAddr) -> Result<Answer> {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        // From ASCII, so that the case of the letters stays.
        let mut name = Name::from_ascii(self.name).context("read name")?;
        name.set_fqdn(true);
        query.add_query(Query::query(name, self.kind));
        if let Some(size) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            query.set_edns(edns);
        }
        let bytes = query.to_vec().context("write query")?;
        let exchange = async {
            match self.transport {
                Transport::Udp => by_udp(own, server, &bytes).await,
                Transport::Tcp => by_tcp(own, server, &bytes).await,
            }
        };
        let what = || format!("ask {server} for {} {}", self.name, self.kind);
        let bytes = timeout(LIMIT, exchange).await.with_context(what)?.with_context(what)?;
        let message = Message::from_vec(&bytes).with_context(what)?;
        ensure!(message.metadata.id == query.metadata.id, "{} has answered another query", server);
        Ok(Answer { message, size: bytes.len() })
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The whole of it.
    pub message: Message,
    /// How many bytes it had.
    pub size: usize,
}

impl Answer {
    /// Its code.
    #[must_use]
    pub fn code(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// The addresses in it, in their order.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |data: &RData| match data {
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            _ => None,
        };
        self.message.answers.iter().filter_map(|record| address(&record.data)).collect()
    }
}

async fn by_udp(own: IpAddr, server: SocketAddr, query: &[u8]) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let length = socket.recv(&mut buffer).await?;
    buffer.truncate(length);
    Ok(buffer)
}

async fn by_tcp(own: IpAddr, server: SocketAddr, query: &[u8]) -> Result<Vec<u8>> {
    let mut stream = http1::connect(own, server).await?;
    let length = u16::try_from(query.len())?.to_be_bytes();
    stream.write_all(&[&length[..], query].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}
