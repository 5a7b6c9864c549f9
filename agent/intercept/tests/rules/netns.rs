//! Machines made of network namespaces: they are gone with the last that holds them.
//!
//! A thread that is in one makes sockets that are in it, and that belong to whoever the thread is
//! for the file system; so no process is started to be somebody else.

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsRawFd as _, BorrowedFd},
    process::{Command, Output, Stdio},
    thread,
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{Gid, Uid, geteuid, setfsgid, setfsuid},
};

/// A network of its own, with nothing but loopback at first.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        assert!(geteuid().is_root(), "these tests make network namespaces: run them as root");
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| {
                panic!("no network namespace can be made here ({error}): CAP_SYS_ADMIN is needed")
            });
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self { file: made.join().unwrap() };
        namespace.ip("link set lo up");
        namespace
    }

    /// Does something in it.
    pub(crate) fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let within = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
            what()
        };
        thread::scope(|scope| match scope.spawn(within).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Does something in it as this user and group.
    pub(crate) fn as_user<T: Send>(
        &self,
        (uid, gid): (u32, u32),
        what: impl FnOnce() -> T + Send,
    ) -> T {
        self.inside(|| {
            setfsgid(Gid::from_raw(gid));
            setfsuid(Uid::from_raw(uid));
            what()
        })
    }

    /// Runs `ip` with these words.
    pub(crate) fn ip(&self, words: &str) {
        let said = self.run("ip", &words.split(' ').collect::<Vec<_>>(), "");
        assert!(said.status.success(), "ip {words}: {}", text(&said.stderr));
    }

    /// A cable to another: `name` here and `there` there.
    pub(crate) fn join(&self, name: &str, other: &Self, there: &str) {
        let place = format!("/proc/{}/fd/{}", std::process::id(), other.file.as_raw_fd());
        self.ip(&format!("link add {name} type veth peer name {there} netns {place}"));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {there} up"));
    }

    /// Loads rules.
    pub(crate) fn load(&self, rules: &str) -> Result<(), String> {
        self.nft(&["-f", "-"], rules)
    }

    /// Sees whether they could be loaded.
    pub(crate) fn check(&self, rules: &str) -> Result<(), String> {
        self.nft(&["-c", "-f", "-"], rules)
    }

    /// All rules there are, without what was counted.
    pub(crate) fn listed(&self) -> String {
        let said = self.run("nft", &["-s", "-n", "list", "ruleset"], "");
        assert!(said.status.success(), "{}", text(&said.stderr));
        text(&said.stdout)
    }

    fn nft(&self, arguments: &[&str], rules: &str) -> Result<(), String> {
        let said = self.run("nft", arguments, rules);
        if said.status.success() { Ok(()) } else { Err(text(&said.stderr)) }
    }

    /// Runs a program in it.
    pub(crate) fn run(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        self.inside(|| run_here(program, arguments, input))
    }

    /// Writes to a file of `/proc/sys/net`.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        self.inside(|| File::options().write(true).open(path).unwrap().write_all(value.as_bytes()))
            .unwrap();
    }
}

/// Loads rules where this thread is.
pub(crate) fn load_here(rules: &str) -> Result<(), String> {
    let said = run_here("nft", &["-f", "-"], rules);
    if said.status.success() { Ok(()) } else { Err(text(&said.stderr)) }
}

fn run_here(program: &str, arguments: &[&str], input: &str) -> Output {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("{program} does not start ({error}): tests/tools.sh installs it")
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for the first of these to have something to read; None if that takes too long.
pub(crate) fn first_readable(sources: &[BorrowedFd<'_>]) -> Option<usize> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut polled: Vec<_> =
        sources.iter().map(|source| PollFd::new(*source, PollFlags::POLLIN)).collect();
    poll(&mut polled, PollTimeout::from(5000_u16)).unwrap();
    polled.iter().position(|polled| polled.any() == Some(true))
}
