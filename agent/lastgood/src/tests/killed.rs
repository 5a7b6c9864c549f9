//! A process is killed at every step of what it does, and the next one looks at what is there.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use super::*;
use crate::step::killer::kill_after;

/// What the process does: from an empty shelf to one that was compacted.
const ROUNDS: u8 = 9;

fn push(round: u8) -> Push<'static> {
    let body = vec![round; 900];
    match round {
        3 => Push::delta(&[("a", &body)]).removing(&["b"]),
        5 => Push::whole(&[("a", &body), ("c", b"same")]),
        6 => Push::delta(&[("large", &vec![round; 70_000])]),
        7 => Push::delta(&[("a", &body)]).removing(&["large"]),
        _ => Push::delta(&[("a", &body), ("b", &[round])]),
    }
}

/// What is kept after so many acceptances.
fn states() -> Vec<Option<State>> {
    let mut states = vec![None];
    let mut state = State::new();
    for round in 0..ROUNDS {
        let push = push(round);
        if push.whole {
            state.clear();
        }
        state.extend(push.resources.iter().map(|(name, body)| (name.clone(), value(name, body))));
        push.removed.iter().for_each(|name| drop(state.remove(name)));
        states.push(Some(state.clone()));
    }
    states
}

async fn work(directory: &Path) {
    let shelf = Shelf::open(options(directory));
    let book = shelf.book(KEY).await;
    for round in 0..ROUNDS {
        // Refused, and cut.
        drop(Push::delta(&[("a", b"never"), ("x", b"never")]).to(&book, "refused").await);
        let mut draft = book.draft(CLUSTER, Flavour::Delta, false);
        draft.resource(400_000);
        draft.bytes(vec![0x0a; 300_000].into());
        draft.hand_over().await;
        drop(draft);
        push(round).accepted(&book, "v").await;
        book.known(CLUSTER).await;
        println!("accepted {}", round + 1);
    }
    shelf.closed().await;
}

#[test]
fn a_process_that_is_killed_at_any_step_leaves_the_state_before_or_after_an_acceptance() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // This test is also the process that is killed.
    if let Some(told) = told() {
        let (steps, directory) = told.split_once(' ').unwrap();
        kill_after(steps.parse().unwrap());
        runtime.block_on(work(Path::new(directory)));
        return;
    }
    let states = states();
    for steps in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let (killed, accepted) = killed(steps, directory.path());

        let found = runtime.block_on(async {
            let shelf = Shelf::open(options(directory.path()));
            let book = shelf.book(KEY).await;
            let found = kept(&book).await;
            nothing_is_left_over(directory.path(), steps);
            Push::delta(&[("new", b"9")]).accepted(&book, "v").await;
            assert_eq!(kept(&book).await.unwrap()["new"], value("new", b"9"));
            shelf.closed().await;
            found
        });

        let allowed = &states[accepted..states.len().min(accepted + 2)];
        assert!(allowed.contains(&found), "step {steps}, {accepted} accepted: {found:?}");
        if !killed {
            assert_eq!(accepted, usize::from(ROUNDS));
            assert!(steps > 60, "it has only {steps} steps");
            let length = fs::metadata(log(directory.path())).unwrap().len();
            assert!(length < 70_000, "it was not compacted: {length}");
            break;
        }
    }
}

fn nothing_is_left_over(directory: &Path, steps: usize) {
    let book = place::book(&directory.join("lastgood"), KEY);
    if book.exists() {
        let names = names_in(&book);
        assert!(names.is_empty() || names == ["cluster.log"], "step {steps}: {names:?}");
    }
}

/// Runs this test in a process of its own; whether that was killed, and what it had done by then.
fn killed(steps: usize, directory: &Path) -> (bool, usize) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--test-threads=1", "--nocapture"])
        .env(TOLD, format!("{steps} {}", directory.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let status = output.status;
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(status.success() || status.signal() == Some(9), "{steps}: {status} {text} {error}");
    let accepted = text.lines().filter(|line| line.contains("accepted ")).count();
    (!status.success(), accepted)
}

#[expect(clippy::disallowed_methods, reason = "the test harness takes no arguments for a test")]
fn told() -> Option<String> {
    std::env::var(TOLD).ok()
}

const TEST: &str = "tests::killed::\
    a_process_that_is_killed_at_any_step_leaves_the_state_before_or_after_an_acceptance";
const TOLD: &str = "HAWSER_TEST_KILLED";
