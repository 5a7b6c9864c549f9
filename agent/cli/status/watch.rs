//! `hawser status --watch`: the screen again and again; on a terminal in its place, elsewhere one below
//! the other.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use hawser_rt::{Chain, signal::Signals};
use tokio::{task::spawn_blocking, time::sleep};

use super::{ALL, Seen, page::Look, size};
use crate::{
    cli::{Context, Exit, ask, complain, span::now},
    config::parse,
};

/// The time between two looks, as it is typed: `2`, `500ms`.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let period = seconds.or_else(|| parse::duration(text));
    let known = period.filter(|period| (SHORTEST..=LONGEST).contains(period));
    known.ok_or_else(|| "expected seconds, from 200ms to 1h".to_owned())
}

/// Until Ctrl-C, or until nobody reads on.
pub(super) fn watch(context: &Context, period: Duration, json: bool) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("hawser: start a runtime: {error}"));
            return Exit::Failed;
        }
    };
    let exit = runtime.block_on(async {
        let mut signals = match Signals::install() {
            Ok(signals) => signals,
            Err(error) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                return Exit::Failed;
            }
        };
        // Cancel safe: what is dropped half-way is a look, or a wait.
        tokio::select! {
            _ = signals.stop() => Exit::Ok,
            exit = again_and_again(context, period, json) => exit,
        }
    });
    // Nobody waits for an answer that does not come.
    runtime.shutdown_background();
    exit
}

async fn again_and_again(context: &Context, period: Duration, json: bool) -> Exit {
    let mut frame = Frame::default();
    let mut gone = None;
    loop {
        let asked = context.clone();
        let seen = match spawn_blocking(move || Seen::now(&asked)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => return ask::no_answer(&context.paths, &error),
            Err(error) => {
                complain(format_args!("hawser: {error}"));
                return Exit::Failed;
            }
        };
        let seen = since_when(seen, &mut gone);
        let text = match (json, size()) {
            (true, _) => seen.json() + "\n",
            (false, Some((width, height))) => {
                let look = Look::of_terminal(&context.environment);
                frame.text(&seen.lines(look, height.saturating_sub(1).max(1)), (width, height))
            }
            (false, None) => {
                let lines = seen.lines(Look::of_terminal(&context.environment), ALL);
                let now = crate::life::utc(now().cast_unsigned());
                format!("{now}\n{}\n\n", lines.join("\n"))
            }
        };
        let mut out = io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Exit::Ok;
        }
        drop(out);
        sleep(period).await;
    }
}

/// Who does not answer does so since it was first seen, if nobody knows better.
fn since_when(mut seen: Seen, gone: &mut Option<u64>) -> Seen {
    match &mut seen {
        Seen::Up(..) => *gone = None,
        Seen::Down(down) => down.seen_since(*gone.get_or_insert(now().cast_unsigned())),
    }
    seen
}

/// What a terminal shows already.
#[derive(Debug, Default)]
struct Frame {
    lines: usize,
    size: Option<(usize, usize)>,
}

impl Frame {
    /// What puts these lines in the place of those before.
    fn text(&mut self, lines: &[String], size: (usize, usize)) -> String {
        let mut text = match self.size {
            // What was shown has been laid out anew, nobody knows how.
            Some(before) if before != size => "\x1b[H\x1b[2J".to_owned(),
            Some(_) => format!("\x1b[{}F", self.lines.max(1)),
            None => String::new(),
        };
        for line in lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        (self.lines, self.size) = (lines.len(), Some(size));
        text
    }
}

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_seconds_or_a_span_and_neither_nothing_nor_for_ever() {
        let table = [
            ("2", Some(2_000)),
            ("500ms", Some(500)),
            ("1m", Some(60_000)),
            ("0", None),
            ("2h", None),
            ("soon", None),
        ];
        for (text, millis) in table {
            assert_eq!(period(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_frame_takes_the_place_of_the_one_before_and_a_terminal_that_changed_is_cleared() {
        let mut frame = Frame::default();
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(frame.text(&lines, (80, 24)), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame.text(&lines[..1], (80, 24)), "\x1b[2Fa\x1b[K\n\x1b[J");
        assert_eq!(frame.text(&lines[..1], (70, 24)), "\x1b[H\x1b[2Ja\x1b[K\n\x1b[J");
    }
}
