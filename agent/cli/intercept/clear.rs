//! `hawser intercept clear`: traffic goes where it went before there was hawser.

use std::time::Duration;

use clap::Args;
use hawser_audit::RULES_CLEARED;
use hawser_intercept::{
    Error,
    apply::{self, Places},
    gates::Gates,
    job,
    trial::Trial,
};

use super::{Wrong, nft, places, runtime};
use crate::{
    cli::{Context, Exit, say},
    log::note,
};

/// Remove everything that redirects traffic
///
/// The table inet hawser, its policy rules, routes and addresses, whatever the settings are now, and
/// nothing else. Connections that are open stay as they are. While hawser-intercept.service runs,
/// its rules are shut instead of removed, until `hawser intercept apply` opens them again.
#[derive(Debug, Args)]
pub(super) struct Clear {
    /// After the guard has ended: unless another one takes its place
    #[arg(long, hide = true)]
    after_guard: bool,
}

impl Clear {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, Wrong> {
        let places = places(context);
        runtime()?.block_on(async {
            if self.after_guard && stays(context).await {
                return Ok(Exit::Ok);
            }
            let Some(_guard) = places.unguarded()? else {
                Trial::begin(&places, Duration::ZERO)?;
                apply::open(&nft()?, &Gates::default(), &places).await?;
                noted(context, "gates were shut by hand");
                say("nothing is redirected any more");
                say("rules are still loaded, shut, and watched by hawser-intercept.service");
                say("next: `hawser intercept apply` opens them again, \
                     `systemctl stop hawser` removes everything");
                return Ok(Exit::Ok);
            };
            remove(&places).await?;
            if !self.after_guard {
                noted(context, "rules were cleared by hand");
                say("nothing is redirected, and nothing of hawser is left in the kernel");
            }
            Ok(Exit::Ok)
        })
    }
}

fn noted(context: &Context, message: &str) {
    note(context.paths.root(), RULES_CLEARED, message, &[]);
}

/// Takes everything out of the kernel, where no guard puts it back.
async fn remove(places: &Places) -> Result<(), Error> {
    match nft() {
        Ok(nft) => apply::clear(&nft, places).await?,
        // Without the program nobody has loaded rules; the rest may be there.
        Err(Error::NoNft | Error::OnlyIptables) => apply::forget(places)?,
        Err(error) => return Err(error),
    }
    Trial::forget(places)
}

/// For who leaves the mesh: what was loaded by hand goes as well.
pub(in crate::cli) fn on_leaving(context: &Context) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| hawser_rt::Chain(error).to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| said(&error))?;
    runtime.block_on(remove(&places(context))).map_err(|error| said(&error))
}

/// Whether rules are to stay though a guard has ended: because systemd starts another one.
async fn stays(context: &Context) -> bool {
    let said = |name| context.environment.get(name).unwrap_or_default();
    let last = [Exit::Usage, Exit::Config].map(|exit| (exit as u8).to_string());
    if said("SERVICE_RESULT") == "success" {
        // It has removed them itself, unless it was told to end before it could.
        return job::is_restarted(job::UNIT).await;
    }
    if said("EXIT_CODE") == "exited" && last.iter().any(|status| status == said("EXIT_STATUS")) {
        return false;
    }
    !job::is_stopped(job::UNIT).await
}
