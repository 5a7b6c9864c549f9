//! The screen of `hawser status`, by a snapshot alone.

mod mesh;
mod services;
#[cfg(test)]
mod tests;
mod units;

use super::{
    super::span::span,
    page::{Hue, Look, Page},
};
use crate::status::{IdentityStatus, Snapshot, State, advice::Trouble, past::EndingStatus};

/// All of it, in at most so many lines.
pub(super) fn screen(of: &Snapshot, look: Look, most: usize) -> Vec<String> {
    let mut page = Page::new(look);
    head(&mut page, of);
    identity(&mut page, of);
    services::services(&mut page, of);
    mesh::istiod(&mut page, of);
    mesh::registration(&mut page, of);
    mesh::config(&mut page, of);
    mesh::names(&mut page, of);
    units::rules(&mut page, of);
    units::envoy(&mut page, of);
    if of.relay.is_none() {
        page.row("", Hue::Faint, "certificates only: no configuration, no names, no Envoy");
    }
    wrong(&mut page, of.at, &of.troubles);
    page.lines(most)
}

fn head(page: &mut Page, of: &Snapshot) {
    let (word, hue) = state(of.state);
    let more = match of.state {
        State::Starting if !of.waits_for.is_empty() => {
            format!(", waits for {}", of.waits_for.join(", "))
        }
        State::Degraded if of.troubles.len() == 1 => {
            ": it works, and something is wrong".to_owned()
        }
        State::Degraded => format!(": it works, and {} things are wrong", of.troubles.len()),
        _ => String::new(),
    };
    page.row("hawser", hue, &format!("{word}{more}"));
    let mut text = of.version.clone();
    if of.since > 0 {
        text.push_str(&format!(", up {}", ago(of.at, of.since)));
    }
    text.push_str(&format!(", pid {}", of.pid));
    if of.past.restarts > 0 {
        text.push_str(&format!(", {}", count(of.past.restarts, "restart")));
    }
    page.row("", Hue::Plain, &text);
    // What was asked for is no news.
    let lately = of.at.saturating_sub(of.since) < LATELY;
    if let Some(EndingStatus { how, asked: false, .. }) = of.past.ended.as_ref().filter(|_| lately)
    {
        page.row("", Hue::Warning, &format!("the one before it ended by itself: {how}"));
    }
}

/// The word for a state, and how it looks.
pub(in crate::cli) fn state(state: State) -> (&'static str, Hue) {
    match state {
        State::Ready => ("ready", Hue::Good),
        State::Degraded => ("degraded", Hue::Warning),
        State::Starting => ("starting", Hue::Warning),
        State::Draining => ("draining: this machine is being taken out of the mesh", Hue::Warning),
        State::Maintenance => ("maintenance: out of the mesh until it is ended", Hue::Warning),
        State::Down => ("down", Hue::Bad),
    }
}

fn identity(page: &mut Page, of: &Snapshot) {
    let identity = &of.identity;
    let Some(id) = &identity.spiffe_id else {
        return page.row("identity", Hue::Warning, "none yet");
    };
    page.fit("identity", Hue::Plain, id, "");
    let mut text = match identity.expires_in {
        Some(left) if left > 0 => format!("valid for {}", span(left)),
        _ => "expired".to_owned(),
    };
    if let Some(at) = identity.renews_at {
        let verb = if identity.trouble.is_some() { "asked for again" } else { "renewed" };
        text.push_str(&match at.saturating_sub(of.at) {
            0 => format!(", {verb} now"),
            left => format!(", {verb} in {}", span(left.cast_signed())),
        });
    }
    let hue = match (identity.expires_in, &identity.trouble) {
        (Some(left), None) if left > 0 => Hue::Plain,
        (Some(left), Some(_)) if left > 0 => Hue::Warning,
        _ => Hue::Bad,
    };
    page.fit("", hue, &text, &with(identity));
}

/// What the next certificate is asked for with.
fn with(identity: &IdentityStatus) -> String {
    match identity.would_show.iter().find(|it| it.usable) {
        Some(it) => format!(" with {}", it.what),
        None if identity.would_show.is_empty() => String::new(),
        None => ", nothing to show for it".to_owned(),
    }
}

/// What is wrong, since when, and what to do.
pub(super) fn wrong(page: &mut Page, now: u64, troubles: &[Trouble]) {
    if !troubles.is_empty() {
        page.gap();
    }
    for Trouble { part, what, since, next, .. } in troubles {
        let since = since.map(|since| format!("(for {}) ", ago(now, since))).unwrap_or_default();
        page.fold(&format!("! {part}"), Hue::Bad, &format!("{since}{what}"));
        page.row("  next", Hue::Strong, next);
    }
}

/// How long ago something was.
fn ago(now: u64, then: u64) -> String {
    span(now.saturating_sub(then).cast_signed())
}

fn count(many: u64, of: &str) -> String {
    format!("{many} {of}{}", if many == 1 { "" } else { "s" })
}

/// For how long an end that nobody asked for is of interest, in seconds.
const LATELY: u64 = 3600;
