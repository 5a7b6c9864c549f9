//! The course of a drain: the mesh first, which then opens no connections here any more, and then
//! those that are open. The same for whoever types it and for the unit of Envoy that stops.

use std::{io, time::Duration};

use hawser_envoy::{
    Error,
    drain::{Options, Step, drain},
};
use tokio::time::sleep;

use super::super::{Context, ask::Said};
use crate::drain::Told;

/// Tells the agent, which tells the mesh if it can. One that refuses is an error of its own words.
pub(in crate::cli) fn begin(context: &Context) -> io::Result<Told> {
    let text = post(context, "/drain")?;
    serde_json::from_str(&text).map_err(|_odd| io::Error::other(text))
}

/// Tells the agent that it is over.
pub(in crate::cli) fn end(context: &Context) -> io::Result<()> {
    post(context, "/undrain").map(drop)
}

fn post(context: &Context, path: &str) -> io::Result<String> {
    let said = Said::post(&context.paths.admin_socket(), path)?;
    let status = said.status;
    let text = said.text()?.trim().to_owned();
    if status == 200 { Ok(text) } else { Err(io::Error::other(text)) }
}

/// Gives the mesh its time to hear of it, if it does.
pub(in crate::cli) async fn heard(told: &Told, wait: Duration) {
    if told.told {
        sleep(wait).await;
    }
}

/// Drains, and says each step. An agent that was started anew meanwhile would offer the machine to
/// the mesh again, so it is told again with each of them.
pub(in crate::cli) async fn drained(
    context: &Context,
    options: &Options,
    mut say: impl FnMut(Step),
) -> Result<Step, Error> {
    let again = |step| {
        drop(begin(context));
        say(step);
    };
    drain(options, again).await
}
