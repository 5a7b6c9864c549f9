//! `hawser envoy ended`: why Envoy has ended, in a line, and what to do.

use std::time::Duration;

use clap::Args;
use hawser_envoy::{
    ending::{self, Facts, Kind, Verdict},
    unit::{self, Ended as Note, LastWords, Unit},
};
use hawser_rt::Chain;
use tokio::time::{Instant, sleep};

use super::{Context, Exit, Voice, runtime, say};

/// Say why Envoy has ended
///
/// By what systemd says of its process ($SERVICE_RESULT, $EXIT_CODE, $EXIT_STATUS) and by what Envoy
/// said last. Without those, says how it ended the last time.
#[derive(Debug, Args)]
pub(super) struct Ended {}

impl Ended {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let unit = Unit::under(context.paths.root());
        let environment = &context.environment;
        let Some(result) = environment.get("SERVICE_RESULT") else { return last(&unit) };
        let voice = Voice::of(environment);
        let said = |name| environment.get(name).unwrap_or_default();
        let started = unit.started();
        let words = match (&started, runtime()) {
            (Some(started), Ok(runtime)) => runtime.block_on(words_of(&unit, started.pid)),
            _ => LastWords::default(),
        };
        let facts = Facts {
            result,
            code: said("EXIT_CODE"),
            status: said("EXIT_STATUS"),
            started: started.is_some(),
            asked: started.as_ref().is_some_and(|started| unit.asked(started.pid)),
            lines: &words.lines,
        };
        let mut verdict = ending::judge(facts);
        if let (Kind::NotStarted, Some((kind, what))) = (verdict.kind, unit.unstarted()) {
            verdict = Verdict { kind, what, remedy: verdict.remedy };
        }
        let up = started.as_ref().map(|started| unit::uptime().saturating_sub(started.uptime));
        let note = note(&unit, verdict, up.unwrap_or_default());
        unit.forget_started();
        tell(voice, &note, words.dropped);
        if let Err(error) = unit.make().and_then(|()| unit.note_ended(&note)) {
            voice.warn(format_args!("not noted: {}", Chain(&error)));
        }
        Exit::Ok
    }
}

/// They are written when the pipe is empty, which may be a moment after the end.
async fn words_of(unit: &Unit, pid: u32) -> LastWords {
    let late = Instant::now() + PATIENCE;
    loop {
        match unit.last_words() {
            Some(words) if words.pid == pid => return words,
            _ if Instant::now() >= late => return LastWords::default(),
            _ => sleep(LOOK).await,
        }
    }
}

fn note(unit: &Unit, verdict: Verdict, up: Duration) -> Note {
    let before = unit.ended();
    let (row, unasked) = before.map_or((0, 0), |before| (before.in_a_row, before.unasked));
    let Verdict { kind, what, remedy } = verdict;
    Note {
        kind,
        what,
        remedy: remedy.to_owned(),
        at: unit::now(),
        up: up.as_secs(),
        in_a_row: ending::in_a_row(row, kind, up),
        unasked: unasked + u64::from(kind != Kind::AsTold),
    }
}

fn tell(voice: Voice, note: &Note, dropped: u64) {
    let Note { kind, what, remedy, up, .. } = note;
    if *kind == Kind::AsTold {
        return voice.info(format_args!("envoy ended as told, after {up} s"));
    }
    let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
    voice.error(format_args!("envoy ended ({kind}) after {up} s: {what}{remedy}"));
    if dropped > 0 {
        voice
            .warn(format_args!("{dropped} lines that it said were lost: nobody took them in time"));
    }
}

fn last(unit: &Unit) -> Exit {
    match unit.ended() {
        Some(Note { kind, what, remedy, up, .. }) => {
            let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
            say(format_args!("envoy ended ({kind}) after {up} s: {what}{remedy}"));
        }
        None => say("envoy has not ended since this machine was switched on"),
    }
    Exit::Ok
}

const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
