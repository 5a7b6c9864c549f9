//! A shell script in Envoy's place: it says on a pipe what happens to it.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpSocket, unix::pipe},
    task::JoinHandle,
};

use super::*;

/// What the script says, line by line.
type Said = Lines<BufReader<pipe::Receiver>>;

/// A supervised script in a directory of its own.
struct Stage {
    _folder: TempDir,
    said: Said,
    go_ahead: pipe::Sender,
    state: watch::Receiver<EnvoyState>,
    stop: CancellationToken,
}

impl Stage {
    /// The options for `script`, whose standard output is the pipe. It finds a second one in
    /// `$GO`, to wait for [`Stage::go`].
    fn set(script: &str, admin: SocketAddr) -> (Self, Options) {
        let folder = TempDir::new().unwrap();
        let [pipe, go] = ["said", "go"].map(|name| folder.path().join(name));
        for pipe in [&pipe, &go] {
            nix::unistd::mkfifo(pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let both_ends = || pipe::OpenOptions::new().read_write(true).clone();
        let said = both_ends().open_receiver(&pipe).unwrap();
        let go_ahead = both_ends().open_sender(&go).unwrap();
        let arguments = vec![
            "-c".into(),
            format!("exec >'{}' 2>/dev/null; GO='{}'\n{script}", pipe.display(), go.display())
                .into(),
        ];
        let (sender, state) = watch::channel(EnvoyState::default());
        let options = Options {
            binary: "/bin/sh".into(),
            arguments,
            admin,
            drain: Duration::ZERO,
            own_ports: Vec::new(),
            patience: Duration::from_secs(60),
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(5)),
            state: sender,
        };
        let said = BufReader::new(said).lines();
        let stop = CancellationToken::new();
        (Self { _folder: folder, said, go_ahead, state, stop }, options)
    }

    fn run(&self, options: Options) -> Run {
        #[expect(clippy::disallowed_methods, reason = "owned by the test, which awaits it")]
        tokio::spawn(run(options, self.stop.clone()))
    }

    async fn line(&mut self) -> String {
        self.said.next_line().await.unwrap().unwrap()
    }

    async fn go(&mut self) {
        self.go_ahead.write_all(b"go\n").await.unwrap();
    }

    async fn phase(&mut self, wanted: impl Fn(&EnvoyState) -> bool) -> EnvoyState {
        self.state.wait_for(wanted).await.unwrap().clone()
    }
}

/// Lets the clock of the runtime, and of nothing else, jump ahead.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

type Run = JoinHandle<Result<(), Error>>;

/// An address where nobody listens as long as the socket is held.
fn reserved() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Whether there is such a process that has not ended; one that nobody waits for has.
fn is_alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

#[tokio::test]
async fn an_envoy_that_ends_is_started_again_and_counted() {
    let (_socket, admin) = reserved();
    let (mut stage, options) = Stage::set("echo up; exit 3", admin);
    let run = stage.run(options);

    for _ in 0..3 {
        assert_eq!(stage.line().await, "up");
    }
    let state = stage.phase(|state| state.restarts >= 3).await;
    stage.stop.cancel();
    run.await.unwrap().unwrap();

    assert_eq!(state.ended.unwrap().to_string(), "exited with code 3");
    assert_eq!(stage.state.borrow().phase, Phase::Stopped);
}

#[tokio::test]
async fn an_envoy_that_somebody_kills_is_started_again() {
    let (_socket, admin) = reserved();
    let (mut stage, options) = Stage::set("echo $$; kill -9 $$", admin);
    let run = stage.run(options);

    let first = stage.line().await;
    let second = stage.line().await;
    let ended = stage.phase(|state| state.ended.is_some()).await.ended.unwrap();
    stage.stop.cancel();
    run.await.unwrap().unwrap();

    assert_ne!(first, second);
    assert!(ended.to_string().starts_with("killed by SIGKILL, not by the agent"), "{ended}");
}

#[tokio::test]
async fn an_envoy_that_has_stayed_up_is_started_again_soon() {
    let minute = Duration::from_secs(60);
    let (_socket, admin) = reserved();
    let (mut stage, mut options) = Stage::set("echo up; read go <$GO; exit 1", admin);
    options.backoff = Backoff::new(minute, 1000 * minute);
    let run = stage.run(options);
    let mut waits = Vec::new();

    for (restarts, stays_up) in [(1, false), (2, false), (3, true)] {
        assert_eq!(stage.line().await, "up");
        if stays_up {
            pass(2 * SETTLED).await;
        }
        stage.go().await;
        let state = stage.phase(|state| state.restarts == restarts).await;
        let Phase::Restarting { retry_in } = state.phase else { panic!("{state:?}") };
        waits.push(retry_in);
        pass(2 * retry_in).await;
    }
    stage.stop.cancel();
    run.await.unwrap().unwrap();

    let [first, again, after] = waits[..] else { panic!("{waits:?}") };
    assert!(first <= minute && again >= minute && after <= minute, "{waits:?}");
}

#[tokio::test]
async fn on_stop_envoy_is_told_to_end_and_is_gone() {
    let (_socket, admin) = reserved();
    let script = "trap 'echo told; exit 0' TERM; echo $$; while :; do sleep 1; done";
    let (mut stage, options) = Stage::set(script, admin);
    let run = stage.run(options);
    let pid = stage.line().await.parse().unwrap();
    assert_eq!(
        stage.phase(|state| state.phase != Phase::Starting).await.phase,
        Phase::Running { pid }
    );

    stage.stop.cancel();
    run.await.unwrap().unwrap();

    assert_eq!(stage.line().await, "told");
    assert!(!is_alive(pid));
    let ended = Some(Ending::Exited { code: 0 });
    assert_eq!(*stage.state.borrow(), EnvoyState { phase: Phase::Stopped, restarts: 0, ended });
}

#[tokio::test]
async fn an_envoy_that_does_not_listen_is_made_to_end_with_its_children() {
    let (_socket, admin) = reserved();
    let script = "trap '' TERM; sleep 1000 & echo $!; echo $$; while :; do sleep 1; done";
    let (mut stage, mut options) = Stage::set(script, admin);
    options.patience = Duration::from_millis(10);
    let run = stage.run(options);
    let child: u32 = stage.line().await.parse().unwrap();
    let pid = stage.line().await.parse().unwrap();

    stage.stop.cancel();
    run.await.unwrap().unwrap();

    assert!(!is_alive(pid));
    // Killed at the same time, but it ends in its own time.
    while is_alive(child) {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.state.borrow().ended.as_ref().unwrap().to_string(), "killed by SIGKILL");
}

#[tokio::test]
async fn on_stop_envoy_is_drained_first() {
    let (socket, admin) = reserved();
    let script = "trap 'exit 9' TERM; echo up; read drained <$GO; exit 4";
    let (mut stage, mut options) = Stage::set(script, admin);
    options.drain = Duration::from_secs(60);
    let run = stage.run(options);
    assert_eq!(stage.line().await, "up");
    let listener = socket.listen(1).unwrap();

    stage.stop.cancel();
    let request = drain_request(&listener).await;
    stage.go().await;
    run.await.unwrap().unwrap();

    assert_eq!(request, "POST /drain_listeners?graceful HTTP/1.1");
    assert_eq!(stage.state.borrow().ended, Some(Ending::Exited { code: 4 }));
}

#[tokio::test]
async fn an_envoy_that_never_finishes_draining_is_told_to_end() {
    let (socket, admin) = reserved();
    let script = "trap 'exit 9' TERM; echo up; while :; do sleep 1; done";
    let (mut stage, mut options) = Stage::set(script, admin);
    options.drain = Duration::from_millis(10);
    let run = stage.run(options);
    assert_eq!(stage.line().await, "up");
    let listener = socket.listen(1).unwrap();

    stage.stop.cancel();
    drain_request(&listener).await;
    run.await.unwrap().unwrap();

    assert_eq!(stage.state.borrow().ended, Some(Ending::Exited { code: 9 }));
}

#[tokio::test]
async fn an_envoy_that_cannot_be_asked_is_told_to_end_at_once() {
    let (_socket, admin) = reserved();
    let (mut stage, mut options) = Stage::set("echo up; exec sleep 1000", admin);
    options.drain = Duration::from_secs(1000);
    let run = stage.run(options);
    assert_eq!(stage.line().await, "up");

    stage.stop.cancel();
    run.await.unwrap().unwrap();

    assert_eq!(stage.state.borrow().ended.as_ref().unwrap().to_string(), "killed by SIGTERM");
}

#[tokio::test]
async fn a_supervisor_that_is_dropped_takes_envoy_along() {
    let (_socket, admin) = reserved();
    let (mut stage, options) = Stage::set("echo $$; exec sleep 1000", admin);
    let run = stage.run(options);
    let pid: u32 = stage.line().await.parse().unwrap();

    run.abort();
    run.await.unwrap_err();

    while is_alive(pid) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stop_ends_the_wait_for_the_next_start() {
    let (_socket, admin) = reserved();
    let (mut stage, mut options) = Stage::set("exit 1", admin);
    options.backoff = Backoff::new(Duration::from_secs(1000), Duration::from_secs(1000));
    let run = stage.run(options);
    stage.phase(|state| matches!(state.phase, Phase::Restarting { .. })).await;

    stage.stop.cancel();
    run.await.unwrap().unwrap();

    assert_eq!(stage.state.borrow().phase, Phase::Stopped);
}

#[tokio::test]
async fn a_binary_that_cannot_be_started_is_an_error_with_its_path_and_a_remedy() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, mode: u32, text: &str| {
        let path = folder.path().join(name);
        let mut file = OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let cases = [
        (folder.path().join("nothing"), "there is no Envoy at ", "install one"),
        (file("plain", 0o644, "#!/bin/sh\n"), "may not be executed", "chmod +x"),
        (file("foreign", 0o755, "\x7fELF of another world"), "start ", "this machine's processor"),
        (file("orphan", 0o755, "#!/no/such/interpreter\n"), "start ", "C library"),
    ];

    for (binary, what, remedy) in cases {
        let (_socket, admin) = reserved();
        let (stage, mut options) = Stage::set("", admin);
        options.binary.clone_from(&binary);
        let error = run(options, stage.stop.clone()).await.unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(remedy), "{error}");
        assert!(error.contains(binary.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn an_envoy_left_behind_is_not_given_a_twin() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    let (stage, options) = Stage::set("echo up", admin);

    let error = run(options, stage.stop.clone()).await.unwrap_err().to_string();

    assert!(error.starts_with(&format!("{admin} is taken")), "{error}");
    assert_eq!(stage.state.borrow().phase, Phase::Starting);
}

/// Answers one request with 200; gives its first line.
async fn drain_request(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nOK\n").await.unwrap();
    String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
}
