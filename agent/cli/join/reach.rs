//! Whether istiod is there, and is who the roots say.

use hawser_istiod::Error;
use hawser_rt::{Chain, signal::Signals};

use crate::{
    bundle::{self, Bundle},
    check,
    config::Config,
    options,
};

/// Calls istiod: for certificates and for configuration.
pub(super) fn istiod(config: &Config, bundle: &Bundle) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
    let reached = runtime.block_on(async {
        let mut signals = Signals::install().map_err(|error| Chain(&error).to_string())?;
        let mut ways = vec![options::ca(config)];
        if config.ca != config.istiod {
            ways.push(options::xds(config));
        }
        let called = async {
            for way in ways {
                let istiod = check::unshown(way).map_err(|error| Chain(&error).to_string())?;
                istiod.connect().await.map_err(|error| told(&error, config, bundle))?;
            }
            Ok(())
        };
        // Cancel safe: what is dropped is a call that nobody waits for. The signal has to be heard
        // here, so that what is staged is taken away again.
        tokio::select! {
            reached = called => reached,
            signal = signals.stop() => Err(format!("stopped by {signal}")),
        }
    });
    runtime.shutdown_background();
    reached
}

/// A dial that failed, in the words of whoever wants to join.
fn told(error: &Error, config: &Config, bundle: &Bundle) -> String {
    match error {
        Error::NotValidNow { endpoint, peer, source } => match bundle::ahead_or_behind(source) {
            Some(clock) => format!("{endpoint} ({peer}): {clock}"),
            None => Chain(error).to_string(),
        },
        // The names that are there say why the one that is needed is not.
        Error::Resolve { .. } => {
            bundle::gone_names(bundle, config).unwrap_or_else(|| Chain(error).to_string())
        }
        error => Chain(error).to_string(),
    }
}
