//! A workload is only as well as its certificate.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::istiod::Wrong;

use super::{ready, started, unprobed, unwell, well};

/// Long enough for an Envoy to start.
const LIFE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_certificate_has_expired_is_not_well_until_it_has_another() -> Result<()> {
    let rig = unprobed().await?;
    let istiod = &rig.mesh.istiod;
    istiod.faults(|faults| faults.ttl_cap = Some(LIFE));
    let agent = started(&rig, &["health.report=true", "health.period=500ms"]).await?;
    well(&rig).await.with_context(|| agent.tail())?;

    istiod.faults(|faults| faults.ca = Some(Wrong::Empty));
    unwell(&rig, "certificate of this machine has expired").await.with_context(|| agent.tail())?;
    let reply = ready(&rig).await?;
    ensure!(
        reply.status == 503 && reply.body.contains("expired"),
        "{} {}",
        reply.status,
        reply.body
    );

    istiod.faults(|faults| (faults.ca, faults.ttl_cap) = (None, None));
    rig.vm.hawser(&["identity", "renew"]).await?;
    well(&rig).await.with_context(|| agent.tail())
}
