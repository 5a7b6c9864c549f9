//! What programs see of the three names, whatever happened to them.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt, fchown, symlink},
    path::Path,
};

use hawser_pki::{KeyForm, KeyKind};
use nix::unistd::{getegid, geteuid};
use tempfile::TempDir;

use super::*;
use crate::{
    ca::{identity, identity_of, options, same, shown},
    switch as public_switch,
};

mod killed;

fn put(directory: &Path, name: &str, content: &[u8]) {
    File::create(directory.join(name)).unwrap().write_all(content).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn place() -> (TempDir, Options) {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    (directory, options)
}

fn done(options: &Options, identity: &Identity) -> bool {
    public_switch(options, identity, &identity.roots).unwrap()
}

/// As istio-sidecar's agent leaves them.
fn plain(directory: &Path, identity: &Identity) {
    put(directory, "key.pem", identity.key.encoded(KeyForm::Traditional).as_bytes());
    put(directory, "cert-chain.pem", identity.chain.pem().as_bytes());
    put(directory, "root-cert.pem", identity.roots.pem().as_bytes());
}

const ONE_VERSION: [&str; 5] =
    ["..data", "..hawser-1", "cert-chain.pem", "key.pem", "root-cert.pem"];

#[test]
fn a_set_appears_with_the_modes_asked_for() {
    let (directory, mut options) = place();
    options.key_mode = 0o640;
    options.group = Some(getegid().as_raw());
    options.owner = Some(geteuid().as_raw());
    let identity = identity();

    assert!(done(&options, &identity));

    assert!(same(&shown(directory.path()).unwrap(), &identity));
    assert_eq!(names(directory.path()), ONE_VERSION);
    for (name, mode) in
        [("key.pem", 0o640), ("cert-chain.pem", 0o644), ("root-cert.pem", 0o644), ("..data", 0o755)]
    {
        let found = fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(found.mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn the_key_is_written_in_the_form_asked_for() {
    for kind in [KeyKind::EcdsaP256, KeyKind::Rsa2048] {
        for form in [KeyForm::Traditional, KeyForm::Pkcs8] {
            let (directory, mut options) = place();
            options.form = form;
            let identity = identity_of(kind);

            done(&options, &identity);

            let key = fs::read_to_string(directory.path().join("key.pem")).unwrap();
            assert_eq!(key, *identity.key.encoded(form));
        }
    }
}

#[test]
fn what_is_there_already_is_not_switched() {
    let (directory, options) = place();
    let identity = identity();
    assert!(done(&options, &identity));

    assert!(!done(&options, &identity));

    assert_eq!(names(directory.path()), ONE_VERSION);
}

/// What befalls a directory, or what is asked of it.
type Change = fn(&Path, &mut Options);

#[test]
fn whatever_is_not_as_asked_is_mended_by_a_new_version() {
    let cases: [(&str, Change); 12] = [
        ("another mode", |_, options| options.mode = 0o640),
        ("another key mode", |_, options| options.key_mode = 0o400),
        ("another form", |_, options| options.form = KeyForm::Pkcs8),
        ("a file gone", |path, _| fs::remove_file(path.join("..data/key.pem")).unwrap()),
        ("a file cut", |path, _| put(path, "..data/root-cert.pem", b"")),
        ("a file of others", |path, _| put(path, "..data/cert-chain.pem", b"hello")),
        ("a mode changed", |path, _| {
            fs::set_permissions(path.join("key.pem"), Permissions::from_mode(0o644)).unwrap();
        }),
        ("a name gone", |path, _| fs::remove_file(path.join("key.pem")).unwrap()),
        ("a name elsewhere", |path, _| {
            fs::remove_file(path.join("key.pem")).unwrap();
            symlink("/dev/null", path.join("key.pem")).unwrap();
        }),
        ("the link gone", |path, _| fs::remove_file(path.join("..data")).unwrap()),
        ("the version gone", |path, _| fs::remove_dir_all(path.join("..hawser-1")).unwrap()),
        ("a link in place of the version", |path, _| {
            fs::rename(path.join("..hawser-1"), path.join("elsewhere")).unwrap();
            symlink("elsewhere", path.join("..hawser-1")).unwrap();
        }),
    ];
    for (case, change) in cases {
        let (directory, mut options) = place();
        let identity = identity();
        done(&options, &identity);
        change(directory.path(), &mut options);

        assert!(done(&options, &identity), "{case}");

        assert!(same(&shown(directory.path()).unwrap(), &identity), "{case}");
        assert!(!done(&options, &identity), "{case}");
    }
}

#[test]
fn the_version_before_is_kept_and_older_ones_are_not() {
    let (directory, options) = place();
    for _ in 0..4 {
        done(&options, &identity());
    }

    let found = names(directory.path());

    assert_eq!(found[..3], ["..data", "..hawser-3", "..hawser-4"]);
    assert_eq!(found.len(), 6);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let (directory, options) = place();
    let others = ["..hawser-", "..hawser-01", "..hawser-x", "..hawser-9.old", "other.pem"];
    for name in others {
        put(directory.path(), name, b"");
    }
    done(&options, &identity());
    put(directory.path(), "..hawser-1/notes", b"of somebody");

    for _ in 0..3 {
        done(&options, &identity());
    }

    let found = names(directory.path());
    assert!(others.iter().all(|name| found.contains(&(*name).to_owned())), "{found:?}");
    assert_eq!(names(&directory.path().join("..hawser-1")), ["notes"]);
}

#[test]
fn a_directory_that_somebody_else_switches_is_refused() {
    let (directory, options) = place();
    DirBuilder::new().mode(0o700).create(directory.path().join("..2026_08_01")).unwrap();
    symlink("..2026_08_01", directory.path().join("..data")).unwrap();

    let error = public_switch(&options, &identity(), &identity().roots).unwrap_err();

    assert!(error.to_string().contains("..data is kept by another program"), "{error}");
    assert_eq!(names(directory.path()), ["..2026_08_01", "..data"]);
}

#[test]
fn two_do_not_switch_at_once() {
    let (directory, options) = place();
    let held = Directory::open(directory.path()).unwrap();

    let error = public_switch(&options, &identity(), &identity().roots).unwrap_err();

    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(held);
    assert!(done(&options, &identity()));
}

#[test]
fn a_process_that_is_being_started_keeps_nobody_out() {
    let (directory, options) = place();
    let held = Directory::open(directory.path()).unwrap();
    // What it has between fork and exec.
    let inherited = held.inherited();

    drop(held);

    assert!(done(&options, &identity()));
    drop(inherited);
}

#[test]
fn an_error_says_what_to_do() {
    let (directory, mut options) = place();
    let error = |options: &Options| {
        let identity = identity();
        public_switch(options, &identity, &identity.roots).unwrap_err().to_string()
    };
    let user = geteuid();

    options.directory = directory.path().join("absent");
    assert!(
        error(&options).contains(&format!("does not exist: make it, and give it to user {user}"))
    );
    options.directory = directory.path().join("file");
    put(directory.path(), "file", b"");
    assert!(error(&options).starts_with("open directory"));
    // Nobody makes anything there, not even root.
    options.directory = "/sys".into();
    let text = error(&options);
    assert!(
        text.contains("chown its directory to that user") || text.contains("ReadWritePaths="),
        "{text}"
    );
    options.directory = directory.path().join("full");
    DirBuilder::new().recursive(true).create(options.directory.join("key.pem")).unwrap();
    assert!(error(&options).ends_with("full/key.pem is a directory: move it away"));
}

#[test]
fn files_are_given_away_by_root_alone_and_nobody_else_sees_them_before() {
    let (directory, mut options) = place();
    let (owner, group) = (geteuid().as_raw() + 1, getegid().as_raw() + 1);
    (options.owner, options.group) = (Some(owner), Some(group));
    let identity = identity();

    let outcome = public_switch(&options, &identity, &identity.roots);

    if geteuid().is_root() {
        assert!(outcome.unwrap());
        let found = fs::metadata(directory.path().join("key.pem")).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (owner, group, 0o600));
        assert!(!done(&options, &identity));
    } else {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(&format!("SupplementaryGroups={group}")), "{error}");
        options.group = None;
        let error = public_switch(&options, &identity, &identity.roots).unwrap_err().to_string();
        assert!(error.contains("only root can"), "{error}");
        assert!(shown(directory.path()).is_none());
    }
}

#[test]
fn a_link_of_somebody_else_is_not_followed() {
    let (directory, options) = place();
    let elsewhere = tempfile::tempdir().unwrap();
    put(elsewhere.path(), "secret", b"of root");
    put(elsewhere.path(), "shared", b"of root too");
    symlink(elsewhere.path().join("secret"), directory.path().join("cert-chain.pem")).unwrap();
    fs::hard_link(elsewhere.path().join("shared"), directory.path().join("root-cert.pem")).unwrap();
    put(directory.path(), "key.pem", b"a key");
    let identity = identity();

    assert!(done(&options, &identity));

    assert!(same(&shown(directory.path()).unwrap(), &identity));
    assert_eq!(names(&directory.path().join("..hawser-1")), ["key.pem"]);
    assert_eq!(fs::read(elsewhere.path().join("secret")).unwrap(), b"of root");
    assert_eq!(fs::read(elsewhere.path().join("shared")).unwrap(), b"of root too");
}

#[test]
fn what_is_too_large_or_no_file_is_not_copied() {
    let (directory, options) = place();
    put(directory.path(), "cert-chain.pem", b"");
    let large = File::options().write(true).open(directory.path().join("cert-chain.pem")).unwrap();
    large.set_len(1 << 30).unwrap();
    nix::unistd::mkfifo(&directory.path().join("key.pem"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    put(directory.path(), "root-cert.pem", b"a root");

    assert!(done(&options, &identity()));

    assert_eq!(names(&directory.path().join("..hawser-1")), ["root-cert.pem"]);
}

#[test]
fn a_reader_that_opens_the_link_once_never_sees_a_mixed_set() {
    let (directory, options) = place();
    let identities = [identity(), identity()];
    done(&options, &identities[0]);

    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..20 {
                done(&options, &identities[(round + 1) % 2]);
            }
        });
        while !writer.is_finished() {
            // It may be gone, after two more switches.
            let version = fs::read_link(directory.path().join("..data")).unwrap();
            if let Some(seen) = shown(&directory.path().join(version)) {
                assert!(identities.iter().any(|identity| same(identity, &seen)));
            }
        }
    });
}

#[test]
fn who_was_told_is_remembered_with_the_version() {
    let (_directory, options) = place();
    let (first, second) = (identity(), identity());
    let outcome =
        |told, switched, version: &str| Outcome { switched, version: version.into(), told };
    let switch = || switch(&options, &first, &first.roots).unwrap();

    assert_eq!(switch(), outcome(false, true, "..hawser-1"));
    assert_eq!(switch(), outcome(false, false, "..hawser-1"));
    told(&options, "..hawser-1").unwrap();
    assert_eq!(switch(), outcome(true, false, "..hawser-1"));
    done(&options, &second);
    assert_eq!(switch(), outcome(false, true, "..hawser-3"));
}

#[test]
fn files_of_another_user_are_taken_over_by_root() {
    let (directory, options) = place();
    let old = identity();
    plain(directory.path(), &old);
    if geteuid().is_root() {
        for name in NAMES {
            fchown(File::open(directory.path().join(name)).unwrap(), Some(1), Some(1)).unwrap();
        }
    }
    let new = identity();

    assert!(done(&options, &new));

    assert!(same(&shown(directory.path()).unwrap(), &new));
    assert!(same(&shown(&directory.path().join("..hawser-1")).unwrap(), &old));
}
