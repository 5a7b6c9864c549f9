//! Connections by people of this process' own user, and by those of others.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, atomic::Ordering},
};

use nix::{libc, unistd::geteuid};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command, time::Instant};
use tokio_stream::StreamExt as _;

use super::*;
use crate::uds::bind;

fn listen(peers: Peers) -> (TempDir, PathBuf, Incoming) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xds.sock");
    let incoming = Incoming::new(bind(&path, 0o666).unwrap(), peers);
    (directory, path, incoming)
}

#[tokio::test]
async fn a_known_peer_is_handed_on() {
    let (_directory, path, mut incoming) = listen(Peers::default());
    let _peer = UnixStream::connect(&path).await.unwrap();

    incoming.next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lack_of_descriptors_is_waited_out() {
    let (_directory, path, mut incoming) = listen(Peers::default());
    let _peer = UnixStream::connect(&path).await.unwrap();
    let start = Instant::now();

    incoming.note(&io::Error::from_raw_os_error(libc::EMFILE));
    incoming.next().await.unwrap().unwrap();

    assert!(start.elapsed() >= PAUSE_MIN / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_peer_that_hangs_up_early_costs_no_pause() {
    let (_directory, _, mut incoming) = listen(Peers::default());

    incoming.note(&io::Error::from_raw_os_error(libc::ECONNABORTED));

    assert!(incoming.pause.is_none());
}

/// Connects as somebody else and tells what comes of it.
fn somebody(path: &PathBuf, uid: u32, gid: u32, groups: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
    match groups {
        "" => command.arg("--clear-groups"),
        groups => command.arg(format!("--groups={groups}")),
    };
    command.args(["perl", "-MSocket", "-e", CLIENT]).arg(path).stdout(Stdio::piped());
    command.kill_on_drop(true);
    command
}

const CLIENT: &str = r#"
    my $s;
    socket($s, PF_UNIX, SOCK_STREAM, 0) && connect($s, sockaddr_un($ARGV[0])) or die $!;
    my $n = sysread($s, my $b, 1);
    print defined $n && $n == 1 ? "served" : "closed";
"#;

#[tokio::test]
async fn processes_of_other_users_are_let_in_by_user_or_by_group_and_else_closed_and_counted() {
    let peers = Peers { uids: vec![4711], groups: vec![4800], ..Peers::default() };
    let refused = Arc::clone(&peers.refused);
    let (directory, path, mut incoming) = listen(peers);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    if !geteuid().is_root() {
        eprintln!("only root can be somebody else: the table in peers/tests.rs has to do");
        return;
    }
    let table = [
        ("a user who may", 4711, 9, "", "served"),
        ("one whose group may", 4712, 4800, "", "served"),
        ("one who is of a group that may", 4712, 9, "20,4800,30", "served"),
        ("one of other groups", 4712, 9, "20,480,48000", "closed"),
        ("one of no group", 65534, 65534, "", "closed"),
    ];
    for (row, uid, gid, groups, expected) in table {
        let before = refused.load(Ordering::Relaxed);
        let mut told = std::pin::pin!(somebody(&path, uid, gid, groups).output());
        let output = loop {
            tokio::select! {
                output = &mut told => break output.unwrap(),
                Some(stream) = incoming.next() => stream.unwrap().write_all(b"x").await.unwrap(),
            }
        };
        assert!(output.status.success(), "{row}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{row}");
        let counted = refused.load(Ordering::Relaxed) - before;
        assert_eq!(counted, u64::from(expected == "closed"), "{row}");
    }
}

#[tokio::test]
async fn a_stranger_does_not_disturb_who_is_there() {
    if !geteuid().is_root() {
        eprintln!("only root can be somebody else: the table in peers/tests.rs has to do");
        return;
    }
    let (directory, path, mut incoming) = listen(Peers::default());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut near = UnixStream::connect(&path).await.unwrap();
    let mut far = incoming.next().await.unwrap().unwrap();

    let mut told = std::pin::pin!(somebody(&path, 65534, 65534, "").output());
    tokio::select! {
        output = &mut told => assert_eq!(output.unwrap().stdout, b"closed"),
        _ = incoming.next() => panic!("a stranger was handed on"),
    }

    far.write_all(b"x").await.unwrap();
    assert_eq!(tokio::io::AsyncReadExt::read_u8(&mut near).await.unwrap(), b'x');
    let _friend = UnixStream::connect(&path).await.unwrap();
    incoming.next().await.unwrap().unwrap();
}
