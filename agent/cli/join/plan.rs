//! `hawser join --plan`: what would be done, with nothing done.

use std::time::SystemTime;

use hawser_istiod::token::{self, Span};

use super::{Join, Judged, rules, say};
use crate::{
    bundle::{Bundle, changes},
    cli::Context,
    config::paths,
    install::service::{AGENT, Service},
};

impl Join {
    pub(super) fn show(&self, context: &Context, bundle: &Bundle, judged: &Judged) {
        let row = |name: &str, value: &str| say(format_args!("{name:<10} {value}"));
        let config = &judged.config;
        row("joins", &format!("{} as {}", config.istiod, config.node.id));
        row(
            "",
            if self.offline { "istiod was not called" } else { "istiod was called, and is it" },
        );
        row("with", &shown(bundle));
        let place = context.paths.bundle();
        row("installs", &place.display().to_string());
        match &judged.before {
            None => {
                for (name, content) in bundle.files() {
                    row("", &format!("+ {name}, {} bytes", content.len()));
                }
            }
            Some(before) => {
                let changes = changes(&before.bundle, bundle);
                if changes.is_empty() {
                    row("", "the same as is there");
                }
                for change in changes {
                    row("", &change.to_string());
                }
                let previous = place.with_extension("previous");
                row("keeps", &format!("what is there now in {}", previous.display()));
            }
        }
        row("starts", &self.starts(context));
        for (n, line) in rules::summary(config).iter().enumerate() {
            row(if n == 0 { "redirects" } else { "" }, line);
        }
        for note in &judged.notes {
            row("note", note);
        }
        say("nothing was changed");
    }

    fn starts(&self, context: &Context) -> String {
        let Some(service) = Service::find(&context.paths) else {
            return "nothing: there is no service of systemd for it here".to_owned();
        };
        let enabled = format!("{AGENT} at every boot");
        if self.no_start || self.offline || !service.booted {
            return enabled;
        }
        let state = service.state();
        let runs = state.is_ok_and(|state| !["inactive", "failed"].contains(&&*state.active));
        let now =
            if runs { "and it is restarted now, with Envoy where that changes" } else { "and now" };
        format!("{enabled}, {now}")
    }
}

/// What istiod would be shown first.
fn shown(bundle: &Bundle) -> String {
    let now = SystemTime::now();
    let token = bundle.text(paths::TOKEN).and_then(|token| token::open(token).ok());
    match token {
        Some(facts) => match facts.expires {
            Some(expires) => {
                let left = expires.duration_since(now).unwrap_or_default();
                format!("a token that is good for {}", Span(left))
            }
            None => "a token that does not expire".to_owned(),
        },
        None => "the pair key.pem and cert-chain.pem".to_owned(),
    }
}
