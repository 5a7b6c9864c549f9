//! Disks that are full, and disks that cannot be written.
//!
//! Each test runs once more in a process that has a small file system of its own: a tmpfs in its own
//! user and mount namespaces. Where the system allows no namespaces, the size of files is limited
//! instead (a full disk), or the directory is closed to this user (a read-only one).

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Command, Output},
};

use nix::{
    fcntl::{FallocateFlags, fallocate},
    unistd::geteuid,
};

use super::*;

/// How a process of its own gets its disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// `$1` is a tmpfs with room for some pages.
    Own,
    /// No file may have more than 256 blocks, of 512 or 1024 bytes.
    Limited,
    /// The one of everybody.
    Everybodys,
}

#[test]
fn a_full_disk_keeps_the_older_state_says_why_and_goes_on_when_there_is_room() {
    const TEST: &str = "a_full_disk_keeps_the_older_state_says_why_and_goes_on_when_there_is_room";
    let Some(directory) = told() else {
        let disk = if namespaces() { Disk::Own } else { Disk::Limited };
        return run_on(disk, TEST);
    };
    run(async {
        let shelf = Shelf::open(options(&directory));
        let book = shelf.book(KEY).await;
        Push::whole(&[("a", b"1")]).accepted(&book, "v1").await;

        for round in 0..3 {
            Push::whole(&[("a", &vec![round; 500_000])]).accepted(&book, "v2").await;

            assert_eq!(kept(&book).await, Some(state_of(&[("a", b"1")])));
            let standing = shelf.standing().borrow().clone();
            let trouble = standing.trouble.unwrap();
            assert!(trouble.starts_with("write /") && trouble.contains("cluster.log"), "{trouble}");
            assert!(standing.books[KEY][CLUSTER].behind);
        }

        Push::whole(&[("a", b"2"), ("b", b"2")]).accepted(&book, "v3").await;
        let expected = Some(state_of(&[("a", b"2"), ("b", b"2")]));
        assert_eq!(kept(&book).await, expected);
        assert_eq!(shelf.standing().borrow().trouble, None);
        shelf.closed().await;
        let book = Shelf::open(options(&directory)).book(KEY).await;
        assert_eq!(kept(&book).await, expected);
    });
}

#[test]
fn what_was_accepted_when_not_a_byte_was_left_is_answered_and_written_later() {
    const TEST: &str = "what_was_accepted_when_not_a_byte_was_left_is_answered_and_written_later";
    let Some(directory) = told() else {
        // Only a disk of its own can be filled by others.
        let disk = if namespaces() { Disk::Own } else { Disk::Everybodys };
        return run_on(disk, TEST);
    };
    run(async {
        let shelf = Shelf::open(options(&directory));
        let book = shelf.book(KEY).await;
        Push::delta(&[("a", b"1")]).accepted(&book, "v1").await;
        kept(&book).await;
        // Up to the end of its page, so that the acceptance needs another one.
        let length = usize::try_from(fs::metadata(log(&directory)).unwrap().len()).unwrap();
        let page = vec![7; 4096 - (length + 250) % 4096];
        let pending = Push::delta(&[("b", &page)]).to(&book, "v2").await;
        kept(&book).await;
        let filler = fill(&directory);

        pending.accepted();

        let expected = Some(state_of(&[("a", b"1"), ("b", &page)]));
        assert_eq!(kept(&book).await, expected);
        fs::remove_file(filler).unwrap();
        Push::delta(&[("c", b"3")]).accepted(&book, "v3").await;
        let expected = Some(state_of(&[("a", b"1"), ("b", &page), ("c", b"3")]));
        assert_eq!(kept(&book).await, expected);
        assert_eq!(shelf.standing().borrow().trouble, None);
        shelf.closed().await;
        let book = Shelf::open(options(&directory)).book(KEY).await;
        assert_eq!(kept(&book).await, expected);
    });
}

