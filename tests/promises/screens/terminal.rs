//! A terminal with a program in it: what is drawn is laid out as a terminal does it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::wait::wait_for;
use nix::fcntl::OFlag;
use parking_lot::Mutex;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// Columns and rows.
type Size = (u16, u16);

pub(crate) struct Terminal {
    master: File,
    child: Child,
    drawn: Arc<Mutex<Drawn>>,
}

/// What a terminal shows, and all that it was sent.
struct Drawn {
    lines: Vec<String>,
    row: usize,
    all: String,
}

impl Terminal {
    pub(crate) fn run(program: &str, arguments: &[&str], size: Size) -> Result<Self> {
        Self::run_with(program, arguments, size, &[])
    }

    pub(crate) fn run_with(
        program: &str,
        arguments: &[&str],
        size: Size,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let flags = OFlag::O_NOCTTY.bits();
        let slave = File::options().read(true).write(true).custom_flags(flags).open(name)?;
        tcsetwinsize(&slave, window(size))?;
        let end = || slave.try_clone().map(Stdio::from);
        // A session of its own whose terminal this is: Ctrl-C is a signal only there.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", program])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .envs(variables.iter().copied())
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .spawn()
            .context("run setsid")?;
        let master = File::from(master);
        let drawn =
            Arc::new(Mutex::new(Drawn { lines: vec![String::new()], row: 0, all: String::new() }));
        let (mut from, to) = (master.try_clone()?, Arc::clone(&drawn));
        std::thread::spawn(move || {
            let mut room = [0; 4096];
            // It fails when the program has gone.
            while let Ok(count @ 1..) = from.read(&mut room) {
                to.lock().take(&String::from_utf8_lossy(room.get(..count).unwrap_or_default()));
            }
        });
        Ok(Self { master, child, drawn })
    }

    /// Waits until that is seen.
    pub(crate) async fn shows(&self, wanted: &str) -> Result<()> {
        wait_for(wanted, async || {
            let screen = self.screen();
            ensure!(screen.iter().any(|line| line.contains(wanted)), "{screen:#?}");
            Ok(())
        })
        .await
    }

    /// What is seen, without colour.
    pub(crate) fn screen(&self) -> Vec<String> {
        self.drawn.lock().lines.clone()
    }

    /// Whether that was ever sent to it.
    pub(crate) fn had(&self, text: &str) -> bool {
        self.drawn.lock().all.contains(text)
    }

    pub(crate) fn resize(&self, size: Size) -> Result<()> {
        Ok(tcsetwinsize(&self.master, window(size))?)
    }

    pub(crate) fn ctrl_c(&mut self) -> Result<()> {
        Ok(self.master.write_all(b"\x03")?)
    }

    /// How the program ends.
    pub(crate) async fn ended(&mut self) -> Result<Option<i32>> {
        let child = Mutex::new(&mut self.child);
        wait_for("the end", async || {
            let ended = child.lock().try_wait()?;
            Ok(ended.context("it goes on")?.code())
        })
        .await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, or ends now.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drawn {
    /// Lines, line ends, and the few sequences that there are; whole, however they were cut.
    fn take(&mut self, text: &str) {
        self.all.push_str(text);
        // From the beginning, so that a sequence that was cut is whole; it is not much.
        let mut drawn = Self { lines: vec![String::new()], row: 0, all: String::new() };
        drawn.draw(&self.all);
        (self.lines, self.row) = (drawn.lines, drawn.row);
    }

    fn draw(&mut self, text: &str) {
        let mut rest = text.chars();
        let mut fresh = true;
        while let Some(c) = rest.next() {
            match c {
                '\r' => fresh = true,
                '\n' => {
                    self.row += 1;
                    fresh = true;
                    if self.row == self.lines.len() {
                        self.lines.push(String::new());
                    }
                }
                '\x1b' => {
                    let mut sequence = String::new();
                    for c in rest.by_ref().skip(1) {
                        sequence.push(c);
                        if c.is_ascii_alphabetic() {
                            break;
                        }
                    }
                    self.heed(&sequence);
                    fresh |= sequence.ends_with(['F', 'H']);
                }
                c => {
                    let Some(line) = self.lines.get_mut(self.row) else { continue };
                    if std::mem::take(&mut fresh) {
                        line.clear();
                    }
                    line.push(c);
                }
            }
        }
    }

    fn heed(&mut self, sequence: &str) {
        let (count, what) = sequence.split_at(sequence.len().saturating_sub(1));
        match what {
            "F" => self.row = self.row.saturating_sub(count.parse().unwrap_or(1)),
            "H" => self.row = 0,
            "J" => {
                let from = if count == "2" { 0 } else { self.row + 1 };
                self.lines.truncate(from.max(1));
                if let Some(line) = self.lines.get_mut(self.row) {
                    line.clear();
                }
            }
            _ => {}
        }
    }
}

fn window((columns, rows): Size) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
