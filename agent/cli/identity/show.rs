//! `hawser identity show`: one screen about the certificate.

use clap::Args;

use super::super::{
    Context, Exit, ask, say,
    span::{now, span},
};
use crate::status::{IdentityStatus, identity::ProspectStatus};

/// Show who this machine is, until when, and what istiod would be shown next
///
/// Ends with 0 if the certificate is valid and nothing is wrong, 1 if not, 3 if nobody answers.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let snapshot = match ask::snapshot(&context.paths) {
            Ok((_, snapshot)) => snapshot,
            Err(exit) => return exit,
        };
        let identity = &snapshot.identity;
        if self.json {
            say(serde_json::to_string(identity).unwrap_or_default());
        } else {
            say(screen(identity, now()).trim_end());
        }
        let valid = identity.expires_in.is_some_and(|left| left > 0);
        if valid && identity.trouble.is_none() { Exit::Ok } else { Exit::Failed }
    }
}

fn screen(identity: &IdentityStatus, now: i64) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<12} {value}\n"));
        }
    };
    row("identity", identity.spiffe_id.clone().unwrap_or_else(|| "none yet".to_owned()));
    row("source", identity.source.clone());
    row("key", identity.key.clone().unwrap_or_default());
    match identity.expires_in {
        Some(left) if left > 0 => {
            row("valid for", format!("{}{}", span(left), without(&identity.source)));
        }
        Some(left) => row("expired", format!("{} ago", span(-left))),
        None => {}
    }
    if let Some(at) = identity.renews_at {
        row("next", next(identity, at.cast_signed() - now));
    }
    if let Some(obtained) = &identity.obtained {
        let ago = span((now - obtained.at.cast_signed()).max(0));
        let (how, took) = (&obtained.credential, obtained.took_ms);
        row("obtained", format!("{ago} ago with {how}, in {took} ms"));
    }
    row("at rest", identity.at_rest.clone());
    let roots = &identity.roots;
    if let Some(expiry) = roots.first_expiry {
        let left = expiry.cast_signed() - now;
        let first = if left > 0 { format!("in {}", span(left)) } else { "expired".to_owned() };
        row("roots", format!("{}, the first ends {first}", roots.count));
    }
    row("remark", identity.remark.clone().unwrap_or_default());
    if let Some(shown) = &identity.shown_last {
        let ago = span((now - shown.at.cast_signed()).max(0));
        row("shown last", format!("{} ({ago} ago)", shown.what));
    }
    // Where nothing could be shown to istiod but the pair itself, there is none.
    let shows = identity.source == "istiod" || identity.would_show.len() > 1;
    let would_show = identity.would_show.iter().filter(|_| shows);
    for (index, prospect) in would_show.enumerate() {
        row(if index == 0 { "would show" } else { "" }, prospect_line(prospect, now));
    }
    if let Some(export) = &identity.export {
        let state = if export.at.is_some() { "in place" } else { "not yet" };
        let state = export.trouble.clone().unwrap_or_else(|| state.to_owned());
        row("files", state);
    }
    if let Some(trouble) = &identity.trouble {
        let since = identity.trouble_since.map(|since| span((now - since.cast_signed()).max(0)));
        row("wrong", format!("{trouble} (for {})", since.unwrap_or_default()));
    }
    text
}

/// What the time that is left means.
fn without(source: &str) -> &'static str {
    match source {
        "istiod" => ": so long without istiod",
        "Vault" => ": so long without Vault",
        "command" => ": so long without another from the program",
        _ => "",
    }
}

fn next(identity: &IdentityStatus, left: i64) -> String {
    let when = if left > 0 { format!("in {}", span(left)) } else { "now".to_owned() };
    let what = if identity.trouble.is_some() { "asked for again" } else { "renewed" };
    format!("{what} {when}")
}

fn prospect_line(prospect: &ProspectStatus, now: i64) -> String {
    let mut line = prospect.what.clone();
    let left = prospect.expires.map(|expires| expires.cast_signed() - now);
    if let Some(left) = left.filter(|left| *left > 0 && prospect.usable) {
        line.push_str(&format!(", valid for {}", span(left)));
    }
    if let Some(note) = &prospect.note {
        line.push_str(&format!(": {note}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::identity::{ObtainedStatus, RootsStatus, ShownStatus};

    #[test]
    fn the_screen_says_who_until_when_and_what_comes_next() {
        let identity = IdentityStatus {
            source: "istiod".to_owned(),
            spiffe_id: Some("spiffe://cluster.local/ns/vms/sa/web".to_owned()),
            key: Some("ecdsa-p256".to_owned()),
            expires_in: Some(3 * 3600),
            renews_at: Some(1_000 + 3600),
            obtained: Some(ObtainedStatus {
                at: 1_000 - 60,
                took_ms: 12,
                credential: "the certificate".to_owned(),
            }),
            at_rest: "plain, for its owner alone".to_owned(),
            shown_last: Some(ShownStatus { what: "the certificate".to_owned(), at: 1_000 - 60 }),
            would_show: vec![ProspectStatus {
                what: "token file /etc/hawser/mesh/istio-token".to_owned(),
                usable: false,
                may_come: false,
                note: Some("expired 3 h ago".to_owned()),
                expires: Some(1),
                subject: None,
                audiences: Vec::new(),
            }],
            roots: RootsStatus { count: 2, first_expiry: Some(1_000 + 86_400) },
            trouble: Some("istiod is away".to_owned()),
            trouble_since: Some(995),
            ..IdentityStatus::default()
        };
        let expected = "\
identity     spiffe://cluster.local/ns/vms/sa/web
source       istiod
key          ecdsa-p256
valid for    3h 0m: so long without istiod
next         asked for again in 1h 0m
obtained     1m 0s ago with the certificate, in 12 ms
at rest      plain, for its owner alone
roots        2, the first ends in 1d 0h
shown last   the certificate (1m 0s ago)
would show   token file /etc/hawser/mesh/istio-token: expired 3 h ago
wrong        istiod is away (for 5s)
";
        assert_eq!(screen(&identity, 1_000), expected);
    }
}
