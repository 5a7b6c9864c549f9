//! Real programs: shell scripts in a directory of their own.
//!
//! The shell is given the script to read, not the script to the kernel to execute: a file that
//! was just written cannot be executed while another thread's child still holds it open.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::{OpenOptions, Receiver},
};

use super::*;

const AMPLE: Limits = Limits { time: Duration::from_secs(60), output: 64 * 1024 };

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, mode: u32, body: &str) -> PathBuf {
        let path = self.path(name);
        let mut file =
            fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&path).unwrap();
        file.write_all(body.as_bytes()).unwrap();
        path
    }

    fn script(&self, body: &str) -> Command {
        let script = self.file("script", 0o600, body);
        Command::new("/bin/sh".into(), vec![script.to_str().unwrap().into()]).unwrap()
    }

    /// Ends when nobody who was started with it as output lives any more.
    fn witness(&self) -> Receiver {
        let path = self.path("witness");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        OpenOptions::new().open_receiver(path).unwrap()
    }

    /// Has a grandchild tell the witness that it is there, and then stay for ever.
    fn grandchild(&self, then: &str) -> Command {
        let witness = self.path("witness");
        self.script(&format!("(echo up; exec sleep 1000) > {} &\n{then}\n", witness.display()))
    }
}

async fn comes_up(witness: &mut Receiver) {
    let mut line = [0; 3];
    // Until somebody opens the other side, it reads as if all had left.
    while witness.read(&mut line).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(&line, b"up\n");
}

async fn goes(mut witness: Receiver) {
    assert_eq!(witness.read(&mut [0]).await.unwrap(), 0, "the last of them has left");
}

#[tokio::test]
async fn what_it_prints_is_returned_byte_for_byte() {
    let place = Place::new();
    let command = place.script("printf 'a\\n\\0\\377'; printf ' b'; echo noise >&2");

    let output = command.run(&[], AMPLE).await.unwrap();

    assert_eq!(*output, b"a\n\0\xff b");
}

#[tokio::test]
async fn its_environment_is_what_it_was_given_and_a_path() {
    let command: Command = "/usr/bin/env".parse().unwrap();

    let output = command.run(&[("AUDIENCE", "istio-ca"), ("EMPTY", "")], AMPLE).await.unwrap();

    let text = String::from_utf8(output.to_vec()).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, ["AUDIENCE=istio-ca", "EMPTY=", path]);
}

#[tokio::test]
async fn its_input_is_empty_and_its_group_its_own() {
    let place = Place::new();
    let command = place.script("cat; ps -o pgid= -p $$ 2>/dev/null || echo $$; echo $$");

    let output = command.run(&[], AMPLE).await.unwrap();

    let text = String::from_utf8(output.to_vec()).unwrap();
    let numbers: Vec<_> = text.split_whitespace().collect();
    assert!(matches!(numbers[..], [group, id] if group == id), "{text}");
}

#[tokio::test]
async fn output_may_be_as_long_as_the_limit_and_no_longer() {
    let place = Place::new();
    let command = place.script("head -c 20000 /dev/zero; echo too wordy >&2");
    for (output, fits) in [(20_000, true), (19_999, false), (0, false)] {
        let result = command.run(&[], Limits { output, ..AMPLE }).await;

        assert_eq!(result.is_ok(), fits, "{output}");
        if let Err(error) = result {
            assert!(matches!(error, Error::ProgramOutput { .. }), "{error}");
            let text = format!("/bin/sh was killed: it printed more than {output} bytes");
            assert!(error.to_string().contains(&text), "{error}");
        }
    }
}

