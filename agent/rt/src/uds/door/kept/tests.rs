//! Doors that outlive the process, by a service manager that keeps what it is given.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::PathBuf,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use super::*;
use crate::notify::Handed;

/// A service manager, and what it has in keeping.
struct Manager {
    directory: TempDir,
    socket: UnixDatagram,
    kept: Vec<(String, OwnedFd)>,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { directory, socket, kept: Vec::new() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("xds.sock")
    }

    /// What a new life of the process is given.
    fn notifier(&mut self) -> Notifier {
        let notify = self.directory.path().join("notify");
        let notifier = Notifier::new(Some(notify.into()), None).unwrap().keeping(Some("16"));
        let handed = self
            .kept
            .iter()
            .map(|(name, fd)| Handed { name: name.clone(), fd: fd.try_clone().unwrap() });
        notifier.with_handed(handed.collect())
    }

    /// Takes notice of what it was told; how many sockets it has in keeping then.
    fn keeps(&mut self) -> usize {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut text = [0; 512];
            let parts = &mut [IoSliceMut::new(&mut text)];
            let Ok(told) = recvmsg(&self.socket, parts, &mut control, RecvFlags::DONTWAIT) else {
                return self.kept.len();
            };
            let told = std::str::from_utf8(&text[..told.bytes]).unwrap();
            if let Some(name) = told.strip_prefix("FDSTOREREMOVE=1\nFDNAME=") {
                self.kept.retain(|(kept, _)| kept != name);
                continue;
            }
            let name = told.strip_prefix("FDSTORE=1\nFDNAME=").unwrap();
            let name = name.strip_suffix("\nFDPOLL=0").unwrap().to_owned();
            let rights = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
                _ => None,
            });
            self.kept.push((name, rights.unwrap()));
        }
    }

    fn open(&mut self) -> Door {
        let path = self.path();
        let door = Door::open_kept(&path, 0o666, &mut self.notifier()).unwrap();
        self.keeps();
        door
    }
}

async fn accept(door: &mut Door) -> tokio::net::UnixStream {
    std::future::poll_fn(|cx| door.poll_accept(cx)).await.unwrap()
}

#[tokio::test]
async fn who_connects_while_nobody_serves_is_let_in_by_the_next() {
    let mut manager = Manager::new();
    let first = manager.open();
    assert!(first.is_kept());
    drop(first);

    // The one that was kept has its file, and its queue.
    let _waits = UnixStream::connect(manager.path()).unwrap();
    let mut second = manager.open();
    accept(&mut second).await;

    assert_eq!(manager.keeps(), 1, "it is kept once");
    assert_eq!(second.claim().unwrap().again(), 0);
}

#[tokio::test]
async fn who_connects_is_told_of_the_process_that_listens_now() {
    let mut manager = Manager::new();
    drop(manager.open());
    let _second = manager.open();

    let near = tokio::net::UnixStream::connect(manager.path()).await.unwrap();

    let own = i32::try_from(std::process::id()).unwrap();
    assert_eq!(near.peer_cred().unwrap().pid(), Some(own));
}

#[tokio::test]
async fn a_listener_whose_file_was_removed_or_replaced_is_not_taken_back() {
    for replaced in [false, true] {
        let mut manager = Manager::new();
        drop(manager.open());
        let before = manager.kept[0].0.clone();
        fs::remove_file(manager.path()).unwrap();
        if replaced {
            drop(net::UnixListener::bind(manager.path()).unwrap());
        }

        let mut door = manager.open();

        assert_eq!(manager.keeps(), 1);
        assert_ne!(manager.kept[0].0, before);
        let _near = UnixStream::connect(manager.path()).unwrap();
        accept(&mut door).await;
    }
}

#[tokio::test]
async fn a_door_that_is_bound_again_is_kept_instead_of_the_one_before() {
    let mut manager = Manager::new();
    let mut door = manager.open();
    let before = manager.kept[0].0.clone();
    fs::remove_file(manager.path()).unwrap();
    let mut watch = Watch::new([manager.path()]);
    while !manager.path().exists() {
        tokio::select! {
            () = watch.changed() => {}
            _ = accept(&mut door) => panic!("nobody has connected"),
        }
    }

    assert_eq!(door.claim().unwrap().again(), 1);
    assert_eq!(manager.keeps(), 1);
    assert_ne!(manager.kept[0].0, before);
    drop(door);
    let _waits = UnixStream::connect(manager.path()).unwrap();
    accept(&mut manager.open()).await;
}

#[tokio::test]
async fn what_is_no_listener_at_that_path_is_sent_back() {
    let mut manager = Manager::new();
    drop(manager.open());
    let (near, _far) = UnixStream::pair().unwrap();
    let elsewhere = net::UnixListener::bind(manager.directory.path().join("other.sock")).unwrap();
    for other in [OwnedFd::from(near), OwnedFd::from(elsewhere)] {
        manager.kept[0].1 = other;
        fs::remove_file(manager.path()).unwrap();
        drop(net::UnixListener::bind(manager.path()).unwrap());
        let file = Print::of(&manager.path()).unwrap();
        manager.kept[0].0 = name(&manager.path(), file).unwrap();

        let mut door = manager.open();

        assert_eq!(manager.keeps(), 1);
        let _near = UnixStream::connect(manager.path()).unwrap();
        accept(&mut door).await;
    }
}

#[tokio::test]
async fn without_a_manager_that_keeps_a_door_is_as_any() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xds.sock");
    for room in [None, Some("0"), Some("many")] {
        let mut notifier = Notifier::new(None, None).unwrap().keeping(room);

        let door = Door::open_kept(&path, 0o600, &mut notifier).unwrap();

        assert!(!door.is_kept());
        door.claim().unwrap().remove().unwrap();
    }
}
