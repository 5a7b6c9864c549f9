//! Sources, and what is told of their changes.

use std::{fs, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{tests::mesh::Mesh, token::tests::jwt};

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, body: &str) {
        hawser_state::write_file(&self.path(name), 0o600, body.as_bytes()).unwrap();
    }

    fn credentials(&self, tokens: Vec<TokenSource>) -> Credentials {
        let options =
            Options { provisioned: Some(self.folder.path().to_owned()), tokens, id: None };
        Credentials::new(options, watch::channel(None).1, Clock::default())
    }

    fn file(&self) -> TokenSource {
        TokenSource::File(self.path("istio-token"))
    }
}

async fn refusal(source: &TokenSource) -> String {
    Chain(&source.obtain().await.unwrap_err()).to_string()
}

#[tokio::test]
async fn a_token_file_is_trimmed_and_a_missing_or_empty_one_is_none() {
    let machine = Machine::new();
    let source = machine.file();
    assert!(source.obtain().await.unwrap().is_none());

    for (written, expected) in [(" a.b.c\n", Some("a.b.c")), ("", None), (" \n\n", None)] {
        machine.write("istio-token", written);
        let token = source.obtain().await.unwrap();
        assert_eq!(token.as_deref().map(String::as_str), expected, "{written:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_token_is_refused() {
    let machine = Machine::new();
    let source = machine.file();
    for (body, expected) in [
        (&b"two\nlines"[..], "it holds characters that no token has"),
        (&[0xff, 0xfe], "utf-8"),
        (&[b'a'; 65 << 10], "istio-token: larger than 65536 bytes"),
    ] {
        hawser_state::write_file(&machine.path("istio-token"), 0o600, body).unwrap();
        let text = refusal(&source).await;
        assert!(text.contains(expected), "{text}");
    }
    let folder = TokenSource::File(machine.folder.path().to_owned());
    assert!(refusal(&folder).await.ends_with("not a regular file"));
}

#[tokio::test]
async fn a_program_is_told_the_audience_and_its_first_line_is_the_token() {
    let program =
        |script: &str| TokenSource::Command(format!("/bin/sh -c \"{script}\"").parse().unwrap());
    let token = program("echo $HAWSER_AUDIENCE; echo more").obtain().await.unwrap().unwrap();
    assert_eq!(token.as_str(), "istio-ca");
    assert!(refusal(&program("exit 0")).await.contains("printed nothing"));
    assert!(refusal(&program("echo; echo a.b.c")).await.contains("printed nothing"));
    assert!(refusal(&program("echo a b c")).await.contains("characters that no token has"));
    let text = refusal(&program("head -c 70000 /dev/zero")).await;
    assert!(text.contains("65536 bytes"), "{text}");
}

#[test]
fn what_a_program_prints_is_taken_as_it_is_or_not_at_all() {
    let taken = |output: &[u8]| printed(output).ok().map(|token| token.to_string());
    for (output, expected) in [
        (&b"a.b.c"[..], Some("a.b.c")),
        (b"a.b.c\r\nx y", Some("a.b.c")),
        (b" a.b.c \n", Some("a.b.c")),
        (b"a.b.c\n\xff", Some("a.b.c")),
        (b"", None),
        (b"\na.b.c", None),
        (b"a\xffb", None),
        (b"a\0b", None),
        (&[b'a'; 70_000], None),
    ] {
        assert_eq!(taken(output).as_deref(), expected, "{output:?}");
    }
}

#[tokio::test]
async fn the_outlook_reads_what_there_is_and_runs_nothing() {
    let machine = Machine::new();
    let ran = machine.path("ran");
    let command = format!("/bin/sh -c \"echo > {}; echo x\"", ran.display()).parse().unwrap();
    let identity = Mesh::new().identity(Duration::from_secs(3600));
    machine.write("cert-chain.pem", identity.chain.pem());
    machine.write("key.pem", "garbage");
    let options = Options {
        provisioned: Some(machine.folder.path().to_owned()),
        tokens: vec![machine.file(), TokenSource::Command(command)],
        id: None,
    };
    let id = identity.name().to_owned();
    let own = watch::channel(Some(Arc::new(identity))).1;
    let credentials = Credentials::new(options, own, Clock::default());

    let outlook = credentials.outlook().await;

    let [own, pair, file, program] = &outlook[..] else { panic!("{outlook:?}") };
    assert!(own.usable);
    assert_eq!((own.what.as_str(), own.subject.as_ref()), ("own certificate", Some(&id)));
    assert!(!pair.usable);
    assert!(pair.note.as_ref().unwrap().contains("key.pem holds no private key"), "{pair:?}");
    assert!(!file.usable);
    assert!(file.note.as_ref().unwrap().starts_with("not there; write a fresh one"), "{file:?}");
    assert!(program.usable);
    assert_eq!(program.note.as_deref(), Some("asked for when it is needed"));
    assert!(!ran.exists());
}

#[tokio::test]
async fn a_pair_that_is_half_there_is_named() {
    let machine = Machine::new();
    let credentials = machine.credentials(Vec::new());
    assert!(credentials.outlook().await.is_empty(), "nothing is no news");
    let identity = Mesh::new().identity(Duration::from_secs(3600));
    machine.write("key.pem", identity.key.pem());
    let note = credentials.outlook().await.remove(0).note.unwrap();
    assert!(note.ends_with("cert-chain.pem is missing beside the other half of the pair"));
    machine.write("cert-chain.pem", "garbage");
    let note = credentials.outlook().await.remove(0).note.unwrap();
    assert!(note.contains("cert-chain.pem holds no certificate chain"), "{note}");
}

#[tokio::test]
async fn the_own_pair_put_there_for_others_is_offered_once() {
    let machine = Machine::new();
    let identity = Mesh::new().identity(Duration::from_secs(3600));
    machine.write("key.pem", identity.key.pem());
    machine.write("cert-chain.pem", identity.chain.pem());
    let options =
        Options { provisioned: Some(machine.folder.path().to_owned()), ..Options::default() };
    let own = watch::channel(Some(Arc::new(identity))).1;
    let credentials = Credentials::new(options, own, Clock::default());

    assert_eq!(credentials.stock().purse(true).await.contents(), ["own certificate"]);
    assert!(credentials.stock().purse(false).await.contents().is_empty());
}

#[tokio::test]
async fn a_pair_of_somebody_else_is_named_and_never_shown() {
    let machine = Machine::new();
    let identity = Mesh::new().identity(Duration::from_secs(3600));
    machine.write("key.pem", identity.key.pem());
    machine.write("cert-chain.pem", identity.chain.pem());
    let shown = async |id: &str| {
        let options = Options {
            id: Some(SpiffeId::parse(id).unwrap()),
            provisioned: Some(machine.folder.path().to_owned()),
            tokens: Vec::new(),
        };
        let credentials = Credentials::new(options, watch::channel(None).1, Clock::default());
        let prospect = credentials.outlook().await.remove(0);
        (credentials.stock().purse(true).await.contents().len(), prospect.usable, prospect.note)
    };
    assert_eq!(shown(identity.name()).await, (1, true, None));

    let (offered, usable, note) = shown("spiffe://cluster.local/ns/vms/sa/another").await;

    assert_eq!((offered, usable), (0, false));
    assert!(note.unwrap().ends_with("which is not this machine"));
}

/// Looks once, and gives the wait up.
async fn told_at_once(credentials: &Credentials) -> bool {
    tokio::select! {
        biased;
        () = credentials.changed() => true,
        () = std::future::ready(()) => false,
    }
}

#[tokio::test]
async fn a_change_is_told_to_each_clone_once() {
    let machine = Machine::new();
    let one = machine.credentials(vec![machine.file()]);
    let other = one.clone();

    machine.write("istio-token", &jwt("{}"));
    tokio::join!(one.changed(), other.changed());

    assert!(!told_at_once(&one).await, "told already");
    machine.write("key.pem", "another");
    one.changed().await;
    other.changed().await;
}

#[tokio::test]
async fn a_change_before_anybody_waits_is_not_lost_nor_one_while_a_wait_is_given_up() {
    let machine = Machine::new();
    machine.write("istio-token", "a");
    let credentials = machine.credentials(vec![machine.file()]);
    fs::remove_file(machine.path("istio-token")).unwrap();
    credentials.changed().await;

    assert!(!told_at_once(&credentials).await, "the wait is given up");
    machine.write("istio-token", "b");
    credentials.changed().await;
}

#[tokio::test(start_paused = true)]
async fn without_files_nothing_changes() {
    let credentials = Credentials::none();
    assert!(timeout(Duration::from_secs(86_400), credentials.changed()).await.is_err());
    assert!(credentials.outlook().await.is_empty());
    assert!(credentials.last().is_none());
}

#[test]
fn secrets_are_not_printed() {
    let machine = Machine::new();
    let credentials = machine.credentials(vec![machine.file()]);
    machine.write("istio-token", "secret");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let purse = runtime.block_on(credentials.stock().purse(true));
    assert!(!format!("{purse:?} {credentials:?}").contains("secret"));
}
