//! `hawser intercept adopt`: what Istio's own scripts have left goes.

use std::path::Path;

use clap::Args;
use hawser_audit::RULES_ADOPTED;
use hawser_intercept::adopt::Leftovers;

use super::{Wrong, places, runtime};
use crate::{
    cli::{Context, Exit, say},
    log::note,
};

/// Remove the rules that istio-iptables has left on this machine
///
/// ISTIO_ chains of iptables and what jumps to them, tables istio-proxy-*, policy rules of TPROXY
/// and the address ::6. Nothing else is touched. Not for a machine on which Istio's agent still
/// runs.
#[derive(Debug, Args)]
pub(super) struct Adopt {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    plan: bool,
}

impl Adopt {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, Wrong> {
        runtime()?.block_on(async {
            let left = Leftovers::look(Path::new("/"), &places(context)).await?;
            if left.is_empty() {
                say("nothing of istio-iptables is here");
                return Ok(Exit::Ok);
            }
            let verb = if self.plan { "would remove" } else { "removes" };
            for line in left.lines() {
                say(format_args!("{verb} {line}"));
            }
            if !self.plan {
                left.remove().await?;
                let removed = left.lines().join("; ");
                let said = "rules of istio-iptables removed";
                note(context.paths.root(), RULES_ADOPTED, said, &[("removed", removed)]);
            }
            Ok(Exit::Ok)
        })
    }
}
