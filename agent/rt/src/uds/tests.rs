//! Real sockets in a directory of their own.

use std::{
    fs::{self, File},
    io,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixDatagram, UnixListener as StdListener},
    },
    path::PathBuf,
};

use tempfile::TempDir;
use tokio::net::UnixStream;

use super::*;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sds.sock");
    (directory, path)
}

#[tokio::test]
async fn the_socket_has_the_mode_it_was_given_whatever_the_umask() {
    for mode in [0o600, 0o660, 0o666, 0o777] {
        let (_directory, path) = place();

        let listener = bind(&path, mode).unwrap();

        let found = fs::metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o7777, mode);
        let (accepted, connected) = tokio::join!(listener.accept(), UnixStream::connect(&path));
        accepted.unwrap();
        connected.unwrap();
    }
}

#[tokio::test]
async fn the_socket_has_the_group_it_was_given() {
    let own = nix::unistd::getegid().as_raw();
    let group = if nix::unistd::geteuid().is_root() { 4711 } else { own };
    let (_directory, path) = place();

    let _listener = bind(&path, Access { mode: 0o660, group: Some(group) }).unwrap();

    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.gid(), found.permissions().mode() & 0o777), (group, 0o660));
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let (_directory, path) = place();
    drop(StdListener::bind(&path).unwrap());
    assert!(path.exists());

    let _listener = bind(&path, 0o600).unwrap();

    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_live_socket_is_left_alone() {
    let (_directory, path) = place();
    let first = bind(&path, 0o600).unwrap();

    let error = bind(&path, 0o600).unwrap_err();

    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(error.to_string().contains("stop that one first"), "{error}");
    drop(first.accept().await.unwrap());
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_listener_too_busy_to_answer_is_a_live_one() {
    let (_directory, path) = place();
    let socket = stream().unwrap();
    bind_fd(socket.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&socket, Backlog::new(0).unwrap()).unwrap();
    let _queued = net::UnixStream::connect(&path).unwrap();
    assert_eq!(probe(&path), Err(Errno::EAGAIN));

    let error = bind(&path, 0o600).unwrap_err();

    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

#[tokio::test]
async fn a_datagram_socket_in_use_is_left_alone() {
    let (_directory, path) = place();
    let _socket = UnixDatagram::bind(&path).unwrap();

    let error = bind(&path, 0o600).unwrap_err();

    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let make: [fn(&Path) -> io::Result<()>; 4] = [
        |path| File::create(path).map(drop),
        |path| fs::create_dir(path),
        |path| symlink("nowhere", path),
        |path| {
            let other = path.with_extension("other");
            drop(StdListener::bind(&other)?);
            symlink(other, path)
        },
    ];
    for make in make {
        let (_directory, path) = place();
        make(&path).unwrap();

        let error = bind(&path, 0o600).unwrap_err();

        assert!(matches!(error, Error::NotASocket { .. }), "{error}");
        fs::symlink_metadata(&path).unwrap();
    }
}

#[tokio::test]
async fn a_path_the_system_cannot_take_is_named_with_its_length() {
    let (directory, _) = place();
    let room = PATH_LIMIT - directory.path().as_os_str().len() - 1;
    let longest = directory.path().join("x".repeat(room));
    let longer = directory.path().join("x".repeat(room + 1));

    bind(&longest, 0o600).unwrap();
    let error = bind(&longer, 0o600).unwrap_err();

    assert!(matches!(error, Error::PathTooLong { length: 108, .. }), "{error}");
    assert!(error.to_string().contains("has 108 bytes, the system allows 107"), "{error}");
}

#[tokio::test]
async fn a_missing_directory_is_said_to_be_missing() {
    let (directory, _) = place();

    let error = bind(&directory.path().join("run/sds.sock"), 0o600).unwrap_err();

    assert!(matches!(error, Error::NoDirectory { .. }), "{error}");
}

#[tokio::test]
async fn a_file_for_a_directory_is_an_error_with_its_cause() {
    let (_directory, path) = place();
    File::create(&path).unwrap();

    let error = bind(&path.join("sds.sock"), 0o600).unwrap_err();

    assert!(matches!(error, Error::Inspect { .. }), "{error}");
}
