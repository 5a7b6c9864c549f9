//! One run of a program, from its start to the death of everything it has started.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, read},
};
use tokio::{
    net::unix::pipe::Receiver,
    process::Child,
    signal::unix::{Signal as Signals, SignalKind, signal},
    time::timeout,
};
use zeroize::Zeroizing;

use super::{Command, Error, Limits, Said};

pub(super) async fn run(
    command: &Command,
    variables: &[(&str, &str)],
    limits: Limits,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let program = || command.program.clone();
    let failed = |source| Error::FollowProgram { program: program(), source };
    // Before the start, so that no end is missed.
    let mut children = signal(SignalKind::child()).map_err(failed)?;
    let mut group = Group::start(command, variables)?;
    let mut pipes = Pipes::of(&mut group, limits.output).map_err(failed)?;
    let end = timeout(limits.time, pipes.follow(&group, &mut children)).await;
    // Before the head is reaped: until then the group's number is nobody else's.
    group.kill();
    match end {
        Err(_) => Err(Error::ProgramTimeout {
            program: program(),
            limit: limits.time,
            said: pipes.said(),
        }),
        Ok(Err(source)) => Err(failed(source)),
        Ok(Ok(End::TooMuch)) => Err(Error::ProgramOutput {
            program: program(),
            limit: limits.output,
            said: pipes.said(),
        }),
        Ok(Ok(End::Exit)) => {
            let status = group.reap().await.map_err(failed)?;
            if status.success() {
                Ok(pipes.output)
            } else {
                Err(Error::ProgramFailed { program: program(), status, said: pipes.said() })
            }
        }
    }
}

/// The program and whatever it starts. Killed when dropped, and reaped by the runtime.
struct Group {
    head: Child,
}

