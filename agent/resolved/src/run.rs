//! The privileged part: what the file says is told to systemd-resolved for as long as there is a
//! file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hawser_rt::addresses::Changes;
use hawser_rt::files::Watch;
use hawser_rt::{Backoff, Chain, Notifier, Throttle};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::link::Link;
use crate::tools::Tools;
use crate::{Error, Wanted};

static TROUBLE: Throttle = Throttle::new(Duration::from_secs(60));

/// Where things are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Below which programs, `/sys` and `/run/systemd` are: `/`.
    pub root: PathBuf,
    /// The file that the agent writes.
    pub path: PathBuf,
}

/// Does what the file says until it is gone, or `stop`; then undoes it.
///
/// Without the file there is nothing to do. What cannot be done at first is an error; what cannot be
/// done later, while systemd-resolved is away, is tried again.
pub async fn run(
    options: &Options,
    notifier: &Notifier,
    stop: CancellationToken,
) -> Result<(), Error> {
    let tools = Tools::find(&options.root)?;
    tools.recent().await?;
    let link = Link::new(tools, &options.root);
    // systemd-resolved makes it anew when it starts, and may have forgotten everything then. What it
    // remembers of the link is nobody else's to see.
    let started = options.root.join("run/systemd/resolve/io.systemd.Resolve");
    let mut watch = Watch::new([options.path.clone(), started]).idle();
    // A link that somebody removes takes its address along.
    let mut addresses = Changes::watch();
    let Some(mut wanted) = Wanted::read(&options.path)? else {
        info!(path = %options.path.display(), "nothing to do: the agent announces no domains");
        return Ok(());
    };
    let done = async {
        link.make().await?;
        link.tell(&wanted).await?;
        notifier.ready();
        loop {
            notifier.status(&format!("{} domains", wanted.domains.len()));
            // Cancel safe, both.
            tokio::select! {
                () = watch.changed() => {}
                () = addresses.next() => {}
            }
            match caught_up(&link, &options.path).await {
                Some(now) => wanted = now,
                None => return Ok(()),
            }
        }
    };
    let ended = stop.run_until_cancelled(done).await.unwrap_or(Ok(()));
    notifier.stopping();
    let removed = link.remove().await;
    ended.and(removed)
}

/// Makes what is the case what is wanted, however long it takes; what that is, if it is anything.
async fn caught_up(link: &Link, path: &Path) -> Option<Wanted> {
    let mut again = Backoff::new(FIRST, LAST);
    loop {
        match catch_up(link, path).await {
            Ok(now) => return now,
            Err(error) => {
                if let Some(suppressed) = TROUBLE.allow() {
                    warn!(error = %Chain(&error), suppressed, "systemd-resolved was not told");
                }
                // The one machine that does this has nobody to keep step with.
                sleep(again.next(1.0)).await;
            }
        }
    }
}

async fn catch_up(link: &Link, path: &Path) -> Result<Option<Wanted>, Error> {
    let Some(now) = Wanted::read(path)? else { return Ok(None) };
    link.make().await?;
    // Asked first, since telling is an event too.
    if !link.is_told(&now).await? {
        link.tell(&now).await?;
    }
    Ok(Some(now))
}

/// Undoes what a process has left behind that was killed.
pub async fn undo(options: &Options) -> Result<(), Error> {
    let tools = Tools::find(&options.root)?;
    Link::new(tools, &options.root).remove().await
}

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
