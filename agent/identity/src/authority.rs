//! Who signs: istiod, or Vault. What they answer is judged alike.

mod istiod;
mod vault;

use std::path::Path;

use hawser_istiod::{Credentials, Istiod, Prospect};
use hawser_vault::Vault;

use self::istiod::Way;
use crate::{
    Options, Source,
    metrics::Metrics,
    request::{Answer, Prepared, Refusal, Wanted},
};

/// The one that is asked.
#[derive(Debug)]
pub(crate) struct Authority<'a> {
    options: &'a Options,
    signer: Signer<'a>,
}

#[derive(Debug)]
enum Signer<'a> {
    Istiod(Way<'a>),
    Vault(Box<Vault>, Option<&'a Path>),
}

impl<'a> Authority<'a> {
    /// The one of the source; nobody is asked yet.
    pub(crate) fn new(
        options: &'a Options,
        ca: &'a Istiod,
        credentials: &'a Credentials,
        metrics: &'a Metrics,
    ) -> Self {
        let signer = match &options.source {
            Source::Vault { role, roots } => {
                let vault = Vault::new(role.as_ref().clone(), options.clock.clone());
                Signer::Vault(Box::new(vault), roots.as_deref())
            }
            _ => Signer::Istiod(Way { ca, credentials, options, metrics }),
        };
        Self { options, signer }
    }

    /// How it is called where the source of a certificate is told.
    pub(crate) fn name(&self) -> &'static str {
        match self.signer {
            Signer::Istiod(_) => "istiod",
            Signer::Vault(..) => "Vault",
        }
    }

    /// One certificate for what is prepared.
    pub(crate) async fn certificate(&self, prepared: &Prepared) -> Result<Answer, Refusal> {
        let Options { id, ttl, .. } = self.options;
        let wanted = |ca| Wanted { ca, id, ttl: *ttl };
        match &self.signer {
            Signer::Istiod(way) => way.certificate(prepared, &wanted(way.ca.address())).await,
            Signer::Vault(vault, roots) => {
                let wanted = wanted(vault.address());
                vault::certificate((vault, *roots), self.options, prepared, &wanted).await
            }
        }
    }

    /// Returns when there is something else to show. Cancel safe.
    pub(crate) async fn changed(&self) {
        match &self.signer {
            Signer::Istiod(way) => way.credentials.changed().await,
            Signer::Vault(vault, _) => vault.changed().await,
        }
    }

    /// What there is to show to istiod; nothing is known of what Vault would take.
    pub(crate) async fn outlook(&self) -> Option<Vec<Prospect>> {
        match &self.signer {
            Signer::Istiod(way) => Some(way.credentials.outlook().await),
            Signer::Vault(..) => None,
        }
    }

    /// Keeps what it is shown alive. Never ends.
    pub(crate) async fn upkeep(&self) {
        match &self.signer {
            Signer::Istiod(_) => std::future::pending().await,
            Signer::Vault(vault, _) => vault.renewals().await,
        }
    }
}
