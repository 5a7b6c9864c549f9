//! The old file or the new one, and nothing beside it.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootstrap.json");
    (directory, path)
}

#[test]
fn a_file_is_replaced_whole_with_the_mode_asked_for() {
    let (directory, path) = place();
    for (mode, body) in [(0o600, "a longer one"), (0o644, "short"), (0o666, ""), (0o440, "ro")] {
        write_file(&path, mode, body.as_bytes()).unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), body);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        assert_eq!(names(directory.path()), ["bootstrap.json"]);
    }
}

#[test]
fn no_special_bits_are_set() {
    let (_directory, path) = place();

    write_file(&path, 0o106_755, b"").unwrap();

    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_link_is_replaced_and_what_it_leads_to_is_kept() {
    let (directory, path) = place();
    let kept = directory.path().join("kept");
    write_file(&kept, 0o600, b"kept").unwrap();
    symlink(&kept, &path).unwrap();

    write_file(&path, 0o600, b"new").unwrap();

    assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
    let (directory, _) = place();
    // Leaves no room for what the temporary name adds.
    let path = directory.path().join("x".repeat(250));
    File::create(&path).unwrap().write_all(b"old").unwrap();

    let error = write_file(&path, 0o600, b"new").unwrap_err();

    assert!(matches!(error, Error::Write { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(directory.path()).len(), 1);
}

#[test]
fn a_replacement_that_fails_leaves_what_is_there_and_nothing_else() {
    let (directory, path) = place();
    fs::create_dir(&path).unwrap();

    let error = write_file(&path, 0o600, b"new").unwrap_err();

    assert!(matches!(error, Error::Replace { .. }), "{error}");
    assert_eq!(names(directory.path()), ["bootstrap.json"]);
}

#[test]
fn an_error_names_the_file() {
    let cases = ["/", "..", "/proc/nowhere/file"];
    for path in cases {
        let error = write_file(Path::new(path), 0o600, b"").unwrap_err();

        assert!(error.to_string().contains(path), "{error}");
    }
}

#[test]
fn the_next_writer_removes_what_a_crash_has_left() {
    let (directory, path) = place();
    for leftover in [".bootstrap.json.1-0.tmp", ".bootstrap.json.4194304-77.tmp"] {
        File::create(directory.path().join(leftover)).unwrap();
    }
    for other in [".other.1-0.tmp", ".bootstrap.json.tmp", ".bootstrap.json.x-0.tmp"] {
        File::create(directory.path().join(other)).unwrap();
    }

    write_file(&path, 0o600, b"new").unwrap();

    assert_eq!(
        names(directory.path()),
        [".bootstrap.json.tmp", ".bootstrap.json.x-0.tmp", ".other.1-0.tmp", "bootstrap.json"]
    );
}

#[test]
fn a_file_that_is_being_written_is_no_leftover() {
    let (directory, path) = place();
    let writing = Temporary::create(directory.path(), "bootstrap.json").unwrap();

    sweep(directory.path(), |_| true).unwrap();

    let written = writing.fill(0o600, &[b"half", b" and half"]).unwrap();
    written.rename(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "half and half");
}

#[test]
fn a_file_that_a_sweeper_took_is_given_up() {
    let (directory, _) = place();
    let locked = Temporary::create(directory.path(), "locked").unwrap();
    let sweeper = Temporary {
        path: locked.path.clone(),
        file: File::open(&locked.path).unwrap(),
        renamed: true,
    };
    let removed = Temporary::create(directory.path(), "removed").unwrap();
    fs::remove_file(&removed.path).unwrap();

    assert!(!sweeper.claim().unwrap());
    assert!(!removed.claim().unwrap());
    assert!(locked.claim().unwrap());
}

#[test]
fn a_leftover_with_our_own_process_id_is_no_obstacle() {
    let (directory, path) = place();
    for number in 0..2000 {
        let leftover = format!(".bootstrap.json.{}-{number}.tmp", std::process::id());
        File::create(directory.path().join(leftover)).unwrap();
    }

    replace(directory.path(), "bootstrap.json", 0o600, &[b"new"]).unwrap();

    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn readers_beside_a_writer_see_one_file_or_the_other() {
    let (_directory, path) = place();
    let bodies = [vec![b'a'; 70_000], vec![b'b'; 50_000]];
    write_file(&path, 0o600, &bodies[0]).unwrap();

    std::thread::scope(|scope| {
        let writers = [0, 1].map(|body| {
            let (path, body) = (&path, &bodies[body]);
            scope.spawn(move || {
                for _ in 0..20 {
                    write_file(path, 0o600, body).unwrap();
                }
            })
        });
        while writers.iter().any(|writer| !writer.is_finished()) {
            assert!(bodies.contains(&fs::read(&path).unwrap()));
        }
    });
}

#[test]
fn the_names_of_temporary_files_are_told_from_others() {
    let cases = [
        (".identity.12-3.tmp", Some("identity")),
        (".a.b.12-3.tmp", Some("a.b")),
        ("..1-1.tmp", None),
        (".identity.12-.tmp", None),
        (".identity.-3.tmp", None),
        (".identity.1-2-3.tmp", None),
        (".identity.tmp", None),
        ("identity.12-3.tmp", None),
        (".identity.12-3", None),
    ];
    for (temporary, name) in cases {
        assert_eq!(target(temporary), name, "{temporary}");
    }
}
