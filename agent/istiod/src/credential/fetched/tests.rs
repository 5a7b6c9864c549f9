//! Programs that count how often they are run.

use std::path::Path;

use super::*;
use crate::token::tests::jwt;

struct Program {
    folder: tempfile::TempDir,
    source: TokenSource,
}

impl Program {
    /// One that does `script` and leaves a mark of it; `$D` is a directory of its own.
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let body = format!("D={}\necho >> $D/runs\n{script}\n", folder.path().display());
        let path = folder.path().join("token.sh");
        hawser_state::write_file(&path, 0o600, body.as_bytes()).unwrap();
        let command = format!("/bin/sh \"{}\"", path.display()).parse().unwrap();
        Self { source: TokenSource::Command(command), folder }
    }

    fn runs(&self) -> usize {
        read(self.folder.path(), "runs").len()
    }
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn token(outcome: Result<Option<Zeroizing<String>>, Failed>) -> String {
    outcome.unwrap().unwrap().to_string()
}

#[tokio::test]
async fn a_token_is_kept_for_four_fifths_of_its_life() {
    let text = jwt(r#"{"exp":2000}"#);
    let program = Program::new(&format!("echo {text}"));
    let (fetched, (clock, hand)) = (Fetched::default(), Clock::manual(at(1000)));

    assert!(fetched.kept(clock.now()).is_none());
    assert_eq!(token(fetched.ask(&program.source, &clock).await), text);
    for (now, kept) in [(1000, true), (1799, true), (1800, false), (999, false)] {
        assert_eq!(fetched.kept(at(now)).is_some(), kept, "at {now}");
    }
    hand.set(at(1799));
    fetched.ask(&program.source, &clock).await.unwrap();
    assert_eq!(program.runs(), 1, "it was at hand");
    hand.set(at(1800));
    fetched.ask(&program.source, &clock).await.unwrap();
    assert_eq!(program.runs(), 2);
    fetched.forget();
    assert!(fetched.kept(clock.now()).is_none(), "refused");
}

#[test]
fn how_long_a_token_is_kept() {
    let table = [
        (r#"{"exp":2000}"#, 1800),
        (r#"{"exp":1000}"#, 1000),
        (r#"{"exp":10}"#, 1000),
        ("{}", 1300),
        ("no JSON", 1300),
    ];
    for (claims, until) in table {
        assert_eq!(keep_until(&jwt(claims), at(1000)), at(until), "{claims}");
    }
}

#[tokio::test]
async fn one_asks_and_the_others_take_its_answer() {
    // It ends when the test lets it.
    let program = Program::new("mkfifo $D/gate; read gate < $D/gate; echo a.b.c");
    let (fetched, clock) = (Fetched::default(), Clock::default());

    let ask = || fetched.ask(&program.source, &clock);
    let open_gate = async {
        let gate = program.folder.path().join("gate");
        while !gate.exists() {
            tokio::task::yield_now().await;
        }
        // Opened for both, so that it does not wait for the reader; and kept open, so that what
        // is written waits for the reader.
        let mut open = std::fs::OpenOptions::new().read(true).write(true).open(&gate).unwrap();
        std::io::Write::write_all(&mut open, b"go\n").unwrap();
        std::future::pending::<()>().await;
    };
    let answers = async { tokio::join!(ask(), ask(), ask()) };
    let (one, two, three) = tokio::select! {
        answers = answers => answers,
        () = open_gate => unreachable!(),
    };

    for answer in [one, two, three] {
        assert_eq!(token(answer), "a.b.c");
    }
    assert_eq!(program.runs(), 1);
}

#[tokio::test]
async fn a_failure_is_told_once_to_those_who_waited_for_it_and_tried_again_after_a_rest() {
    let program = Program::new("echo no vault today >&2; exit 1");
    let (clock, hand) = Clock::manual(at(1_000));
    let fetched = Fetched::default();

    let ask = || fetched.ask(&program.source, &clock);
    let (one, two) = tokio::join!(ask(), ask());
    let Err(Failed::Here(error)) = one else { panic!("{one:?}") };
    assert!(matches!(two, Err(Failed::Elsewhere)), "{two:?}");
    assert!(Chain(&error).to_string().starts_with("run istiod.token_command: program /bin/sh"));
    assert!(fetched.failure().unwrap().ends_with("no vault today"), "{:?}", fetched.failure());
    assert_eq!(program.runs(), 1);

    assert!(matches!(ask().await, Err(Failed::Elsewhere)), "it is left alone for a while");
    assert_eq!(program.runs(), 1);
    hand.advance(REST);
    assert!(ask().await.is_err());
    assert_eq!(program.runs(), 2);
}