impl Group {
    fn start(command: &Command, variables: &[(&str, &str)]) -> Result<Self, Error> {
        let head = tokio::process::Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(variables.iter().copied())
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| not_started(command, source))?;
        Ok(Self { head })
    }

    /// The number of the process and of its group; `None` once it was reaped.
    fn id(&self) -> Option<Pid> {
        self.head.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    fn kill(&self) {
        if let Some(id) = self.id() {
            // Nobody left to kill is what is wanted.
            killpg(id, Signal::SIGKILL).ok();
        }
    }

    /// Returns when the head has ended, and leaves it to be reaped. Cancel safe.
    async fn ended(&self, children: &mut Signals) -> io::Result<()> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        while let Some(id) = self.id() {
            match waitid(Id::Pid(id), flags) {
                Ok(WaitStatus::StillAlive) => drop(children.recv().await),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    async fn reap(&mut self) -> io::Result<ExitStatus> {
        self.head.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn not_started(command: &Command, source: io::Error) -> Error {
    let program = command.program.clone();
    match source.kind() {
        ErrorKind::NotFound if program.exists() => Error::NoInterpreter { program },
        ErrorKind::NotFound => Error::NoProgram { program },
        ErrorKind::PermissionDenied => Error::NotExecutable { program },
        _ => Error::StartProgram { program, source },
    }
}

/// What comes out of the program.
struct Pipes {
    stdout: Receiver,
    stderr: Receiver,
    /// As large as it may become from the start: growing would leave copies behind.
    output: Zeroizing<Vec<u8>>,
    limit: usize,
    complaints: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exit,
    TooMuch,
}

impl Pipes {
    fn of(group: &mut Group, limit: usize) -> io::Result<Self> {
        let receiver = |end: io::Result<OwnedFd>| Receiver::from_owned_fd(end?);
        let missing = || io::Error::other("the program has no output");
        let Child { stdout, stderr, .. } = &mut group.head;
        let stdout = stdout.take().ok_or_else(missing)?.into_owned_fd();
        let stderr = stderr.take().ok_or_else(missing)?.into_owned_fd();
        Ok(Self {
            stdout: receiver(stdout)?,
            stderr: receiver(stderr)?,
            output: Zeroizing::new(Vec::with_capacity(limit)),
            limit,
            complaints: Vec::new(),
        })
    }

    /// Reads until the program has ended, or says too much.
    ///
    /// The program's end counts, not that of its output: what it has left running in the
    /// background holds the pipes too.
    async fn follow(&mut self, group: &Group, children: &mut Signals) -> io::Result<End> {
        let ended = group.ended(children);
        tokio::pin!(ended);
        let (mut talks, mut complains) = (true, true);
        loop {
            // All of them may be given up: nothing is read before a branch is taken.
            tokio::select! {
                end = &mut ended => {
                    end?;
                    break;
                }
                ready = self.stdout.readable(), if talks => {
                    ready?;
                    let mut chunk = Zeroizing::new([0; CHUNK]);
                    match read_some(self.stdout.try_read(&mut *chunk))? {
                        Read::Bytes(count) => {
                            if self.take(chunk.get(..count).unwrap_or_default()) == End::TooMuch {
                                return Ok(End::TooMuch);
                            }
                        }
                        Read::Nothing => {}
                        Read::End => talks = false,
                    }
                }
                ready = self.stderr.readable(), if complains => {
                    ready?;
                    let mut chunk = [0; CHUNK];
                    match read_some(self.stderr.try_read(&mut chunk))? {
                        Read::Bytes(count) => self.hear(chunk.get(..count).unwrap_or_default()),
                        Read::Nothing => {}
                        Read::End => complains = false,
                    }
                }
            }
        }
        self.empty()
    }

    /// Reads what the program has left in the pipes, whoever else may hold them. Asks the
    /// kernel: the runtime may not have heard of the last bytes yet.
    fn empty(&mut self) -> io::Result<End> {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        while let Read::Bytes(count) = read_some(kernel_read(&self.stdout, &mut *chunk))? {
            if self.take(chunk.get(..count).unwrap_or_default()) == End::TooMuch {
                return Ok(End::TooMuch);
            }
        }
        // Bounded, because a survivor may go on writing.
        for _ in 0..PIPE_CHUNKS {
            match read_some(kernel_read(&self.stderr, &mut *chunk))? {
                Read::Bytes(count) => self.hear(chunk.get(..count).unwrap_or_default()),
                Read::Nothing | Read::End => break,
            }
        }
        Ok(End::Exit)
    }

    fn take(&mut self, bytes: &[u8]) -> End {
        if bytes.len() > self.limit.saturating_sub(self.output.len()) {
            return End::TooMuch;
        }
        self.output.extend_from_slice(bytes);
        End::Exit
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.complaints.extend_from_slice(bytes);
        let surplus = self.complaints.len().saturating_sub(COMPLAINTS_LIMIT);
        self.complaints.drain(..surplus);
    }

    fn said(&self) -> Said {
        let text = String::from_utf8_lossy(&self.complaints);
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        Said(line.map(|line| line.chars().flat_map(printable).take(LINE_LIMIT).collect()))
    }
}

fn printable(symbol: char) -> Vec<char> {
    if symbol.is_control() || matches!(symbol, '\u{2028}' | '\u{2029}') {
        symbol.escape_default().collect()
    } else {
        vec![symbol]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Bytes(usize),
    Nothing,
    End,
}

fn read_some(read: io::Result<usize>) -> io::Result<Read> {
    match read {
        Ok(0) => Ok(Read::End),
        Ok(count) => Ok(Read::Bytes(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(Read::Nothing)
        }
        Err(error) => Err(error),
    }
}

fn kernel_read(pipe: &Receiver, chunk: &mut [u8]) -> io::Result<usize> {
    Ok(read(pipe, chunk)?)
}

/// The system's own directories. What the agent was started with is not the program's business.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CHUNK: usize = 4096;
/// What the largest pipe of an unprivileged user holds, 1 MiB.
const PIPE_CHUNKS: usize = 256;
const COMPLAINTS_LIMIT: usize = 4096;
const LINE_LIMIT: usize = 300;
