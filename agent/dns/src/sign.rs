//! A sign of life: a question that the proxy answers by itself, asked as any program asks.
//!
//! It is none about a name, so that the answer depends on nothing but the way: socket, thread and
//! socket. Nobody else has a use for this operation (STATUS of RFC 1035), and it is not counted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::message::{HEADER, flag};

/// The operation STATUS, where the third octet of a header has it.
const STATUS: u8 = 2 << 3;
/// A datagram may be lost where many come in.
const AGAIN: Duration = Duration::from_secs(1);

/// Returns when the proxy that listens on `address` has answered; asks for as long as that takes.
/// Cancel safe.
pub async fn of_life(address: SocketAddr) -> io::Result<()> {
    let (any, here): (IpAddr, IpAddr) = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
    };
    let mut to = address;
    if address.ip().is_unspecified() {
        to.set_ip(here);
    }
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    let question = question(fastrand::u16(..));
    loop {
        socket.send(&question).await?;
        let answered = async {
            let mut answer = [0; HEADER];
            loop {
                let length = socket.recv(&mut answer).await?;
                if length == HEADER && is_answer(&question, &answer) {
                    return io::Result::Ok(());
                }
            }
        };
        if let Ok(answered) = timeout(AGAIN, answered).await {
            return answered;
        }
    }
}

/// Whether this is such a question.
pub(crate) fn is_question(packet: &[u8]) -> bool {
    let Some([_, _, high, low, counts @ ..]) = packet.first_chunk::<HEADER>() else { return false };
    packet.len() == HEADER && (*high, *low, *counts) == (STATUS, 0, [0; 8])
}

fn question(id: u16) -> [u8; HEADER] {
    let [first, second] = id.to_be_bytes();
    [first, second, STATUS, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn is_answer(question: &[u8; HEADER], answer: &[u8; HEADER]) -> bool {
    let ([a, b, ..], [c, d, high, ..]) = (question, answer);
    (a, b) == (c, d) && high & flag::RESPONSE != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_told_from_those_of_others() {
        let ours = question(0x1234);
        assert!(is_question(&ours));
        let mut query = ours;
        query[2] = 1;
        let mut longer = ours.to_vec();
        longer.push(0);
        for other in [&query[..], &longer, &ours[..11], &[]] {
            assert!(!is_question(other), "{other:?}");
        }
    }

    #[test]
    fn an_answer_is_one_to_this_question() {
        let ours = question(0x1234);
        let mut answer = ours;
        answer[2] |= flag::RESPONSE;
        assert!(is_answer(&ours, &answer));
        assert!(!is_answer(&ours, &ours), "its own echo is none");
        assert!(!is_answer(&question(0x1235), &answer));
    }
}
