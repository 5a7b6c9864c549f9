//! Tests of canaries: which come back, which do not count, and what a patrol makes of it.

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::advance;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::message::{Query, kind};
use crate::name::Name;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_canary_is_a_question_like_any_other() {
    let canary = Loops::new().canary(address("127.0.0.53:53"));

    let query = Query::parse(&canary).unwrap();
    assert_eq!((query.kind, query.question_end), (kind::A, canary.len()));
    let name = Name::read(&canary, HEADER).unwrap();
    assert_eq!(name.labels(), 4);
    assert!(name.ends_with(&Name::parse("hawser-loop.example.com").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_returns_tells_whom_it_was_sent_to() {
    let loops = Loops::new();
    let (stub, other) = (address("127.0.0.53:53"), address("192.0.2.1:53"));
    let (canary, lost) = (loops.canary(stub), loops.canary(other));
    let from = address("127.0.0.1:40000");

    let mut played_with = canary.clone();
    played_with[0] ^= 0xff;
    played_with[HEADER..].make_ascii_uppercase();
    played_with.extend_from_slice(b"an OPT record, say");
    assert_eq!(loops.came_back(&played_with, from), Some(stub));
    assert_eq!(loops.came_back(&canary, from), Some(stub));
    let found = loops.looping();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].resolver, found[0].from), (stub, from));

    advance(LIFE).await;
    assert_eq!(loops.came_back(&lost, from), None, "too late");
}

#[tokio::test]
async fn nothing_else_is_taken_for_a_canary() {
    let (loops, strangers) = (Loops::new(), Loops::new());
    let stub = address("127.0.0.53:53");
    let canary = loops.canary(stub);
    for len in 0..canary.len() - QUESTION.len() {
        assert_eq!(loops.came_back(&canary[..len], stub), None, "{len} octets");
    }
    for at in HEADER..canary.len() - QUESTION.len() {
        let mut changed = canary.clone();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(loops.came_back(&changed, stub), None, "octet {at}");
    }
    assert_eq!(loops.came_back(&strangers.canary(stub), stub), None, "of another agent");
    assert!(loops.looping().is_empty());
}

#[tokio::test]
async fn no_more_canaries_are_remembered_than_there_is_room_for() {
    let loops = Loops::new();
    let stub = address("127.0.0.53:53");
    let first = loops.canary(stub);
    let canaries: Vec<_> = (0..MOST).map(|_| loops.canary(stub)).collect();

    assert_eq!(loops.came_back(&first, stub), None);
    for canary in canaries {
        assert_eq!(loops.came_back(&canary, stub), Some(stub));
    }
    for port in 1..=u16::try_from(2 * MOST).unwrap() {
        loops.suspect(SocketAddr::new(stub.ip(), port));
    }
    assert_eq!(loops.suspects.load().len(), MOST);
}

/// A patrol and what it has told.
struct Rig {
    loops: Arc<Loops>,
    resolvers: watch::Sender<Vec<SocketAddr>>,
    told: mpsc::Receiver<Vec<SocketAddr>>,
    _parts: JoinSet<()>,
}

impl Rig {
    fn new(resolvers: Vec<SocketAddr>) -> Self {
        let loops = Arc::new(Loops::new());
        let (resolvers, listed) = watch::channel(resolvers);
        let (tell, told) = mpsc::channel(16);
        let mark = move |looping: &[Loop]| {
            tell.try_send(looping.iter().map(|known| known.resolver).collect()).unwrap();
        };
        let own = vec![address("127.0.0.1:53")];
        let rounds = Patrol { loops: Arc::clone(&loops), resolvers: listed, own, mark };
        let mut parts = JoinSet::new();
        parts.spawn(patrol(rounds, CancellationToken::new()));
        Self { loops, resolvers, told, _parts: parts }
    }
}

/// A resolver, and the canary that it hears next.
async fn hears(resolver: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut packet = [0; 512];
    let (len, from) = resolver.recv_from(&mut packet).await.unwrap();
    (packet[..len].to_vec(), from)
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_leads_back_is_told_of_once_and_again_when_it_does_not() {
    let stub = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let sound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (bad, good) = (stub.local_addr().unwrap(), sound.local_addr().unwrap());
    let mut rig = Rig::new(vec![good, bad]);

    let (canary, from) = hears(&stub).await;
    assert_eq!(rig.loops.came_back(&canary, from), Some(bad));
    assert_eq!(rig.told.recv().await.unwrap(), [bad]);

    // A minute later it still does, which is no news.
    let (canary, from) = hears(&stub).await;
    assert_eq!(rig.loops.came_back(&canary, from), Some(bad));
    hears(&stub).await;
    assert_eq!(rig.told.recv().await.unwrap(), [], "the third one did not return");
    hears(&sound).await;
    assert!(sound.try_recv(&mut [0; 512]).is_err(), "one that is sound was asked once");
}

#[tokio::test(start_paused = true)]
async fn resolvers_are_looked_at_when_they_are_listed_and_when_they_are_suspected() {
    let first = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let second = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (one, two) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    let mut rig = Rig::new(vec![one]);
    hears(&first).await;

    rig.resolvers.send_replace(vec![two]);
    hears(&second).await;

    rig.loops.suspect(two);
    let (canary, from) = hears(&second).await;
    assert_eq!(rig.loops.came_back(&canary, from), Some(two));
    assert_eq!(rig.told.recv().await.unwrap(), [two]);
    assert!(first.try_recv(&mut [0; 512]).is_err(), "nobody suspects the other one");
}
