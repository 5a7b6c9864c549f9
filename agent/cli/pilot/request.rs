//! `pilot-agent request METHOD PATH [BODY]`: asks Envoy's admin interface, or a port beside it.

use std::{io::Write as _, time::Duration};

use clap::{Arg, ArgMatches, Command};
use http::Method;

use super::{Ended, Word, context, failed, flags, given, http::Call, text};
use crate::{
    cli::{Context, complain},
    config::{setting, source},
};

pub(super) fn command() -> Command {
    Command::new("request")
        .about("Ask Envoy's admin interface")
        .arg(Arg::new("method").value_name("METHOD").required(true))
        .arg(Arg::new("path").value_name("PATH").required(true))
        .arg(Arg::new("body").value_name("BODY"))
        .args(flags::arguments(&[PORT]))
}

pub(super) fn run(matches: &ArgMatches) -> Ended {
    let context = context();
    let argument = |name| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let ports = Ports::of(&context);
    let port = match given(matches, PORT.long) {
        None => Some(ports.admin),
        Some(said) => said.parse().ok().filter(|port| ports.are_open(*port)),
    };
    let Some(port) = port else {
        let said = given(matches, PORT.long).unwrap_or_default();
        complain(format_args!("Error: debug port {said} is not in allowed list {:?}", ports.all()));
        return Ended::Wrong;
    };
    let Ok(method) = argument("method").parse::<Method>() else {
        complain(format_args!("Error: {:?} is no method of HTTP", argument("method")));
        return Ended::Wrong;
    };
    let path = format!("/{}", argument("path").trim_start_matches('/'));
    let host = "localhost".to_owned();
    let call = Call { method, host, port, path, body: argument("body") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let made = runtime.map_err(Into::into).and_then(|own| own.block_on(call.make(PATIENCE)));
    match made {
        Ok((status, body)) if status > 399 && status != 404 => {
            let body = String::from_utf8_lossy(&body);
            complain(format_args!("Error: received unsuccessful status code {status}: {body}"));
            Ended::Wrong
        }
        Ok((_, body)) => {
            let mut out = std::io::stdout().lock();
            // A closed pipe is not our trouble.
            drop(out.write_all(&body).and_then(|()| out.write_all(b"\n")));
            Ended::Well
        }
        Err(error) => failed(error.as_ref()),
    }
}

/// Ports that may be asked.
struct Ports {
    admin: u16,
    status: u16,
    agent: u16,
}

impl Ports {
    fn of(context: &Context) -> Self {
        let agent = said(context, "status.listen", 15020);
        Self {
            admin: said(context, "envoy.admin_port", 15000),
            status: said(context, "envoy.status_port", 15021),
            agent,
        }
    }

    /// Those that Istio's lets be asked, and what the settings have instead of them.
    fn all(&self) -> Vec<u16> {
        let mut all = vec![15000, 15004, 15020, 15021, self.admin, self.status, self.agent];
        all.sort_unstable();
        all.dedup();
        all
    }

    fn are_open(&self, port: u16) -> bool {
        self.all().contains(&port)
    }
}

/// The port in a setting, `PORT` or `IP:PORT`.
pub(super) fn said(context: &Context, key: &str, otherwise: u16) -> u16 {
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    let value = setting::find(key).map(|known| sources.values.setting(known).value);
    let port = value.and_then(|text| text.rsplit(':').next()?.parse().ok());
    port.unwrap_or(otherwise)
}

const PORT: Word = Word { long: "debug-port", ..text() };
const PATIENCE: Duration = Duration::from_secs(60);
