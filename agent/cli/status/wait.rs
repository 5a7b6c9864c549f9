//! `hawser status --wait-ready`: until programs can rely on the mesh.

use std::{
    io::{self, ErrorKind, IsTerminal as _, Write as _},
    time::Duration,
};

use rustix::termios::tcgetwinsize;
use tokio::time::{Instant, sleep};

use super::{
    super::{Exit, ask, complain, say, span::now},
    ALL, USUAL,
    down::Down,
    page::{self, Look},
};
use crate::{
    config::{parse, paths::Paths},
    status::lacks::Lack,
};

/// How long to wait, as it is typed.
pub(in crate::cli) fn patience(text: &str) -> Result<Duration, String> {
    parse::duration(text).ok_or_else(|| "expected a time such as 30s or 5m".to_owned())
}

/// Returns when nothing is missing any more, or the time is up.
pub(super) fn until_ready(paths: &Paths, patience: Duration) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime {
        Ok(runtime) => runtime.block_on(wait(paths, patience)),
        Err(error) => {
            complain(format_args!("hawser: start a runtime: {error}"));
            Exit::Failed
        }
    }
}

async fn wait(paths: &Paths, patience: Duration) -> Exit {
    let begun = Instant::now();
    let mut shown = Shown::default();
    let mut pause = FIRST;
    loop {
        let lacks = lacks(paths);
        match &lacks {
            Ok(lacks) if lacks.is_empty() => {
                shown.clear();
                say("ready");
                return Exit::Ok;
            }
            Ok(lacks) => shown.show(&told(lacks)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return ask::no_answer(paths, error);
            }
            Err(error) => shown.show(&format!("waits for the agent ({error})")),
        }
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            shown.clear();
            return given_up(paths, lacks);
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LAST);
    }
}

/// What is missing, by what the agent says.
pub(in crate::cli) fn lacks(paths: &Paths) -> io::Result<Vec<Lack>> {
    let said = ask::Said::ask(&paths.admin_socket(), "/lacks")?.text()?;
    serde_json::from_str(&said).map_err(io::Error::other)
}

fn given_up(paths: &Paths, lacks: io::Result<Vec<Lack>>) -> Exit {
    match lacks {
        Ok(lacks) => {
            for Lack { part, why } in &lacks {
                complain(format_args!("hawser: not ready: {part}: {why}"));
            }
            complain("hawser: `hawser status` says what to do next");
            Exit::NotNow
        }
        Err(error) => {
            let down = Down::look(paths, &error, now().cast_unsigned());
            for line in down.screen(Look { width: USUAL, colour: false }, ALL) {
                complain(line);
            }
            Exit::Down
        }
    }
}

/// The same in a line.
pub(in crate::cli) fn told(lacks: &[Lack]) -> String {
    let each = lacks.iter().map(|Lack { part, why }| format!("{part} ({why})"));
    format!("waits for {}", each.collect::<Vec<_>>().join(", "))
}

/// A line on a terminal that is written over; elsewhere, a line for each change.
#[derive(Debug, Default)]
pub(in crate::cli) struct Shown(Option<String>);

impl Shown {
    pub(in crate::cli) fn show(&mut self, text: &str) {
        // One that is wider than the terminal could not be written over.
        let width = tcgetwinsize(io::stderr()).ok().map(|size| usize::from(size.ws_col));
        let width = width.filter(|width| *width > 1).map_or(WIDTH, |width| width - 1);
        let text = page::end(&page::clean(text), width);
        if self.0.as_ref() == Some(&text) {
            return;
        }
        let mut out = io::stderr().lock();
        // Nothing is lost when nobody sees it.
        drop(if out.is_terminal() {
            write!(out, "\r\x1b[K{text}").and_then(|()| out.flush())
        } else {
            writeln!(out, "hawser: {text}")
        });
        self.0 = Some(text);
    }

    pub(in crate::cli) fn clear(&mut self) {
        let mut out = io::stderr().lock();
        if self.0.take().is_some() && out.is_terminal() {
            drop(write!(out, "\r\x1b[K").and_then(|()| out.flush()));
        }
    }
}

const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(1);
const WIDTH: usize = 300;
