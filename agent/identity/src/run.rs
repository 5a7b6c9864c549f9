//! The sources at work.

use std::path::Path;

use hawser_istiod::{Credentials, Istiod};
use hawser_rt::Gate;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Inlets, Options, Outlets, Source, Speaks, Wish,
    authority::Authority,
    exec::Program,
    files,
    metrics::Metrics,
    provider::{Hold, Provider, Standing},
    publish::Publisher,
    rotate::{Rotation, Surroundings},
    subscription::PATIENCE,
};

/// Publishes an identity as soon as there is one, and keeps it fresh until told to stop.
///
/// `ready` opens with the first one that is published.
#[expect(clippy::too_many_arguments, reason = "each is of another kind, and there is one caller")]
pub async fn run(
    options: Options,
    ca: Istiod,
    credentials: Credentials,
    outlets: Outlets,
    inlets: Inlets,
    ready: Gate,
    stop: CancellationToken,
) -> Result<(), Error> {
    let (identity, trusted) = (outlets.identity.subscribe(), outlets.trusted.subscribe());
    let metrics = Metrics::new(&options.metrics, &options.clock, identity, trusted);
    let publisher =
        Publisher::new(outlets, inlets.mesh_trust.clone(), options.clock.clone(), ready);
    let authority = Authority::new(&options, &ca, &credentials, &metrics);
    let sources = Sources(Surroundings {
        options: &options,
        authority: &authority,
        credentials: &credentials,
        renew: &inlets.renew,
        publisher: &publisher,
        metrics: &metrics,
    });
    stop.run_until_cancelled(sources.run()).await.unwrap_or(());
    Ok(())
}

struct Sources<'a>(Surroundings<'a>);

impl Sources<'_> {
    /// Never ends: neither does any of them.
    async fn run(&self) {
        let source = async {
            match &self.0.options.source {
                Source::Authority | Source::Vault { .. } => self.authority().await,
                Source::Files(files) => files::follow(files, self.0).await,
                Source::Command(printed) => Program::new(printed, self.0).follow().await,
                Source::Provider { socket, speaks } => {
                    let hold = Hold::new(None);
                    self.provider((socket, *speaks), &hold, Standing::Sole).follow().await;
                }
                Source::Auto { socket, speaks } => self.auto(socket, *speaks).await,
            }
        };
        let (publisher, authority) = (self.0.publisher, self.0.authority);
        tokio::join!(
            source,
            publisher.follow_mesh(),
            self.follow_credentials(),
            authority.upkeep()
        );
    }

    async fn authority(&self) {
        let mut rotation = Rotation::new(self.0);
        rotation.resume().await;
        rotation.turn().await;
    }

    /// The provider while it answers, else the authority.
    async fn auto(&self, socket: &Path, speaks: Speaks) {
        let clock = &self.0.options.clock;
        let mut rotation = Rotation::new(self.0);
        rotation.resume().await;
        // One that is there is given the time to answer before anybody else is asked.
        let there = tokio::fs::metadata(socket).await.is_ok();
        let hold = Hold::new(there.then(|| clock.now() + PATIENCE));
        let provider = self.provider((socket, speaks), &hold, Standing::Preferred);
        let authority = async {
            loop {
                hold.over(clock).await;
                // Cancel safe: the rotation can be dropped at any moment, and the other waits.
                tokio::select! {
                    () = rotation.turn() => {}
                    () = hold.renewed(clock) => {}
                }
            }
        };
        tokio::join!(provider.follow(), authority);
    }

    fn provider<'a>(
        &'a self,
        (socket, speaks): (&'a Path, Speaks),
        hold: &'a Hold,
        standing: Standing,
    ) -> Provider<'a> {
        let (options, publisher) = (self.0.options, self.0.publisher);
        let trust_domain = options.id.trust_domain().to_owned();
        let wish = Wish { expected: options.expected.clone(), trust_domain };
        Provider { socket, speaks, wish, clock: &options.clock, publisher, hold, standing }
    }

    /// Keeps in mind what could be shown to istiod, for those who count.
    async fn follow_credentials(&self) {
        let credentials = self.0.credentials.clone();
        let mut served = self.0.publisher.watched();
        loop {
            let outlook = credentials.outlook().await;
            let own = served.borrow_and_update().clone();
            self.0.metrics.outlook(&outlook, own.as_deref());
            // Cancel safe: both only wait.
            tokio::select! {
                () = credentials.changed() => {}
                _ = served.changed() => {}
            }
        }
    }
}
