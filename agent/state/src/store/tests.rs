//! A directory of state files after everything that can happen to it.

use std::{
    fs::Permissions,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

use super::*;

mod disk;
mod killed;

/// What befalls a file.
type Blow = fn(&Path);

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("state")).unwrap();
    (directory, store)
}

fn names(store: &Store) -> Vec<String> {
    names_in(&store.directory)
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn put(store: &Store, name: &str, content: &[u8]) {
    crate::write_file(&store.directory.join(name), 0o600, content).unwrap();
}

#[test]
fn what_was_written_is_read_also_by_the_next_process() {
    let (directory, store) = store();
    let large = vec![7; 1 << 20];
    store.write("identity", 1, b"key and chain").unwrap();
    store.write("names.table", 2, &large).unwrap();
    store.write("empty", 0, b"").unwrap();
    drop(store);

    let store = Store::open(&directory.path().join("state")).unwrap();

    assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"key and chain");
    assert_eq!(*store.read("names.table", 2).unwrap().unwrap(), large);
    assert!(store.read("empty", 0).unwrap().unwrap().is_empty());
    assert!(store.read("absent", 1).unwrap().is_none());
}

#[test]
fn directory_and_files_are_the_owners_alone() {
    let (_directory, store) = store();

    store.write("identity", 1, b"key").unwrap();

    let mode = |path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(store.directory.clone()), 0o700);
    assert_eq!(mode(store.directory.join("identity")), 0o600);
}

#[test]
fn a_later_write_replaces_the_earlier() {
    let (_directory, store) = store();
    store.write("identity", 1, b"old and long").unwrap();

    store.write("identity", 1, b"new").unwrap();

    assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"new");
    assert_eq!(names(&store), ["identity"]);
}

#[test]
fn a_removed_file_is_gone_and_removing_it_again_is_no_error() {
    let (_directory, store) = store();
    store.write("identity", 1, b"key").unwrap();

    store.remove("identity").unwrap();
    store.remove("identity").unwrap();

    assert!(store.read("identity", 1).unwrap().is_none());
}

#[test]
fn a_damaged_file_is_set_aside_and_counts_as_none() {
    let cases: [(&str, Blow); 8] = [
        ("empty", |path| drop(File::create(path).unwrap())),
        ("text", |path| crate::write_file(path, 0o600, b"hello").unwrap()),
        ("cut", |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(60).unwrap();
        }),
        ("too large", |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(FILE_LIMIT + 1).unwrap();
        }),
        ("a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("a pipe", |path| {
            fs::remove_file(path).unwrap();
            mkfifo(path, Mode::S_IRUSR).unwrap();
        }),
        ("a socket", |path| {
            fs::remove_file(path).unwrap();
            drop(UnixListener::bind(path).unwrap());
        }),
        ("a link", |path| {
            let elsewhere = path.with_extension("elsewhere");
            fs::rename(path, &elsewhere).unwrap();
            symlink(elsewhere, path).unwrap();
        }),
    ];
    for (case, damage) in cases {
        let (_directory, store) = store();
        store.write("identity", 1, b"a key and a chain of some length").unwrap();
        damage(&store.directory.join("identity"));

        assert!(store.read("identity", 1).unwrap().is_none(), "{case}");

        assert!(names(&store).contains(&"identity.damaged-1".to_owned()), "{case}");
        assert!(!names(&store).contains(&"identity".to_owned()), "{case}");
        store.write("identity", 1, b"new").unwrap();
        assert!(store.read("identity", 1).unwrap().is_some(), "{case}");
    }
}

#[test]
fn a_file_of_another_version_is_set_aside() {
    let (_directory, store) = store();
    store.write("identity", 2, b"from the future").unwrap();

    assert!(store.read("identity", 1).unwrap().is_none());

    assert_eq!(names(&store), ["identity.damaged-1"]);
}

#[test]
fn a_file_of_another_user_is_set_aside() {
    let (_directory, mut store) = store();
    store.write("identity", 1, b"not yours").unwrap();
    store.own += 1;

    assert!(store.read("identity", 1).unwrap().is_none());

    assert_eq!(names(&store), ["identity.damaged-1"]);
}

