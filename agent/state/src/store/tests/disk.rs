//! Disks that are full, and disks that cannot be written.
//!
//! Each test runs once more in a process that has a small file system of its own: a tmpfs in its own
//! user and mount namespaces. Where the system allows no namespaces, the size of files is limited
//! instead (a full disk), or the directory is closed to this user (a read-only one).

use std::{
    io::Write,
    process::{Command, Output},
};

use super::*;

/// How a process of its own gets its disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// `$1` is a tmpfs with room for some pages.
    Own,
    /// No file may have more than 64 blocks, of 512 or 1024 bytes.
    Limited,
    /// The one of everybody.
    Everybodys,
}

#[test]
fn a_full_disk_costs_nothing_but_the_new_content() {
    const TEST: &str = "a_full_disk_costs_nothing_but_the_new_content";
    let Some(directory) = told() else {
        let disk = if namespaces() { Disk::Own } else { Disk::Limited };
        return run_on(disk, TEST);
    };
    let store = Store::open(&directory.join("state")).unwrap();
    store.write("identity", 1, b"old").unwrap();

    for body in [vec![7; 200_000], vec![7; 1_000_000]] {
        let error = store.write("identity", 1, &body).unwrap_err();

        let Error::Write { source, .. } = &error else { panic!("{error}") };
        let expected = [ErrorKind::StorageFull, ErrorKind::FileTooLarge];
        assert!(expected.contains(&source.kind()), "{source}");
        assert!(error.to_string().ends_with("state/identity"), "{error}");
        assert_eq!(names(&store), ["identity"]);
        assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"old");
    }

    // Not one byte is left, but for what the last write gives back.
    let filler = directory.join("filler");
    let mut file = File::create(&filler).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[7; 512]) {
            break error;
        }
    };
    let nothing_left = full.kind() == ErrorKind::StorageFull;
    assert_eq!(store.write("identity", 1, b"new").is_err(), nothing_left);
    if nothing_left {
        assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"old");
        drop(Store::open(&store.directory).unwrap());
        assert_eq!(names(&store), ["identity"]);
    }

    drop(file);
    fs::remove_file(filler).unwrap();
    store.write("identity", 1, b"new").unwrap();
    assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"new");
}

#[test]
fn a_read_only_disk_is_read_and_writing_is_an_error() {
    const TEST: &str = "a_read_only_disk_is_read_and_writing_is_an_error";
    let Some(directory) = told() else {
        let disk = if namespaces() { Disk::Own } else { Disk::Everybodys };
        return run_on(disk, TEST);
    };
    let path = directory.join("state");
    let store = Store::open(&path).unwrap();
    store.write("identity", 1, b"old").unwrap();
    put(&store, "damaged", b"hello");
    put(&store, ".identity.1-0.tmp", b"half a ke");
    let before = names(&store);
    close(&directory, &path);

    // As after a restart.
    let store = Store::open(&path).unwrap();

    assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"old");
    assert!(store.read("damaged", 1).unwrap().is_none(), "ignored, though it stays");
    assert!(matches!(store.write("identity", 1, b"new"), Err(Error::Write { .. })));
    assert!(matches!(store.remove("identity"), Err(Error::Remove { .. })));
    assert!(matches!(store.set_aside("identity", "a test"), Err(Error::SetAside { .. })));
    assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"old");
    assert_eq!(names(&store), before);
}

/// Makes the file system read-only, or what comes near to it.
fn close(directory: &Path, state: &Path) {
    let remount = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(directory).output();
    if remount.is_ok_and(|remount| remount.status.success()) {
        return;
    }
    assert!(
        !geteuid().is_root(),
        "root can write everywhere, and here it may not mount: run this as another user, or where \
         unshare(1) works"
    );
    fs::set_permissions(state, Permissions::from_mode(0o500)).unwrap();
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
        Disk::Own => (unshare(), "mount -t tmpfs -o size=64k,mode=700 tmpfs \"$0\"; exec \"$@\""),
        Disk::Limited => (Command::new("env"), "trap '' XFSZ; ulimit -f 64; exec \"$@\""),
        Disk::Everybodys => (Command::new("env"), "exec \"$@\""),
    };
    let Output { status, stdout, stderr } = command
        .args(["sh", "-e", "-c", script])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::tests::disk::{test}"), "--nocapture"])
        .env(TOLD, directory.path())
        .output()
        .unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success() && stdout.contains("1 passed"), "{status}\n{stdout}\n{stderr}");
    println!(
        "disk: {}",
        match disk {
            Disk::Own => "a tmpfs of 64 KiB",
            Disk::Limited => "everybody's, with a limit on the size of files",
            Disk::Everybodys => "everybody's, closed to this user",
        }
    );
}

#[expect(clippy::disallowed_methods, reason = "the test harness takes no arguments for a test")]
fn told() -> Option<PathBuf> {
    std::env::var_os(TOLD).map(PathBuf::from)
}

const TOLD: &str = "HAWSER_TEST_DISK";
