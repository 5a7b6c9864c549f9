//! `hawser maintenance`: the machine out of the mesh until somebody says otherwise, and back.

use std::{io, time::Duration};

use clap::{Args, Subcommand};

use super::{
    Context, Exit,
    ask::{self, Said, escaped},
    complain, say,
    span::{now, span},
};
use crate::{
    config::parse,
    drain::Deaf,
    maintenance::{Spell, Standing},
};

/// Take the machine out of the mesh for a while, or back into it
///
/// istiod is told that this machine is not well, so that the mesh sends no traffic here, and
/// /healthz/ready answers 503. It stays so over restarts of the agent and reboots, until `off` or the
/// end of --for. Connections that are open are left alone: `hawser drain --wait` ends those.
#[derive(Debug, Args)]
#[command(after_help = "\
istiod heeds this only from a machine that is probed, by the probe of its WorkloadGroup or by one in \
hawser.toml (health.units and others). Where nothing is to be probed, `report = true` in the section \
[health] makes istiod heed it; a machine that is registered already is registered anew for that: \
stop hawser for 15 seconds.\n\n\
Exit codes: 0 done, 1 not all of it: the mesh is not told because it does not ask, or it is not kept \
over a restart, 3 no answer from the agent, 75 istiod does not answer and is told when it does.\n\n\
Examples:\n  hawser maintenance on --reason 'new kernel' --for 2h\n  hawser maintenance off")]
pub(super) struct Maintenance {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take the machine out of the mesh
    On(On),
    /// Bring it back
    Off,
    /// Say whether it is out of the mesh, since when, until when and why
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct On {
    /// What for; told to istiod and to whoever asks
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// End by itself after this time, such as 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
}

impl Maintenance {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let socket = context.paths.admin_socket();
        let answer = match &self.command {
            Command::On(on) => Said::post(&socket, &on.path()),
            Command::Off => Said::post(&socket, &format!("{PATH}?state=off")),
            Command::Show { .. } => Said::ask(&socket, PATH),
        };
        let (text, standing) = match answer.and_then(read) {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => {
                complain(format_args!("hawser: {refusal}"));
                return Exit::Failed;
            }
            Err(error) => return ask::no_answer(&context.paths, &error),
        };
        if let Command::Show { json: true } = self.command {
            say(text.trim_end());
            return Exit::Ok;
        }
        for line in lines(&standing, now()) {
            say(line);
        }
        match self.command {
            Command::Show { .. } => Exit::Ok,
            Command::On(_) | Command::Off => judge(&standing),
        }
    }
}

impl On {
    fn path(&self) -> String {
        let mut path = format!("{PATH}?state=on");
        if let Some(reason) = &self.reason {
            path.push_str(&format!("&reason={}", escaped(reason)));
        }
        if let Some(time) = self.time {
            path.push_str(&format!("&for={}", time.as_secs().max(1)));
        }
        path
    }
}

/// What the agent says, or why it does not do it.
fn read(said: Said) -> io::Result<Result<(String, Standing), String>> {
    let status = said.status;
    let text = said.text()?;
    if status != 200 {
        return Ok(Err(text.trim().to_owned()));
    }
    let standing = serde_json::from_str(&text).map_err(io::Error::other)?;
    Ok(Ok((text, standing)))
}

fn lines(standing: &Standing, now: i64) -> Vec<String> {
    let mut lines = Vec::new();
    match (&standing.maintenance, standing.deaf) {
        (None, _) => lines.push("no maintenance".to_owned()),
        (Some(spell), deaf) => {
            lines.push(in_maintenance(spell, now));
            lines.push(match deaf {
                None => "istiod is told, and the mesh sends no traffic here".to_owned(),
                Some(Deaf::NotJoined) => {
                    "istiod does not answer: it is told when it does, until then traffic goes on"
                        .to_owned()
                }
                Some(Deaf::NotProbed) => NOT_PROBED.to_owned(),
                Some(alone @ Deaf::Alone) => alone.to_string(),
            });
        }
    }
    if let Some(error) = &standing.not_kept {
        lines.push(format!("this is lost when the agent is restarted: {error}"));
    }
    lines
}

