//! A program that asks.

use std::net::SocketAddr;
use std::time::Duration;

use hawser_dns::answer::Transport;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

pub(crate) const A: u16 = 1;
pub(crate) const MX: u16 = 15;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;
pub(crate) const HTTPS: u16 = 65;

/// Longer than anything takes: a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A query with RD set; `payload` adds an OPT record.
pub(crate) fn query(id: u16, name: &str, kind: u16, payload: Option<u16>) -> Vec<u8> {
    let [i0, i1] = id.to_be_bytes();
    let mut packet = vec![i0, i1, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(payload.is_some())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(label.len().try_into().unwrap());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if let Some(payload) = payload {
        let [p0, p1] = payload.to_be_bytes();
        packet.extend_from_slice(&[0, 0, 41, p0, p1, 0, 0, 0, 0, 0, 0]);
    }
    packet
}

/// Reads an answer, all of it.
pub(crate) fn read(answer: &[u8]) -> Message {
    let mut decoder = BinDecoder::new(answer);
    let message = Message::read(&mut decoder).unwrap();
    assert!(decoder.is_empty(), "octets behind the message");
    message
}

/// The records of the answer section, without TTL.
pub(crate) fn lines(message: &Message) -> Vec<String> {
    let line = |record: &hickory_proto::rr::Record| {
        format!("{} {} {}", record.name, record.record_type(), record.data)
    };
    message.answers.iter().map(line).collect()
}

pub(crate) async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) async fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) {
    assert_eq!(socket.send_to(packet, to).await.unwrap(), packet.len());
}

pub(crate) async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut answer = vec![0; 65535];
    let received = timeout(PATIENCE, socket.recv(&mut answer)).await;
    answer.truncate(received.expect("an answer").unwrap());
    answer
}

pub(crate) async fn by_udp(packet: &[u8], to: SocketAddr) -> Vec<u8> {
    let socket = socket().await;
    send(&socket, packet, to).await;
    receive(&socket).await
}

pub(crate) async fn write_frame(stream: &mut TcpStream, packet: &[u8]) {
    let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len, packet].concat()).await.unwrap();
}

pub(crate) async fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let read = async {
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    };
    timeout(PATIENCE, read).await.expect("an answer")
}

pub(crate) async fn by_tcp(packet: &[u8], to: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    write_frame(&mut stream, packet).await;
    read_frame(&mut stream).await
}

pub(crate) async fn ask(packet: &[u8], to: SocketAddr, transport: Transport) -> Vec<u8> {
    match transport {
        Transport::Udp => by_udp(packet, to).await,
        Transport::Tcp => by_tcp(packet, to).await,
    }
}

/// Asks for addresses over UDP; gives the code and the records of the answer.
pub(crate) async fn resolve(name: &str, to: SocketAddr) -> (ResponseCode, Vec<String>) {
    let message = read(&by_udp(&query(4711, name, A, None), to).await);
    (message.metadata.response_code, lines(&message))
}
