//! Requests pass while certificates come and go: not one fails.

use anyhow::{Result, ensure};
use hawser_harness::traffic::Traffic;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn not_one_request_fails_over_a_row_of_renewals() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    // A handshake for each request, so that each shows the certificate of its moment.
    rig.mesh.hello.brief(true);
    let _agent = rig.vm.start_with(&["--set", "identity.ttl=6s"], &[]).await?;
    rig.envoy_ready().await?;
    let before = rig.mesh.istiod.seen().csrs.len();

    let traffic = Traffic::start(&rig.mesh.service, 2);
    traffic
        .until("four certificates seen by the workload", |so_far| so_far.serials.len() > 3)
        .await?;
    let served = traffic.stop().await?;

    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    let renewals = rig.mesh.istiod.seen().csrs;
    ensure!(renewals.len() - before >= 3, "{renewals:?}");
    ensure!(renewals.iter().skip(1).all(|csr| csr.shown.certificate), "{renewals:?}");
    Ok(())
}
