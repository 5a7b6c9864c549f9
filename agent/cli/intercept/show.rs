//! `hawser intercept show`: what is loaded, and what it has done.

use clap::Args;
use hawser_intercept::{
    gates::{self, Gates, Open},
    plan::Gate,
    report::{self, Hit, Report},
    trial::{self, Trial},
};
use serde_json::{Value, json};

use super::{Wrong, nft, places, runtime};
use crate::cli::{
    Context, Exit, say,
    span::{now, span},
};

/// Show what is redirected, what was hit, and whether it is as it should be
///
/// Ends with 0 if something is redirected, 3 if nothing is.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is known of the loaded rules.
struct Seen {
    report: Option<Report>,
    guarded: bool,
    trial: Trial,
    gates: Gates<Open>,
    loaded: bool,
    changed: bool,
    hits: Vec<Hit>,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, Wrong> {
        let places = places(context);
        let listing = runtime()?.block_on(async { nft()?.table().await })?;
        let guarded = places.unguarded()?.is_none();
        let seen = Seen {
            report: Report::read(&places)?.filter(|_| guarded),
            guarded,
            trial: Trial::read(&places)?,
            gates: gates::listed(listing.as_deref().unwrap_or_default()),
            loaded: listing.is_some(),
            changed: match &listing {
                Some(listing) => places.is_changed(listing)?,
                None => false,
            },
            hits: listing.as_deref().map(report::hits).unwrap_or_default(),
        };
        if self.json {
            say(format_args!("{:#}", seen.json()));
        } else {
            say(seen.screen().trim_end());
        }
        Ok(if seen.gates == Gates::default() { Exit::Down } else { Exit::Ok })
    }
}

impl Seen {
    fn json(&self) -> Value {
        json!({
            "guard": self.report,
            "guarded": self.guarded,
            "loaded": self.loaded,
            "changed": self.changed,
            "gates": {
                "outbound": how(self.gates.outbound),
                "inbound": how(self.gates.inbound),
                "dns": how(self.gates.dns),
            },
            "trial": trial(self.trial),
            "hits": self.hits,
        })
    }

    fn screen(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            text.push_str(&format!("{name:<10} {value}\n"));
        };
        match &self.report {
            Some(report) => {
                let since = span(now() - report.since.cast_signed());
                row("guard", format!("{report}, for {since}"));
            }
            None if self.guarded => row("guard", "runs, and has not said anything yet".to_owned()),
            None => row("guard", "does not run; `systemctl start hawser` starts it".to_owned()),
        }
        for gate in Gate::ALL {
            row(name(gate), said(*self.gates.of(gate)));
        }
        if let Some(trial) = trial(self.trial) {
            row("trial", trial);
        }
        if !self.loaded {
            row("rules", "none are loaded".to_owned());
        } else if self.changed {
            row("rules", "not as hawser has loaded them: somebody has changed them".to_owned());
        } else {
            row("rules", "as hawser has loaded them".to_owned());
        }
        if let Some(report) = &self.report {
            if let Some(drift) = &report.drift {
                let ago = span(now() - drift.at.cast_signed());
                let times = report.repairs;
                row("", format!("put back {times} times, last {ago} ago: {}", drift.what));
            }
            report.trouble.iter().for_each(|trouble| row("trouble", trouble.clone()));
            report.warnings.iter().for_each(|warning| row("warning", warning.clone()));
        }
        if !self.hits.is_empty() {
            text.push_str("\n   packets        bytes  what\n");
        }
        for hit in &self.hits {
            let Hit { chain, rule, packets, bytes } = hit;
            text.push_str(&format!("{packets:>10} {bytes:>12}  {rule} ({chain})\n"));
        }
        text
    }
}

fn name(gate: Gate) -> &'static str {
    match gate {
        Gate::Outbound => "out",
        Gate::Inbound => "in",
        Gate::Dns => "names",
    }
}

fn said(open: Open) -> String {
    match open {
        Open::Shut => "not redirected".to_owned(),
        Open::Lasting => "redirected".to_owned(),
        Open::For(left) => format!("redirected, for {}s if nobody goes on", left.as_secs()),
    }
}

fn how(open: Open) -> Value {
    match open {
        Open::Shut => json!({ "open": false }),
        Open::Lasting => json!({ "open": true }),
        Open::For(left) => json!({ "open": true, "seconds": left.as_secs() }),
    }
}

fn trial(trial: Trial) -> Option<String> {
    match trial {
        Trial::None => None,
        Trial::Until(until) => {
            let left = until.saturating_sub(trial::now()).as_secs();
            Some(format!("ends in {left}s unless `hawser intercept confirm` comes"))
        }
        Trial::Over => {
            Some("over, and not confirmed: `hawser intercept apply` begins again".to_owned())
        }
    }
}