#[test]
fn every_bit_flip_on_disk_is_found() {
    let (_directory, store) = store();
    store.write("identity", 1, b"key").unwrap();
    let good = fs::read(store.directory.join("identity")).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        put(&store, "identity", &bad);

        assert!(store.read("identity", 1).unwrap().is_none(), "byte {at}");
    }
}

#[test]
fn the_latest_three_damaged_files_are_kept() {
    let (_directory, store) = store();
    put(&store, "identity.old.damaged-9", b"of another name");
    for round in 1..=12_u8 {
        put(&store, "identity", &[round]);

        let aside = store.set_aside("identity", "a test").unwrap();

        assert_eq!(aside, store.directory.join(format!("identity.damaged-{round}")));
    }
    assert_eq!(
        names(&store),
        [
            "identity.damaged-10",
            "identity.damaged-11",
            "identity.damaged-12",
            "identity.old.damaged-9"
        ]
    );
    assert_eq!(fs::read(store.directory.join("identity.damaged-12")).unwrap(), [12]);
}

#[test]
fn to_set_aside_what_is_not_there_is_an_error() {
    let (_directory, store) = store();

    let error = store.set_aside("identity", "a test").unwrap_err();

    assert!(matches!(error, Error::SetAside { .. }), "{error}");
}

#[test]
fn names_that_could_lead_elsewhere_are_refused() {
    let (_directory, store) = store();
    let long = "x".repeat(NAME_LIMIT + 1);
    let names = [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        ".hidden",
        "trailing.",
        "UPPER",
        "a b",
        "ä",
        "a\0b",
        "x.damaged-1",
        ".identity.1-1.tmp",
        &long,
    ];
    for name in names {
        let results = [
            store.write(name, 1, b"").err(),
            store.read(name, 1).err(),
            store.remove(name).err(),
            store.set_aside(name, "").err(),
        ];
        for error in results {
            assert!(matches!(error, Some(Error::Name { .. })), "{name:?}: {error:?}");
        }
    }
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_the_old_one_kept() {
    let (_directory, store) = store();
    store.write("names", 1, b"old").unwrap();

    let error = store.write("names", 1, &vec![0; BODY_LIMIT + 1]).unwrap_err();

    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(store.read("names", 1).unwrap().unwrap().as_slice(), b"old");
}

#[test]
fn a_directory_that_others_write_to_is_refused_with_the_remedy() {
    for mode in [0o770, 0o702, 0o777, 0o720] {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();

        let error = Store::open(directory.path()).unwrap_err();

        assert!(matches!(error, Error::SharedDirectory { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("mode {mode:o}): chmod it to 700")), "{text}");
    }
    for mode in [0o700, 0o750, 0o755] {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();

        Store::open(directory.path()).unwrap();
    }
}

#[test]
fn a_directory_of_another_user_is_refused_with_both_names() {
    let directory = tempfile::tempdir().unwrap();
    let own = geteuid().as_raw();

    let error = check(directory.path(), own + 1).unwrap_err();

    let text = error.to_string();
    assert!(text.contains(&format!("belongs to user {own}")), "{text}");
    assert!(text.contains(&format!("runs as user {}", own + 1)), "{text}");
}

#[test]
fn a_file_in_the_directorys_place_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    File::create(&path).unwrap();

    let error = Store::open(&path).unwrap_err();

    assert!(matches!(error, Error::CreateDirectory { .. }), "{error}");
}

#[test]
fn a_link_to_the_directory_is_followed_once() {
    let (directory, store) = store();
    let link = directory.path().join("link");
    symlink(&store.directory, &link).unwrap();

    let linked = Store::open(&link).unwrap();
    fs::remove_file(&link).unwrap();
    linked.write("identity", 1, b"key").unwrap();

    assert!(store.read("identity", 1).unwrap().is_some());
}

#[test]
fn opening_removes_what_crashed_writers_have_left() {
    let (_directory, store) = store();
    store.write("identity", 1, b"old").unwrap();
    put(&store, ".identity.1-0.tmp", b"half a ke");
    put(&store, ".names.99-5.tmp", b"");

    let store = Store::open(&store.directory).unwrap();

    assert_eq!(names(&store), ["identity"]);
    assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"old");
}
