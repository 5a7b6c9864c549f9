//! `hawser intercept plan` and `diff`: what would be loaded, and how that differs from what is.

use clap::Args;

use super::{Wrong, around::Around, changes, nft, places, runtime, words};
use crate::cli::{Context, Exit, complain, say};

/// Show the rules that the settings mean on this machine
///
/// Nothing is changed. What does not do what it seems to is told on standard error.
#[derive(Debug, Args)]
pub(super) struct Plan {
    /// In words instead, as JSON: what goes to Envoy, what is spared, and why
    #[arg(long)]
    json: bool,
}

/// Show how the loaded rules differ from those that the settings mean now
///
/// Ends with 1 if they do: `hawser intercept apply` loads what is meant.
#[derive(Debug, Args)]
pub(super) struct Diff {}

impl Plan {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, Wrong> {
        let planned = runtime()?.block_on(Around::of(context).planned())?;
        for warning in planned.warnings() {
            complain(format_args!("hawser: {warning}"));
        }
        if self.json {
            say(format_args!("{:#}", words::summary(&planned)));
            return Ok(Exit::Ok);
        }
        if !planned.settings.enabled {
            say(
                "# Interception is off (intercept.enabled, identity.only); this is what it would be.",
            );
        } else if planned.plan.gates().is_empty() {
            say("# Nothing is redirected, so nothing is loaded.");
        }
        say(planned.plan.ruleset().trim_end());
        for line in words::routes(planned.plan.routes()) {
            say(format_args!("# {line}"));
        }
        Ok(Exit::Ok)
    }
}

impl Diff {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Result<Exit, Wrong> {
        let places = places(context);
        let (planned, loaded) = runtime()?.block_on(async {
            let planned = Around::of(context).planned().await?;
            Ok::<_, Wrong>((planned, nft()?.table().await?))
        })?;
        let wanted = planned.settings.enabled && !planned.plan.gates().is_empty();
        let Some(loaded) = loaded else {
            if !wanted {
                say("nothing is loaded, and nothing is to be");
                return Ok(Exit::Ok);
            }
            say("nothing is loaded; `hawser intercept plan` shows what would be");
            return Ok(Exit::Failed);
        };
        let mut same = true;
        if places.is_changed(&loaded)? {
            same = false;
            say("the loaded rules are not as hawser has loaded them: somebody has changed them");
        }
        let text = if wanted { planned.plan.ruleset() } else { "" };
        let before = places.loaded()?.unwrap_or_default();
        for line in changes::between(&before, text) {
            same = false;
            say(line);
        }
        if same {
            say("the loaded rules are those that the settings mean");
            return Ok(Exit::Ok);
        }
        say("`hawser intercept apply` loads what the settings mean");
        Ok(Exit::Failed)
    }
}
