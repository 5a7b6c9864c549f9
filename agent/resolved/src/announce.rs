//! The agent's part: the file that says what is wanted.

use std::convert::Infallible;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hawser_proto::Names;
use hawser_rt::{Chain, Gate, Throttle};
use hawser_state::write_file;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{Asked, Wanted, domains};

static UNWRITTEN: Throttle = Throttle::new(Duration::from_secs(600));
static LEFT_OUT: Throttle = Throttle::new(Duration::from_secs(3600));

/// What is announced, and where.
#[derive(Clone, Debug)]
pub struct Announced {
    /// The file.
    pub path: PathBuf,
    /// Where the agent answers.
    pub listen: SocketAddr,
    /// What is asked of it.
    pub asked: Asked,
    /// The names that it has before any are published.
    pub kept: Names,
}

/// Keeps the file up to date until `stop`, and leaves it: it goes with its directory.
///
/// Opens `ready` when it was written first, or could not be: who reads it is started after us.
pub async fn announce(
    announced: Announced,
    mut names: watch::Receiver<Option<Names>>,
    ready: Gate,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let follow = async {
        let (mut written, mut ready) = (None, Some(ready));
        loop {
            let now = names.borrow_and_update().clone();
            let now = now.unwrap_or_else(|| announced.kept.clone());
            let (asked, listen) = (announced.asked.clone(), announced.listen);
            // Of a large table it takes a while.
            let wanted = spawn_blocking(move || wanted(&now, listen, &asked)).await.ok();
            if wanted.is_some() && wanted != written {
                written = put(&announced.path, wanted);
            }
            if let Some(ready) = ready.take() {
                ready.open();
            }
            if written.is_none() {
                sleep(AGAIN).await;
            } else if names.changed().await.is_err() {
                return std::future::pending::<()>().await;
            }
            // Pushes come in bursts.
            sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(follow).await;
    Ok(())
}

fn wanted(names: &Names, listen: SocketAddr, asked: &Asked) -> Wanted {
    let (domains, left_out) = domains(names, asked);
    if left_out > 0
        && let Some(suppressed) = LEFT_OUT.allow()
    {
        warn!(
            left_out,
            suppressed,
            remedy = "name the domains that they are in with dns.domains",
            "more hosts than systemd-resolved takes; some are not asked for here"
        );
    }
    Wanted::new(listen, domains)
}

/// Writes the file; what stands there now.
fn put(path: &Path, wanted: Option<Wanted>) -> Option<Wanted> {
    let text = wanted.as_ref()?.to_string();
    match write_file(path, 0o644, text.as_bytes()) {
        Ok(()) => {
            debug!(path = %path.display(), "domains for systemd-resolved written");
            wanted
        }
        Err(error) => {
            if let Some(suppressed) = UNWRITTEN.allow() {
                warn!(path = %path.display(), error = %Chain(&error), suppressed,
                    "systemd-resolved cannot be told of the domains of the mesh");
            }
            None
        }
    }
}

/// Takes the file away, where an agent left it that announced.
pub fn withdraw(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => debug!(path = %path.display(), "domains for systemd-resolved taken back"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            warn!(path = %path.display(), %error, "systemd-resolved goes on asking this agent");
        }
    }
}

const AGAIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use hawser_proto::istio::nds::{NameInfo, NameTable};
    use hawser_rt::files::Watch;
    use tokio::task::JoinSet;

    use super::*;

    fn mesh(host: &str) -> Option<Names> {
        let table = [(host.to_owned(), NameInfo::default())].into();
        Some(Names::from(&NameTable { table }))
    }

    #[tokio::test]
    async fn the_file_follows_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dns-domains");
        let mut watch = Watch::new([path.clone()]);
        let asked = Asked { domain: "svc.cluster.local".to_owned(), ..Asked::default() };
        let listen = "127.0.0.1:15053".parse().unwrap();
        let kept = mesh("kept.example.com").unwrap();
        let announced = Announced { path: path.clone(), listen, asked, kept };
        let (publish, names) = watch::channel(None);
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        let ready = hawser_rt::Gates::default().gate("domains");
        parts.spawn(announce(announced, names, ready, stop.clone()));

        let mut until = async |expected: &[&str]| {
            while Wanted::read(&path).unwrap().is_none_or(|wanted| wanted.domains != expected) {
                watch.changed().await;
            }
        };
        until(&["kept.example.com", "svc.cluster.local"]).await;
        publish.send_replace(mesh("www.example.com"));
        until(&["svc.cluster.local", "www.example.com"]).await;
        publish.send_replace(mesh("www.example.org"));
        until(&["svc.cluster.local", "www.example.org"]).await;

        stop.cancel();
        parts.join_next().await.unwrap().unwrap().unwrap();
        assert!(path.exists(), "the next agent may be starting");
        withdraw(&path);
        withdraw(&path);
        assert!(!path.exists());
    }
}
