//! Programs.

use super::*;
use crate::Exec;

fn program(words: &[&str]) -> Method {
    let mut words = words.iter().map(|word| (*word).to_owned());
    Method::Exec(Exec { program: words.next().unwrap(), arguments: words.collect() })
}

#[tokio::test]
async fn a_program_that_succeeds_is_well_wherever_it_is_found() {
    for words in [&["true"][..], &["/bin/sh", "-c", "exit 0"], &["sh", "-c", "echo much; exit 0"]] {
        assert_eq!(ask(program(words)).await, Ok(()), "{words:?}");
    }
}

#[tokio::test]
async fn a_program_that_does_not_is_not_and_says_why() {
    let cases: [(&[&str], &str); 4] = [
        (&["false"], "false ended with exit status: 1"),
        (
            &["/bin/sh", "-c", "echo secret; echo no database >&2; exit 3"],
            "/bin/sh ended with exit status: 3: no database",
        ),
        (&["no-such-program"], "no-such-program: not in the system's directories"),
        (&["/no/such/program"], "/no/such/program"),
    ];
    for (words, expected) in cases {
        let reason = ask(program(words)).await.unwrap_err();
        assert!(reason.contains(expected), "{reason}");
        assert!(!reason.contains("secret"), "{reason}");
    }
}

#[tokio::test]
async fn a_program_whose_time_is_up_goes_with_all_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("alive");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    // Both hold the pipe open for as long as they live.
    let script = "exec 3>\"$0\"; sleep 3600 & sleep 3600";
    let method = program(&["sh", "-c", script, fifo.to_str().unwrap()]);
    let mut reading = JoinSet::new();
    reading.spawn_blocking(move || std::fs::read(fifo).unwrap());

    let reason = once(&method, None, Duration::from_millis(300)).await.unwrap_err();

    assert_eq!(reason, "sh has not ended within 300ms");
    assert_eq!(reading.join_next().await.unwrap().unwrap(), b"", "nobody holds it any more");
}

#[tokio::test]
async fn a_program_that_prints_without_end_is_ended() {
    let reason = ask(program(&["cat", "/dev/zero"])).await.unwrap_err();

    assert!(reason.contains("/cat"), "{reason}");
}
