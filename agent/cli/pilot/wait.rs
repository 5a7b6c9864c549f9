//! `pilot-agent wait`: until Envoy says that it is ready.

use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use http::Method;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Ended, Word, context, flags, given, http::Call, request, text};
use crate::cli::{complain, say};

pub(super) fn command() -> Command {
    Command::new("wait").about("Wait until Envoy is ready").args(flags::arguments(&WORDS))
}

pub(super) fn run(matches: &ArgMatches) -> Ended {
    let number = |name: &str| given(matches, name).and_then(|text| text.parse::<u32>().ok());
    let numbers = ["timeoutSeconds", "requestTimeoutMillis", "periodMillis"].map(number);
    let [Some(seconds), Some(request), Some(period)] = numbers else {
        complain("Error: expected a number of seconds or milliseconds");
        return Ended::Wrong;
    };
    let call = match given(matches, "url") {
        Some(url) => call(url),
        None => Ok(ready()),
    };
    let call = match call {
        Ok(call) => call,
        Err(error) => {
            complain(format_args!("Error: {error}"));
            return Ended::Wrong;
        }
    };
    say(format_args!("Waiting for Envoy proxy to be ready (timeout: {seconds} seconds)..."));
    let millis = |count: u32| Duration::from_millis(count.into());
    let limits = (Duration::from_secs(seconds.into()), millis(request), millis(period.max(1)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let waited = match runtime {
        Ok(runtime) => runtime.block_on(wait(&call, limits)),
        Err(error) => Err(error.into()),
    };
    match waited {
        Ok(()) => {
            say("Envoy is ready!");
            Ended::Well
        }
        Err(last) => {
            complain(format_args!(
                "Error: timeout waiting for Envoy proxy to become ready. Last error: {}",
                hawser_rt::Chain(last.as_ref())
            ));
            Ended::Wrong
        }
    }
}

/// First after a period, then after each.
async fn wait(
    call: &Call,
    (limit, request, period): (Duration, Duration, Duration),
) -> anyhow::Result<()> {
    let end = Instant::now() + limit;
    let mut last = anyhow::anyhow!("it was never asked");
    let mut next = Instant::now() + period;
    while next < end {
        sleep_until(next).await;
        match timeout_at(end, call.clone().make(request)).await {
            Ok(Ok((200, _))) => return Ok(()),
            Ok(Ok((status, _))) => last = anyhow::anyhow!("HTTP status code {status}"),
            Ok(Err(error)) => last = error,
            Err(_late) => break,
        }
        next = (next + period).max(Instant::now());
    }
    Err(last)
}

/// Where this Envoy says so.
fn ready() -> Call {
    let port = request::said(&context(), "envoy.status_port", 15021);
    let (host, path) = ("localhost".to_owned(), "/healthz/ready".to_owned());
    Call { method: Method::GET, host, port, path, body: String::new() }
}

fn call(url: &str) -> anyhow::Result<Call> {
    let address: http::Uri = url.parse().with_context(|| format!("{url} is no address"))?;
    anyhow::ensure!(address.scheme_str() == Some("http"), "{url}: expected http://");
    let host = address.host().with_context(|| format!("{url} names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let path = address.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let port = address.port_u16().unwrap_or(80);
    Ok(Call { method: Method::GET, host, port, path, body: String::new() })
}

const WORDS: [Word; 4] = [
    Word { long: "timeoutSeconds", default: "60", ..text() },
    Word { long: "requestTimeoutMillis", default: "500", ..text() },
    Word { long: "periodMillis", default: "500", ..text() },
    Word { long: "url", ..text() },
];