fn in_maintenance(spell: &Spell, now: i64) -> String {
    let reason = spell.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let since = span(now.saturating_sub(spell.since.cast_signed()).max(0));
    let end = match spell.until {
        Some(until) => format!("ends in {}", span(until.cast_signed().saturating_sub(now).max(0))),
        None => "until `hawser maintenance off`".to_owned(),
    };
    format!("in maintenance for {since}, {end}{reason}")
}

/// Whether what was asked for has come about.
fn judge(standing: &Standing) -> Exit {
    match (&standing.maintenance, standing.deaf) {
        _ if standing.not_kept.is_some() => Exit::Failed,
        (None, _) | (Some(_), None | Some(Deaf::Alone)) => Exit::Ok,
        (Some(_), Some(Deaf::NotProbed)) => Exit::Failed,
        (Some(_), Some(Deaf::NotJoined)) => Exit::NotNow,
    }
}

fn time(text: &str) -> Result<Duration, String> {
    parse::some_time(text).ok_or_else(|| "expected a time such as 30m or 2h".to_owned())
}

const PATH: &str = "/maintenance";
const NOT_PROBED: &str = "\
the mesh does not ask how this machine is, so it sends traffic here all the same; /healthz/ready alone \
says no. To keep traffic away: `systemctl stop hawser`, which takes it out of the mesh. \
To have istiod ask: report = true in the section [health] of \
/etc/hawser/hawser.toml, then `systemctl stop hawser; sleep 15; systemctl start hawser`";

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(spell: Option<Spell>, deaf: Option<Deaf>) -> Standing {
        Standing { maintenance: spell, deaf, not_kept: None }
    }

    #[test]
    fn what_holds_is_said_with_what_to_expect_and_as_a_code() {
        let spell = |until, reason: Option<&str>| {
            Some(Spell { since: 1_000, until, reason: reason.map(str::to_owned) })
        };
        let told = "istiod is told, and the mesh sends no traffic here";
        let cases = [
            (None, None, Exit::Ok, "no maintenance", ""),
            (None, Some(Deaf::NotProbed), Exit::Ok, "no maintenance", ""),
            (
                spell(Some(1_000 + 7_200), Some("new kernel")),
                None,
                Exit::Ok,
                "in maintenance for 1m 0s, ends in 1h 59m: new kernel",
                told,
            ),
            (
                spell(None, None),
                None,
                Exit::Ok,
                "in maintenance for 1m 0s, until `hawser maintenance off`",
                told,
            ),
            (
                spell(Some(3), None),
                Some(Deaf::NotJoined),
                Exit::NotNow,
                "in maintenance for 1m 0s, ends in 0s",
                "istiod does not answer",
            ),
            (
                spell(None, None),
                Some(Deaf::NotProbed),
                Exit::Failed,
                "in maintenance for 1m 0s, until `hawser maintenance off`",
                "the mesh does not ask",
            ),
        ];
        for (spell, deaf, exit, first, second) in cases {
            let standing = standing(spell, deaf);
            let lines = lines(&standing, 1_060);
            assert_eq!(lines[0], first);
            assert!(lines.get(1).map_or("", String::as_str).starts_with(second), "{lines:?}");
            assert_eq!(judge(&standing), exit, "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_kept_is_said_and_is_a_failure() {
        let standing = Standing { not_kept: Some("disk full".to_owned()), ..standing(None, None) };
        assert_eq!(
            lines(&standing, 0).last().unwrap(),
            "this is lost when the agent is restarted: disk full"
        );
        assert_eq!(judge(&standing), Exit::Failed);
    }

    #[test]
    fn what_is_typed_is_one_request() {
        let on = |reason: Option<&str>, time: Option<&str>| {
            let reason = reason.map(str::to_owned);
            On { reason, time: time.map(|text| super::time(text).unwrap()) }.path()
        };
        assert_eq!(on(None, None), "/maintenance?state=on");
        let asked = on(Some("a & b\n"), Some("2h"));
        assert_eq!(asked, "/maintenance?state=on&reason=a%20%26%20b%0A&for=7200");
        assert!(on(None, Some("10ms")).ends_with("&for=1"));
        assert!(["", "0", "2", "-1h"].iter().all(|bad| time(bad).is_err()));
    }
}
