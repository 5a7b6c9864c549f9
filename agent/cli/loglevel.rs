//! `hawser log`: how much is logged, from now on.

use std::{io, time::Duration};

use clap::Args;

use super::{
    Context, Exit,
    ask::{self, Said},
    complain, say,
    span::span,
};
use crate::log::level::{Filter, LevelStatus};

/// Show how much the agent logs, or change it while it runs
///
/// Without LEVEL it shows what holds. What is said here holds until `systemctl reload hawser` or a
/// restart, when log.level of the configuration holds again; with --for, it ends by itself.
///
/// A level for all, for parts, or both: info, debug, dns=debug, warn,xds=trace. The parts are agent
/// (all of it), dns, xds, sds, identity, istiod, envoy, wasm, export, health, intercept, resolved and
/// some small ones; Istio's scopes and way to write them (xdsproxy:debug) are known too.
///
/// The trail of what has changed on this machine (certificates, rules, configuration) is written
/// whatever the level is.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused, 3 the agent is not running, 64 no such level.\n\n\
                        Examples:\n  hawser log\n  hawser log dns=debug --for 10m\n  hawser log --reset"
)]
pub(super) struct LogLevel {
    /// error, warn, info, debug, trace or off; or part=level,...
    #[arg(value_name = "LEVEL")]
    level: Option<Filter>,
    /// Go back to what the configuration says after TIME: 90s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", requires = "level", value_parser = lasting)]
    lasting: Option<Duration>,
    /// Go back to what the configuration says at once
    #[arg(long, conflicts_with = "level")]
    reset: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl LogLevel {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let socket = context.paths.admin_socket();
        let said = match (&self.level, self.reset) {
            (None, false) => Said::ask(&socket, "/log"),
            (None, true) => Said::post(&socket, "/log"),
            (Some(level), _) => {
                let lasting = self.lasting.map(|lasting| format!("&for={}", lasting.as_secs()));
                let level = ask::escaped(&level.to_string());
                Said::post(&socket, &format!("/log?level={level}{}", lasting.unwrap_or_default()))
            }
        };
        let told = said.and_then(|said| Ok((said.status, said.text()?)));
        let (status, text) = match told {
            Ok(told) => told,
            Err(error) => return ask::no_answer(&context.paths, &error),
        };
        if status != 200 {
            complain(format_args!("hawser: {}", text.trim_end()));
            return Exit::Failed;
        }
        match serde_json::from_str::<LevelStatus>(&text) {
            Ok(_) if self.json => say(text.trim_end()),
            Ok(status) => say(sentence(&status)),
            Err(error) => return ask::no_answer(&context.paths, &io::Error::other(error)),
        }
        Exit::Ok
    }
}

fn sentence(status: &LevelStatus) -> String {
    let LevelStatus { level, configured, ends_in } = status;
    match ends_in {
        None if level == configured => level.clone(),
        None => format!("{level}, until a reload or restart; log.level says {configured}"),
        Some(seconds) => {
            let left = span(i64::try_from(*seconds).unwrap_or(i64::MAX));
            format!("{level}, for {left}; then {configured}, as log.level says")
        }
    }
}

/// A time as settings have it.
fn lasting(text: &str) -> Result<Duration, String> {
    crate::config::parse::some_time(text)
        .filter(|time| time.as_secs() > 0)
        .ok_or_else(|| "expected a time such as 90s, 10m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_said_with_when_it_ends() {
        let status = |level: &str, ends_in| LevelStatus {
            level: level.into(),
            configured: "info".into(),
            ends_in,
        };
        let table = [
            (status("info", None), "info"),
            (status("debug", None), "debug, until a reload or restart; log.level says info"),
            (status("debug", Some(125)), "debug, for 2m 5s; then info, as log.level says"),
        ];
        for (status, said) in table {
            assert_eq!(sentence(&status), said);
        }
    }
}
