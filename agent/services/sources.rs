//! Where configuration and names come from: istiod, the file of services, or both.

use std::{collections::BTreeSet, convert::Infallible, net::IpAddr, sync::Arc};

use hawser_istiod::Istiod;
use hawser_proto::Names;
use hawser_services::model::Range;
use hawser_xds::{Beside, Local, Source, Supply};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Begun, Standing, follow::Outlets, names, names_of};

/// Where what Envoy and the resolver are told comes from.
#[derive(Debug)]
pub(crate) struct Sources {
    /// For Envoy.
    pub(crate) configuration: Arc<dyn Source>,
    /// For the agent's own stream: names, and roots.
    pub(crate) own: Arc<dyn Source>,
    /// The file of services, if there is one.
    pub(crate) file: Option<Followed>,
}

/// A file of services that is followed.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    supply: watch::Receiver<Arc<Supply>>,
    standing: Arc<watch::Sender<Arc<Standing>>>,
}

impl Sources {
    /// With what is to be told when the file changes; nobody is to be told without a file.
    pub(crate) fn new(istiod: Istiod, services: Option<&Begun>) -> (Self, Option<Outlets>) {
        let Some(begun) = services else {
            let mesh: Arc<dyn Source> = Arc::new(istiod);
            return (Self { configuration: Arc::clone(&mesh), own: mesh, file: None }, None);
        };
        let (tell, supply) = watch::channel(Arc::clone(&begun.supply));
        let standing = Arc::new(watch::Sender::new(Arc::new(begun.standing.clone())));
        let local = Local::new(begun.standing.file.display().to_string(), supply.clone());
        let (configuration, own): (Arc<dyn Source>, Arc<dyn Source>) = if begun.standing.beside {
            let mesh: Arc<dyn Source> = Arc::new(istiod);
            (Arc::new(Beside::new(Arc::clone(&mesh), local)), mesh)
        } else {
            let local: Arc<dyn Source> = Arc::new(local);
            (Arc::clone(&local), local)
        };
        let outlets = Outlets { supply: tell, standing: Arc::clone(&standing) };
        (Self { configuration, own, file: Some(Followed { supply, standing }) }, Some(outlets))
    }

    /// Whether there is no mesh but the file.
    pub(crate) fn is_alone(&self) -> bool {
        self.file.as_ref().is_some_and(|file| !file.standing.borrow().beside)
    }
}

impl Followed {
    /// What is known of the file.
    pub(crate) fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    /// Names of an earlier run, without those that were the file's: it says itself which it has.
    pub(crate) fn of_mesh(&self, kept: &Names) -> Names {
        let Range(range) = self.standing.borrow().services.range;
        let made = |ip: &str| ip.parse::<IpAddr>().is_ok_and(|ip| range.contains(ip));
        kept.only(|entry| !entry.ips().any(made))
    }

    /// Publishes the names of the mesh and those of the file as one table, whenever either changes.
    pub(crate) async fn join(
        self,
        mut mesh: watch::Receiver<Option<Names>>,
        named: watch::Sender<Option<Names>>,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut supply = self.supply.clone();
        let mut told = BTreeSet::new();
        loop {
            let own = names_of(&supply.borrow_and_update());
            let said = mesh.borrow_and_update().clone();
            let wins = self.standing.borrow().wins;
            let (names, conflicts) = names::joined(said.as_ref(), &own, wins);
            named.send_replace(Some(names));
            self.tell(&conflicts, &mut told);
            // Cancel safe: all of them only wait. A source that is gone says nothing more.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = supply.changed() => {}
                Ok(()) = mesh.changed() => {}
            }
        }
    }

    /// A name that two have is told of once.
    fn tell(&self, conflicts: &[String], told: &mut BTreeSet<String>) {
        let now: BTreeSet<String> = conflicts.iter().cloned().collect();
        let wins = self.standing.borrow().wins.word();
        if let Some(example) = now.difference(told).next() {
            let names = now.len();
            warn!(
                names,
                example, wins, "names are in the services file and in the mesh (services.wins)"
            );
        } else if now.is_empty() && !told.is_empty() {
            info!("no name is both in the services file and in the mesh any more");
        }
        *told = now;
        self.standing.send_if_modified(|standing| {
            let other = standing.conflicts != conflicts;
            if other {
                Arc::make_mut(standing).conflicts = conflicts.to_vec();
            }
            other
        });
    }
}
