//! Waiting for what must come, but not for ever.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long anything in a test may take, with room for a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

const STEP: Duration = Duration::from_millis(20);

/// Waits until a watched value is as wanted; answers the value.
///
/// # Errors
/// When it does not come within [`PATIENCE`], or whoever would bring it is gone.
pub async fn until<T: Clone>(
    what: &str,
    value: &mut watch::Receiver<T>,
    done: impl FnMut(&T) -> bool,
) -> Result<T> {
    let found = timeout(PATIENCE, value.wait_for(done)).await;
    let found = found.map_err(|_late| anyhow!("waited {PATIENCE:?} in vain: {what}"))?;
    Ok(found.with_context(|| format!("gave up waiting: {what}"))?.clone())
}

/// Asks again and again until there is an answer.
///
/// For what cannot tell by itself that it is there, such as the admin interface of a process.
///
/// # Errors
/// The last error, when there was no answer within [`PATIENCE`].
pub async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("waited {PATIENCE:?} in vain: {what}"));
            }
            Err(_not_yet) => sleep(STEP).await,
        }
    }
}
