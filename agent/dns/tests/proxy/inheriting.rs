//! Sockets that outlive the agent: kept by the service manager, handed to the next.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use hawser_dns::{Error, Sockets, Upstreams};
use hawser_rt::{Notifier, notify::Handed};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::net::TcpStream;

use crate::client::{A, lines, query, read, read_frame, receive, send, socket, write_frame};
use crate::fixture::{Proxy, mesh};

const LONG: Duration = Duration::from_secs(600);

/// A service manager that keeps what it is given.
struct Manager {
    socket: UnixDatagram,
    notifier: Notifier,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let notifier = Notifier::new(Some(path.into()), None).unwrap();
        Self { socket, notifier, _folder: folder }
    }

    /// What it has been given so far.
    fn kept(&self) -> Vec<Handed> {
        let mut all = Vec::new();
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut text = [0; 512];
            let parts = &mut [IoSliceMut::new(&mut text)];
            let Ok(told) = recvmsg(&self.socket, parts, &mut control, RecvFlags::empty()) else {
                return all;
            };
            let told = std::str::from_utf8(&text[..told.bytes]).unwrap();
            let name = told.strip_prefix("FDSTORE=1\nFDNAME=").unwrap();
            let name = name.strip_suffix("\nFDPOLL=0").unwrap().to_owned();
            assert!(!name.contains([':', '\n']), "{name}");
            let rights = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
                _ => None,
            });
            all.push(Handed { name, fd: rights.unwrap() });
        }
    }
}

async fn start(sockets: Sockets) -> Proxy {
    let proxy = Proxy::start_with(sockets, Upstreams::Fixed(Vec::new()), LONG).await;
    proxy.publish(mesh()).await;
    proxy
}

/// Asks from many ports, so that every socket is asked.
async fn all_are_answered(address: SocketAddr) {
    for id in 0..40 {
        let client = socket().await;
        send(&client, &query(id, "productpage", A, None), address).await;
        assert_eq!(lines(&read(&receive(&client).await)), ["productpage. A 9.9.9.9"]);
    }
}

#[tokio::test]
async fn what_is_asked_while_nobody_serves_is_answered_by_the_next() {
    let manager = Manager::new();
    let sockets = Sockets::open(&["127.0.0.1:0".parse().unwrap()], 2).unwrap();
    sockets.fresh(|name, fd| manager.notifier.store(name, fd));
    let kept = manager.kept();
    assert_eq!(kept.len(), 3, "two for datagrams, one for streams");
    let first = start(sockets).await;
    let address = first.address;
    all_are_answered(address).await;
    first.end().await;

    let mut waiting = Vec::new();
    for id in 0..40 {
        let client = socket().await;
        client.connect(address).await.unwrap();
        client.send(&query(id, "productpage", A, None)).await.unwrap();
        waiting.push(client);
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    write_frame(&mut stream, &query(7, "productpage", A, None)).await;

    let (sockets, unfit) = Sockets::inherit(&[address], 2, kept).unwrap();
    assert!(unfit.is_empty(), "{unfit:?}");
    sockets.fresh(|name, _| panic!("{name} is not new"));
    let second = start(sockets).await;
    for (id, client) in waiting.iter().enumerate() {
        // Whether it knew the names already is another question.
        assert_eq!(usize::from(read(&receive(client).await).metadata.id), id);
    }
    read_frame(&mut stream).await;
    all_are_answered(address).await;
    second.end().await;
}

#[tokio::test]
async fn there_may_be_fewer_or_more_sockets_than_workers() {
    for (before, after) in [(1, 3), (3, 1), (4, 3)] {
        let manager = Manager::new();
        let sockets = Sockets::open(&["127.0.0.1:0".parse().unwrap()], before).unwrap();
        let address = sockets.local_addrs()[0];
        sockets.fresh(|name, fd| manager.notifier.store(name, fd));
        drop(sockets);

        let (sockets, unfit) = Sockets::inherit(&[address], after, manager.kept()).unwrap();
        let mut new = 0;
        sockets.fresh(|_, _| new += 1);
        assert_eq!((unfit.len(), new), (0, after.max(before) - before));
        let proxy = start(sockets).await;
        all_are_answered(address).await;
        proxy.end().await;
    }
}

#[test]
fn what_fits_no_address_is_given_back() {
    let sockets = Sockets::open(&["127.0.0.1:0".parse().unwrap()], 1).unwrap();
    let address = sockets.local_addrs()[0];
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(address).unwrap();
    let (local, _) = UnixDatagram::pair().unwrap();
    let handed = |name: &str, fd: OwnedFd| Handed { name: name.to_owned(), fd };
    let file = std::fs::File::open("/dev/null").unwrap();
    let all = vec![
        handed("elsewhere", other.into()),
        handed("connection", connected.into()),
        handed("local", local.into()),
        handed("file", file.into()),
    ];
    drop(sockets);

    let (again, unfit) = Sockets::inherit(&[address], 1, all).unwrap();

    let names: Vec<_> = unfit.iter().map(|handed| &*handed.name).collect();
    assert_eq!(names, ["elsewhere", "connection", "local", "file"]);
    assert_eq!(again.local_addrs(), [address]);
}

#[test]
fn an_address_of_several_workers_is_nobody_elses() {
    let taken = Sockets::open(&["127.0.0.1:0".parse().unwrap()], 3).unwrap();
    let address = taken.local_addrs()[0];
    for workers in [1, 3] {
        let error = Sockets::open(&[address], workers).unwrap_err();
        assert!(matches!(error, Error::AddressTaken { .. }), "{error}");
    }
}