#[tokio::test]
async fn endless_output_ends_the_program_and_all_it_has_started() {
    let place = Place::new();
    let mut witness = place.witness();
    let command = place.grandchild("read _ < go; exec yes");
    mkfifo(&place.path("go"), Mode::S_IRWXU).unwrap();
    let go = place.path("go");
    let script = place.path("script");
    let text = fs::read_to_string(&script).unwrap().replace("< go", &format!("< {}", go.display()));
    replace(&script, &text);

    let (result, ()) = tokio::join!(command.run(&[], AMPLE), async {
        comes_up(&mut witness).await;
        let mut go = loop {
            // Its reader may not be there yet.
            match OpenOptions::new().open_sender(&go) {
                Ok(go) => break go,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        tokio::io::AsyncWriteExt::write_all(&mut go, b"\n").await.unwrap();
    });

    assert!(matches!(result.unwrap_err(), Error::ProgramOutput { .. }));
    goes(witness).await;
}

fn replace(path: &Path, text: &str) {
    fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn when_its_time_is_up_it_is_killed_with_all_it_has_started() {
    let place = Place::new();
    let mut witness = place.witness();
    let command = place.grandchild("echo waiting for the vault >&2; exec sleep 1000");
    let mut run = std::pin::pin!(command.run(&[], AMPLE));
    tokio::select! {
        _ = &mut run => panic!("it has ended by itself"),
        () = comes_up(&mut witness) => {}
    }

    // From here on all timers are due as soon as there is nothing else to do.
    tokio::time::pause();
    let error = run.await.unwrap_err();

    assert!(matches!(error, Error::ProgramTimeout { .. }), "{error}");
    assert!(
        error.to_string().starts_with("program /bin/sh was killed: not done after 60s"),
        "{error}"
    );
    goes(witness).await;
}

#[tokio::test]
async fn when_nobody_waits_any_more_it_is_killed_with_all_it_has_started() {
    let place = Place::new();
    let mut witness = place.witness();
    let command = place.grandchild("exec sleep 1000");

    tokio::select! {
        _ = command.run(&[], AMPLE) => panic!("it has ended by itself"),
        () = comes_up(&mut witness) => {}
    }

    goes(witness).await;
}

#[tokio::test]
async fn what_it_leaves_in_the_background_neither_delays_the_answer_nor_lives_on() {
    let place = Place::new();
    let witness = place.witness();
    // The one in the background holds both pipes, and the witness from its first moment.
    let command = place.script(&format!(
        "exec 3> {}\nsleep 1000 &\nexec 3>&-\necho token\n",
        place.path("witness").display()
    ));

    let output = command.run(&[], AMPLE).await.unwrap();

    assert_eq!(*output, b"token\n");
    goes(witness).await;
}

#[tokio::test]
async fn a_failure_is_told_with_its_code_and_the_last_line_of_complaint() {
    let cases = [
        ("exit 3", "failed with exit status: 3"),
        ("echo first >&2; echo; echo ' denied ' >&2; echo >&2; exit 1", "exit status: 1: denied"),
        ("printf 'no end of line' >&2; exit 1", "exit status: 1: no end of line"),
        ("printf 'a\\033[31m\\tb' >&2; exit 1", r"exit status: 1: a\u{1b}[31m\tb"),
        ("printf '\\377\\n' >&2; exit 1", "exit status: 1: \u{fffd}"),
        ("kill -9 $$", "failed with signal: 9 (SIGKILL)"),
        ("echo it is secret; exit 1", "failed with exit status: 1"),
    ];
    for (body, expected) in cases {
        let place = Place::new();

        let error = place.script(body).run(&[], AMPLE).await.unwrap_err();

        assert!(matches!(error, Error::ProgramFailed { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("program /bin/sh failed with ") && text.ends_with(expected),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn complaints_without_end_cost_neither_memory_nor_the_answer() {
    let place = Place::new();
    let body = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo token";
    let output = place.script(body).run(&[], AMPLE).await.unwrap();
    assert_eq!(*output, b"token\n");

    let place = Place::new();
    let body = "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1";
    let error = place.script(body).run(&[], AMPLE).await.unwrap_err();
    let expected = format!("program /bin/sh failed with exit status: 1: {}", "x".repeat(300));
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_what_to_do() {
    let place = Place::new();
    place.file("plain", 0o644, "#!/bin/sh\n");
    place.file("orphan", 0o755, "#!/no/such/interpreter\n");
    fs::create_dir(place.path("directory")).unwrap();
    let locked = place.file("locked", 0o755, "#!/bin/sh\n");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let cases = [
        ("missing", "does not exist: check the path"),
        ("plain/below", "start program"),
        ("plain", "may not be executed: check its mode"),
        ("locked", "may not be executed: check its mode"),
        ("directory", "may not be executed: check its mode"),
        ("orphan", "the interpreter its first line names does not exist"),
    ];
    for (name, expected) in cases {
        let path = place.path(name);

        let error = Command::new(path.clone(), vec![]).unwrap().run(&[], AMPLE).await.unwrap_err();

        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(path.to_str().unwrap()), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_hundred_runs_at_once_keep_their_answers_apart() {
    let mut runs = tokio::task::JoinSet::new();
    for number in 0..100 {
        let command: Command = format!("/bin/echo {number}").parse().unwrap();
        runs.spawn(async move { (number, command.run(&[], AMPLE).await) });
    }
    while let Some(run) = runs.join_next().await {
        let (number, output) = run.unwrap();
        assert_eq!(*output.unwrap(), format!("{number}\n").into_bytes());
    }
}
