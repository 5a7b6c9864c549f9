//! A process is killed at every step of what it does, and the next one looks at what is there.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use super::*;
use crate::step::killer::kill_after;

/// Something that changes the directory.
struct Case {
    name: &'static str,
    before: fn(&Path),
    work: fn(&Path),
    /// What the next process may find in the file.
    allowed: &'static [Option<&'static [u8]>],
    /// How many files may be there besides.
    aside: usize,
    /// How many steps it has, or a test that counts none would be one that holds nothing.
    steps: usize,
}

const OLD: &[u8] = b"the old key";
const NEW: &[u8] = b"the new key, which is longer";

const CASES: [Case; 6] = [
    Case {
        name: "first write",
        before: |_| (),
        work: |path| open(path).write("identity", 1, NEW).unwrap(),
        allowed: &[None, Some(NEW)],
        aside: 0,
        steps: 9,
    },
    Case {
        name: "later write",
        before: |path| open(path).write("identity", 1, OLD).unwrap(),
        work: |path| open(path).write("identity", 1, NEW).unwrap(),
        allowed: &[Some(OLD), Some(NEW)],
        aside: 0,
        steps: 9,
    },
    Case {
        name: "write after a crash",
        before: |path| {
            open(path).write("identity", 1, OLD).unwrap();
            File::create(path.join(".identity.1-0.tmp")).unwrap();
            File::create(path.join(".identity.1-1.tmp")).unwrap();
        },
        work: |path| open(path).write("identity", 1, NEW).unwrap(),
        allowed: &[Some(OLD), Some(NEW)],
        aside: 0,
        steps: 11,
    },
    Case {
        name: "plain write",
        before: |path| open(path).write("identity", 1, OLD).unwrap(),
        work: |path| {
            let body = [&format::header(1, NEW), NEW].concat();
            crate::write_file(&path.join("identity"), 0o600, &body).unwrap();
        },
        allowed: &[Some(OLD), Some(NEW)],
        aside: 0,
        steps: 7,
    },
    Case {
        name: "remove",
        before: |path| open(path).write("identity", 1, OLD).unwrap(),
        work: |path| open(path).remove("identity").unwrap(),
        allowed: &[Some(OLD), None],
        aside: 0,
        steps: 3,
    },
    Case {
        name: "set aside",
        before: |path| {
            for _ in 0..3 {
                open(path).write("identity", 1, OLD).unwrap();
                open(path).set_aside("identity", "a test").unwrap();
            }
            open(path).write("identity", 1, OLD).unwrap();
        },
        work: |path| drop(open(path).set_aside("identity", "a test").unwrap()),
        allowed: &[Some(OLD), None],
        // One too many until the next is set aside.
        aside: 4,
        steps: 4,
    },
];

fn open(directory: &Path) -> Store {
    Store::open(directory).unwrap()
}

#[test]
fn a_process_that_is_killed_at_any_step_leaves_the_old_state_or_the_new_one() {
    // This test is also the process that is killed.
    if let Some(told) = told() {
        let mut told = told.splitn(3, ' ');
        let [case, steps, directory] = [(); 3].map(|()| told.next().unwrap());
        kill_after(steps.parse().unwrap());
        (CASES[case.parse::<usize>().unwrap()].work)(Path::new(directory));
        return;
    }
    for (number, case) in CASES.iter().enumerate() {
        let mut steps = 0;
        loop {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("state");
            (case.before)(&path);

            let killed = killed(&format!("{number} {steps} {}", path.display()));

            let store = open(&path);
            let found = store.read("identity", 1).unwrap();
            let found = found.as_ref().map(|found| found.as_slice());
            let place = format!("{}, step {steps}", case.name);
            assert!(case.allowed.contains(&found), "{place}: {found:?}");
            assert!(killed || found == case.allowed[1], "{place}: {found:?}");
            nothing_is_left_over(&store, case, &place);

            store.write("identity", 1, b"newer").unwrap();
            assert_eq!(store.read("identity", 1).unwrap().unwrap().as_slice(), b"newer");
            if !killed {
                break;
            }
            steps += 1;
        }
        assert!(steps >= case.steps, "{} has only {steps} steps", case.name);
    }
}

fn nothing_is_left_over(store: &Store, case: &Case, place: &str) {
    let (aside, rest): (Vec<_>, Vec<_>) =
        names(store).into_iter().partition(|name| name.contains(ASIDE));
    assert!(aside.len() <= case.aside, "{place}: {aside:?}");
    assert!(rest.is_empty() || rest == ["identity"], "{place}: {rest:?}");
    for name in rest {
        let mode = fs::metadata(store.directory.join(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600, "{place}");
    }
}

/// Runs this test in a process of its own; whether that was killed.
fn killed(tell: &str) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--test-threads=1"])
        .env(TOLD, tell)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.signal() == Some(9), "{tell}: {status}");
    !status.success()
}

#[expect(clippy::disallowed_methods, reason = "the test harness takes no arguments for a test")]
fn told() -> Option<String> {
    std::env::var(TOLD).ok()
}

const TEST: &str = "store::tests::killed::\
                    a_process_that_is_killed_at_any_step_leaves_the_old_state_or_the_new_one";
const TOLD: &str = "HAWSER_TEST_KILLED";
