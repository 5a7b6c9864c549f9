//! Tests of following the file and going around loops, both at once.

use std::path::Path;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::resolv::watch::Sources;

const AMPLE: Duration = Duration::from_secs(30);

fn put(path: &Path, text: &str) {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    file.persist(path).unwrap();
}

struct Rig {
    loops: Arc<Loops>,
    lost: Arc<Notify>,
    read: mpsc::Receiver<Resolv>,
    marked: mpsc::Receiver<Vec<SocketAddr>>,
    parts: JoinSet<()>,
    stop: CancellationToken,
}

impl Rig {
    fn new(folder: &Path, fixed: Option<Vec<SocketAddr>>) -> Self {
        let (loops, lost) = <(Arc<Loops>, Arc<Notify>)>::default();
        let sources = Sources {
            behind: folder.join("behind"),
            ..Sources::new(folder.join("resolv.conf"), Vec::new())
        };
        let follower = Follower::open(sources);
        let (tell, read) = mpsc::channel(16);
        tell.try_send(follower.now().clone()).unwrap();
        let kept = Keep {
            follower: Some(follower),
            own: Vec::new(),
            fixed,
            loops: Arc::clone(&loops),
            lost: Arc::clone(&lost),
        };
        let (mark, marked) = mpsc::channel(16);
        let put = move |read: &Resolv| tell.try_send(read.clone()).unwrap();
        let mark = move |looping: &[Loop]| {
            mark.try_send(looping.iter().map(|known| known.resolver).collect()).unwrap();
        };
        let (mut parts, stop) = (JoinSet::new(), CancellationToken::new());
        parts.spawn(keep(kept, put, mark, stop.clone()));
        Self { loops, lost, read, marked, parts, stop }
    }

    async fn servers(&mut self) -> Vec<SocketAddr> {
        timeout(AMPLE, self.read.recv()).await.unwrap().unwrap().servers
    }
}

#[tokio::test]
async fn what_is_behind_a_stub_that_loops_is_asked_instead() {
    let folder = tempfile::tempdir().unwrap();
    let stub = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = stub.local_addr().unwrap();
    put(
        &folder.path().join("resolv.conf"),
        &format!("nameserver [127.0.0.1]:{}\n", address.port()),
    );
    put(&folder.path().join("behind"), "nameserver 192.0.2.1\n");
    let mut rig = Rig::new(folder.path(), None);
    assert_eq!(rig.servers().await, [address]);

    let mut canary = [0; 512];
    let (len, from) = timeout(AMPLE, stub.recv_from(&mut canary)).await.unwrap().unwrap();
    assert_eq!(rig.loops.came_back(&canary[..len], from), Some(address));

    assert_eq!(rig.marked.recv().await.unwrap(), [address]);
    assert_eq!(rig.servers().await, ["192.0.2.1:53".parse().unwrap()]);
    rig.stop.cancel();
    timeout(AMPLE, rig.parts.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn resolvers_that_the_operator_names_are_looked_at_and_search_domains_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let named = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    put(&folder.path().join("resolv.conf"), "nameserver 192.0.2.1\nsearch old.example\n");
    let mut rig = Rig::new(folder.path(), Some(vec![named.local_addr().unwrap()]));
    assert_eq!(rig.read.recv().await.unwrap().search, ["old.example"]);
    let mut canary = [0; 512];
    timeout(AMPLE, named.recv_from(&mut canary)).await.unwrap().unwrap();

    put(&folder.path().join("resolv.conf"), "nameserver 192.0.2.1\nsearch new.example\n");

    let read = timeout(AMPLE, rig.read.recv()).await.unwrap().unwrap();
    assert_eq!(read.search, ["new.example"]);
    assert!(named.try_recv(&mut canary).is_err(), "it has not changed, so it was not asked again");
}

#[tokio::test]
async fn the_file_is_looked_at_when_nobody_replies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    put(&path, "nameserver 192.0.2.1\n");
    let mut rig = Rig::new(folder.path(), None);
    rig.servers().await;

    put(&path, "nameserver 192.0.2.2\n");
    rig.lost.notify_one();

    assert_eq!(rig.servers().await, ["192.0.2.2:53".parse().unwrap()]);
}
