//! Files that go from under a door.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener as StdListener},
};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn open() -> (TempDir, PathBuf, Door) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xds.sock");
    let door = Door::open(&path, 0o640).unwrap();
    (directory, path, door)
}

async fn accept(door: &mut Door) -> UnixStream {
    std::future::poll_fn(|cx| door.poll_accept(cx)).await.unwrap()
}

/// Lets the door look after its file until that is as wanted.
async fn until(door: &mut Door, path: &Path, wanted: impl Fn(&Path) -> bool) {
    let mut watch = Watch::new([path.to_owned()]);
    while !wanted(path) {
        tokio::select! {
            () = watch.changed() => {}
            _ = accept(door) => panic!("nobody has connected"),
        }
    }
}

async fn speak(near: &mut UnixStream, far: &mut UnixStream) {
    near.write_all(b"x").await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_socket_that_is_removed_is_bound_again_and_connections_go_on() {
    let (_directory, path, mut door) = open();
    let mut near = UnixStream::connect(&path).await.unwrap();
    let mut far = accept(&mut door).await;

    for _ in 0..3 {
        fs::remove_file(&path).unwrap();
        until(&mut door, &path, Path::exists).await;

        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let mut later = UnixStream::connect(&path).await.unwrap();
        speak(&mut later, &mut accept(&mut door).await).await;
        speak(&mut near, &mut far).await;
    }
}

#[tokio::test]
async fn who_waited_in_the_old_queue_is_let_in() {
    let (_directory, path, mut door) = open();
    let mut first = UnixStream::connect(&path).await.unwrap();
    let mut second = UnixStream::connect(&path).await.unwrap();
    let claim = door.claim().unwrap();
    // The file is replaced before anybody looks.
    fs::remove_file(&path).unwrap();
    let hinge = door.hinge.as_mut().unwrap();
    let listener = hinge.look(Watch::new([path.clone()])).unwrap();
    door.former = Some(std::mem::replace(&mut door.listener, listener));
    let mut third = UnixStream::connect(claim.path()).await.unwrap();

    for near in [&mut first, &mut second, &mut third] {
        speak(near, &mut accept(&mut door).await).await;
    }
    assert!(door.former.is_none());
}

#[tokio::test]
async fn a_socket_that_another_has_bound_is_left_alone_until_that_one_is_gone() {
    let (_directory, path, mut door) = open();
    fs::remove_file(&path).unwrap();
    let other = StdListener::bind(&path).unwrap();
    let theirs = Print::of(&path);

    let hinge = door.hinge.as_mut().unwrap();
    assert!(hinge.look(Watch::new([path.clone()])).is_none());
    assert_eq!(Print::of(&path), theirs);
    door.claim().unwrap().remove().unwrap();
    assert_eq!(Print::of(&path), theirs, "nor is it taken away at the end");

    let (_directory, path, mut door) = open();
    fs::remove_file(&path).unwrap();
    let another = StdListener::bind(&path).unwrap();
    // Its file stays behind, so that only a look tells.
    drop(another);
    let left = Print::of(&path);
    until(&mut door, &path, |path| path.exists() && Print::of(path) != left).await;
    let mut near = UnixStream::connect(&path).await.unwrap();
    speak(&mut near, &mut accept(&mut door).await).await;
    drop(other);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone_until_it_is_gone() {
    let (_directory, path, mut door) = open();
    fs::remove_file(&path).unwrap();
    fs::File::create(&path).unwrap();
    let hinge = door.hinge.as_mut().unwrap();
    assert!(hinge.look(Watch::new([path.clone()])).is_none());
    assert!(fs::metadata(&path).unwrap().is_file());

    fs::remove_file(&path).unwrap();
    until(&mut door, &path, Path::exists).await;
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_directory_that_goes_and_comes_back_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    let path = run.join("xds.sock");
    let mut door = Door::open(&path, 0o600).unwrap();

    fs::remove_dir_all(&run).unwrap();
    let hinge = door.hinge.as_mut().unwrap();
    assert!(hinge.look(Watch::new([path.clone()])).is_none());
    fs::create_dir(&run).unwrap();
    until(&mut door, &path, Path::exists).await;

    UnixStream::connect(&path).await.unwrap();
    accept(&mut door).await;
}

#[tokio::test]
async fn a_claim_that_was_given_up_is_not_bound_again() {
    let (_directory, path, mut door) = open();
    let claim = door.claim().unwrap();

    claim.remove().unwrap();

    assert!(!path.exists());
    let hinge = door.hinge.as_mut().unwrap();
    assert!(hinge.look(Watch::new([path.clone()])).is_none());
    assert!(!path.exists());
    claim.remove().unwrap();
}

#[tokio::test]
async fn what_is_bound_again_is_what_the_claim_takes_away() {
    let (_directory, path, mut door) = open();
    let claim = door.claim().unwrap();
    fs::remove_file(&path).unwrap();
    until(&mut door, &path, Path::exists).await;

    claim.remove().unwrap();

    assert!(!path.exists());
}

#[tokio::test]
async fn a_listener_without_a_path_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xds.sock");
    let mut door = Door::from(bind(&path, 0o600).unwrap());
    assert!(door.claim().is_none());
    let _near = UnixStream::connect(&path).await.unwrap();
    accept(&mut door).await;
}
