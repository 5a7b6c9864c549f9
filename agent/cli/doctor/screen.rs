//! What a round shows to people: what is in order in a word, the rest with what to do.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use crate::{
    cli::{Context, say},
    doctor::{
        Check, Outcome,
        round::{Report, Seen, Watcher},
    },
};

/// Shows a round while it goes on.
pub(super) struct Screen {
    /// What is in order is shown too.
    verbose: bool,
    /// Nothing is: somebody wants JSON.
    silent: bool,
    colour: bool,
    /// Whether there is a line on the terminal that says what is waited for.
    waits: bool,
}

impl Screen {
    pub(super) fn of(context: &Context, verbose: bool, silent: bool) -> Self {
        let colour = stdout().is_terminal() && context.environment.get("NO_COLOR").is_none();
        Self { verbose, silent, colour, waits: false }
    }

    /// How it came out; the last line is the first thing to do.
    pub(super) fn end(&self, report: &Report) {
        let counts = report.summary;
        let hindered = report.checks.iter().filter(|seen| seen.hindered().is_some()).count();
        let said = [
            (counts.ok, "ok"),
            (counts.failed, "failed"),
            (counts.warning, "to watch"),
            (counts.unknown.saturating_sub(hindered), "not seen"),
            (hindered, "not looked at"),
        ];
        let said = said.iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = said.map(|(count, word)| format!("{count} {word}")).collect();
        say(format_args!("\n{}", said.join(", ")));
        if counts.unknown > 0 && !report.root {
            say("root sees more: `sudo hawser doctor`");
        }
        match (&report.first, counts.failed) {
            (Some(first), _) => say(format_args!("first: {first}")),
            (None, 0) => say("nothing is wrong"),
            (None, _) => {}
        }
    }

    fn row(&self, seen: &Seen) {
        let finding = &seen.finding;
        let (word, colour) = match finding.result {
            Outcome::Ok => ("ok", "32"),
            Outcome::Warning => ("watch", "33"),
            Outcome::Failed => ("FAILED", "31"),
            Outcome::Unknown => ("?", "36"),
        };
        let word = self.word(word, colour);
        say(format_args!("  {word}{}: {}", seen.name, plain(&finding.evidence)));
        if let Some(cause) = &finding.cause {
            say(format_args!("         because {}", plain(cause)));
        }
        if let Some(remedy) = &finding.remedy {
            say(format_args!("         do      {}", plain(remedy)));
        }
    }

    fn word(&self, word: &str, colour: &str) -> String {
        let word = format!("{word:<7}");
        if self.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word }
    }

    fn done_waiting(&mut self) {
        if std::mem::take(&mut self.waits) {
            drop(write!(stderr().lock(), "\r\x1b[K"));
        }
    }
}

impl Watcher for Screen {
    fn slow(&mut self, check: &Check) {
        if self.silent || !stderr().is_terminal() {
            return;
        }
        self.waits = true;
        drop(write!(stderr().lock(), "\r\x1b[K{}", check.asks));
        drop(stderr().flush());
    }

    fn group(&mut self, name: &str, all: &[Seen]) {
        self.done_waiting();
        if self.silent {
            return;
        }
        let mut hindered: Vec<(&str, usize)> = Vec::new();
        for why in all.iter().filter_map(Seen::hindered) {
            match hindered.iter_mut().find(|(other, _)| *other == why) {
                Some((_, count)) => *count += 1,
                None => hindered.push((why, 1)),
            }
        }
        if let [(why, count)] = hindered.as_slice()
            && *count == all.len()
        {
            say(format_args!("{name:<12} not looked at: {why}"));
            return;
        }
        let fine = all.iter().filter(|seen| seen.finding.result == Outcome::Ok).count();
        say(format_args!("{name:<12} {fine} of {} ok", all.len()));
        for seen in all {
            let folded = seen.finding.result == Outcome::Ok || seen.hindered().is_some();
            if self.verbose || !folded {
                self.row(seen);
            }
        }
        // What one thing hinders is one line.
        for (why, count) in hindered.iter().filter(|_| !self.verbose) {
            say(format_args!("  {}{count} not looked at: {why}", self.word("?", "36")));
        }
    }
}

/// What others said is part of it: no terminal is to obey that.
fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}