#[test]
fn a_read_only_disk_is_answered_from_and_told_of() {
    const TEST: &str = "a_read_only_disk_is_answered_from_and_told_of";
    let Some(directory) = told() else {
        let disk = if namespaces() { Disk::Own } else { Disk::Everybodys };
        return run_on(disk, TEST);
    };
    run(async {
        let shelf = Shelf::open(options(&directory));
        let book = shelf.book(KEY).await;
        Push::delta(&[("a", b"1"), ("b", b"1")]).accepted(&book, "v1").await;
        drop(book);
        shelf.closed().await;
        let before = fs::read(log(&directory)).unwrap();
        close(&directory);

        // As after a restart.
        let shelf = Shelf::open(options(&directory));
        let book = shelf.book(KEY).await;

        let expected = Some(state_of(&[("a", b"1"), ("b", b"1")]));
        assert_eq!(kept(&book).await, expected);
        Push::delta(&[("a", b"2")]).removing(&["b"]).accepted(&book, "v2").await;
        let expected = Some(state_of(&[("a", b"1")]));
        assert_eq!(kept(&book).await, expected, "what is no more is not answered");
        let standing = shelf.standing().borrow().clone();
        assert!(standing.trouble.unwrap().starts_with("write /"));
        assert!(standing.books[KEY][CLUSTER].behind);
        shelf.closed().await;
        assert_eq!(fs::read(log(&directory)).unwrap(), before);
    });
}

#[tokio::test]
async fn room_that_is_taken_ahead_is_given_back() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    let large = vec![7; 900_000];
    Push::delta(&[("a", &large)]).accepted(&book, "v1").await;
    // Refused.
    drop(Push::delta(&[("b", &large), ("c", &large)]).to(&book, "v2").await);
    shelf.closed().await;

    assert_eq!(surplus(directory.path()), 0);

    // As a process leaves it that is killed.
    let file = fs::OpenOptions::new().write(true).open(log(directory.path())).unwrap();
    fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 1 << 20, 4 << 20).unwrap();
    assert!(surplus(directory.path()) > 0);
    let book = Shelf::open(options(directory.path())).book(KEY).await;
    assert_eq!(kept(&book).await, Some(state_of(&[("a", &large)])));
    assert_eq!(surplus(directory.path()), 0);
}

/// MiB on the disk that the log does not need.
fn surplus(directory: &Path) -> u64 {
    let found = fs::metadata(log(directory)).unwrap();
    (found.blocks() * 512).saturating_sub(found.len()) >> 20
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Leaves not one byte, or, on a disk that is not its own, as much as there is.
fn fill(directory: &Path) -> PathBuf {
    let filler = directory.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let most = 4 << 20;
    for _ in 0..most / 512 {
        if std::io::Write::write_all(&mut file, &[7; 512]).is_err() {
            break;
        }
    }
    filler
}

/// Makes the file system read-only, or what comes near to it.
fn close(directory: &Path) {
    let remount = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(directory).output();
    if remount.is_ok_and(|remount| remount.status.success()) {
        return;
    }
    assert!(
        !geteuid().is_root(),
        "root can write everywhere, and here it may not mount: run this as another user, or where \
         unshare(1) works"
    );
    let book = log(directory).parent().unwrap().to_path_buf();
    fs::set_permissions(log(directory), Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(book, Permissions::from_mode(0o500)).unwrap();
}

/// Whether a process may have a mount namespace of its own.
fn namespaces() -> bool {
    let script = "mount -t tmpfs -o size=64k tmpfs /tmp";
    unshare().args(["sh", "-c", script]).output().is_ok_and(|output| output.status.success())
}

fn unshare() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "--"]);
    unshare
}

/// Runs the test of this name again, in a process with this disk, which is told its place.
fn run_on(disk: Disk, test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (mut command, script) = match disk {
        Disk::Own => (unshare(), "mount -t tmpfs -o size=256k,mode=700 tmpfs \"$0\"; exec \"$@\""),
        Disk::Limited => (Command::new("env"), "trap '' XFSZ; ulimit -f 256; exec \"$@\""),
        Disk::Everybodys => (Command::new("env"), "exec \"$@\""),
    };
    let Output { status, stdout, stderr } = command
        .args(["sh", "-e", "-c", script])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::disk::{test}"), "--nocapture"])
        .env(TOLD, directory.path())
        .output()
        .unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success() && stdout.contains("1 passed"), "{status}\n{stdout}\n{stderr}");
    println!(
        "disk: {}",
        match disk {
            Disk::Own => "a tmpfs of 256 KiB",
            Disk::Limited => "everybody's, with a limit on the size of files",
            Disk::Everybodys => "everybody's",
        }
    );
}

#[expect(clippy::disallowed_methods, reason = "the test harness takes no arguments for a test")]
fn told() -> Option<PathBuf> {
    std::env::var_os(TOLD).map(PathBuf::from)
}

const TOLD: &str = "HAWSER_TEST_DISK";
