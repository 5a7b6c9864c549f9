//! Puts a plan into the kernel, and takes everything of ours out of it again.
//!
//! What is ours is known by marks that no setting changes: the name of the table, the protocol
//! number of rules and routes, the list of addresses. So it is removed whatever made it, and nothing
//! else is touched.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use hawser_rt::Cidr;

use crate::Error;
use crate::gates::{self, Gates, Open};
use crate::nft::Nft;
use crate::plan::{Gate, Plan, TABLE};
use crate::routes::{self, Routing};

/// Where the privileged part keeps what it has to know of earlier lives: `/run/hawser-intercept`.
#[derive(Clone, Debug)]
pub struct Places {
    directory: PathBuf,
}

impl Places {
    /// In this directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What the guard says of itself.
    pub fn report(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// When a trial ends.
    pub(crate) fn trial(&self) -> PathBuf {
        self.directory.join("trial")
    }

    /// The addresses that were not there before us.
    fn addresses(&self) -> PathBuf {
        self.directory.join("addresses")
    }

    /// Whether this address of the loopback interface is there because of us.
    pub(crate) fn has_added(&self, address: &Cidr) -> Result<bool, Error> {
        Ok(routes::remembered(&self.addresses())?.contains(address))
    }

    /// The text that was loaded last; none, if none was.
    pub fn loaded(&self) -> Result<Option<String>, Error> {
        self.kept("ruleset")
    }

    /// Whether what nft lists is not what it listed when it was loaded.
    pub fn is_changed(&self, listing: &str) -> Result<bool, Error> {
        Ok(self.kept("listing")?.is_some_and(|kept| kept != gates::still(listing)))
    }

    /// Holds guards off; none, if one runs.
    pub fn unguarded(&self) -> Result<Option<File>, Error> {
        let life = self.guard()?;
        match life.try_lock() {
            Ok(()) => Ok(Some(life)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => {
                Err(Error::Lock { path: self.directory.join("guard.lock"), source })
            }
        }
    }

    fn kept(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Remembers what was loaded, or that nothing is.
    fn remember(&self, loaded: Option<(&str, &str)>) -> Result<(), Error> {
        let (ruleset, listing) = loaded.unzip();
        for (name, text) in [("ruleset", ruleset), ("listing", listing)] {
            let path = self.directory.join(name);
            let done = match text {
                Some(text) => hawser_state::write_file(&path, 0o644, text.as_bytes())
                    .map_err(|source| Error::Remember { source }),
                None => match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        Err(Error::Forget { path, source: error })
                    }
                    _ => Ok(()),
                },
            };
            done?;
        }
        Ok(())
    }

    /// Held by the guard for life.
    fn guard(&self) -> Result<File, Error> {
        self.open("guard.lock")
    }

    /// Waits until nobody else changes rules, and holds others up as long as the file lives.
    pub(crate) fn alone(&self) -> Result<File, Error> {
        let file = self.open("lock")?;
        let path = || self.directory.join("lock");
        file.lock().map_err(|source| Error::Lock { path: path(), source })?;
        Ok(file)
    }

    fn open(&self, name: &str) -> Result<File, Error> {
        let make = DirBuilder::new().recursive(true).mode(0o755).create(&self.directory);
        let path = || self.directory.clone();
        make.map_err(|source| Error::Directory { path: path(), source })?;
        let path = self.directory.join(name);
        // Who can open it can hold it, and so everything up.
        let file = File::options().create(true).append(true).mode(0o600).open(&path);
        file.map_err(|source| Error::Lock { path, source })
    }
}

/// Loads the plan in one transaction, its gates as they are to be; what nft lists then. A plan that
/// redirects nothing removes what there is.
pub async fn apply(
    nft: &Nft,
    plan: &Plan,
    open: &Gates<Open>,
    places: &Places,
) -> Result<Option<String>, Error> {
    if plan.gates().is_empty() {
        clear(nft, places).await?;
        return Ok(None);
    }
    // What packets are marked for has to be there before they are; and after, where it is not
    // needed any more.
    let early = !plan.routes().rules.is_empty() || !plan.routes().addresses.is_empty();
    let routes = || Routing::open()?.put(plan.routes(), &places.addresses());
    if early {
        routes()?;
    }
    let commands = format!("{}{}", plan.ruleset(), gates::commands(open, true, plan.gates()));
    nft.load("load the rules", &commands).await?;
    if !early {
        routes()?;
    }
    let listing = nft.table().await?;
    let still = listing.as_deref().map(gates::still).unwrap_or_default();
    places.remember(Some((plan.ruleset(), &still)))?;
    Ok(listing)
}

/// Opens and shuts the gates of what is loaded, as far as they are there.
pub async fn open(nft: &Nft, open: &Gates<Open>, places: &Places) -> Result<(), Error> {
    let _alone = places.alone()?;
    let Some(listing) = nft.table().await? else { return Ok(()) };
    let there: Vec<_> = Gate::ALL.into_iter().filter(|gate| gates::has(&listing, *gate)).collect();
    nft.gates(open, &there).await
}

/// Removes our table, policy rules, routes and addresses, each whether it is there or not.
pub async fn clear(nft: &Nft, places: &Places) -> Result<(), Error> {
    let table = match nft.table().await {
        Ok(None) => Ok(()),
        // What cannot be shown may be removable.
        Ok(Some(_)) | Err(_) => nft.remove(TABLE).await,
    };
    table.and(forget(places))
}

/// The same for what does not need nft.
pub fn forget(places: &Places) -> Result<(), Error> {
    Routing::open()?.clear(&places.addresses())?;
    places.remember(None)
}

/// What is loaded and not as planned, in words: nothing, if all is.
pub(crate) fn routes_drift(plan: &Plan) -> Result<Vec<String>, Error> {
    Routing::open()?.drift(plan.routes())
}
