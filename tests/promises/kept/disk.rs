//! A disk that takes nothing: Envoy is served on, what was kept stays whole, and when there is room
//! again all of it is kept.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    disk::Disk,
    istiod::{Ballast, Flavour, Reach},
    traffic::Traffic,
    wait::wait_for,
};

use super::SHELF;
use crate::{
    last_good::{ONE_SERVICE, ask, has_taken, said_by_status, switched_off},
    outages::watched::Watched,
    rig::{Rig, text},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_nothing_to_envoy_and_is_made_up_for_in_delta() -> Result<()> {
    full(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_nothing_to_envoy_and_is_made_up_for_in_sotw() -> Result<()> {
    full(Flavour::SotW).await
}

async fn full(flavour: Flavour) -> Result<()> {
    let (mut rig, disk) = with_disk(flavour).await?;
    rig.vm.under = disk.under();
    let watched = Watched::on(rig, flavour, &[]).await?;
    has_taken(&watched.rig, ONE_SERVICE).await?;
    let traffic = Traffic::start(&watched.rig.mesh.service, 2);
    let pid = watched.agent.pid();

    disk.fill(pid).await?;
    // More than what is left of the last page.
    let ballast = Ballast { bytes: 4 * PIECE, piece: PIECE, round: 1 };
    watched.rig.mesh.istiod.world().change(|state| state.ballast_of(ballast));
    watched.has("ballast-3").await?;
    is_told(&watched, "No space left on device").await?;
    save(&watched, &disk, "while-full")?;
    disk.clear(pid).await?;
    watched.hears("room-again").await?;
    // What has passed in the meantime is asked for anew.
    is_over(&watched, ONE_SERVICE + 5).await?;
    save(&watched, &disk, "afterwards")?;

    watched.lost_nothing().await?;
    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    let mut rig = switched_off(watched).await?;
    rig.vm.under.clear();
    restore(&rig, "while-full")?;
    let watched = boots(rig, flavour).await?;
    let clusters = ask(&watched.rig, "/clusters").await?;
    ensure!(!clusters.contains("ballast-"), "half of a push is served: {clusters}");
    let rig = switched_off(watched).await?;
    restore(&rig, "afterwards")?;
    let watched = boots(rig, flavour).await?;
    for name in ["ballast-0", "ballast-1", "ballast-2", "ballast-3", "room-again"] {
        watched.has(name).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_nobody_may_write_to_is_served_from_and_made_up_for_in_delta() -> Result<()> {
    read_only(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_nobody_may_write_to_is_served_from_and_made_up_for_in_sotw() -> Result<()> {
    read_only(Flavour::SotW).await
}

/// It is so from the boot on: a file that is open for writing keeps a disk from becoming so.
async fn read_only(flavour: Flavour) -> Result<()> {
    let (mut rig, disk) = with_disk(flavour).await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let shelf = rig.file(SHELF);
    let remount = ["sh", "-c", "mount -o remount,ro \"$0\" && exec \"$@\"", text(&shelf)?];
    rig.vm.under = disk.under().into_iter().chain(remount.map(Into::into)).collect();
    let watched = boots(rig, flavour).await?;
    let traffic = Traffic::start(&watched.rig.mesh.service, 2);

    watched.rig.mesh.istiod.reach(Reach::Up).await?;
    watched.joined().await?;
    watched.noticed_nothing().await?;
    watched.hears("while-read-only").await?;
    is_told(&watched, "read-only filesystem").await?;
    save(&watched, &disk, "while-read-only")?;
    disk.writable(watched.agent.pid()).await?;
    watched.hears("writable-again").await?;
    // What has passed in the meantime is asked for anew.
    is_over(&watched, ONE_SERVICE + 2).await?;
    save(&watched, &disk, "afterwards")?;

    watched.lost_nothing().await?;
    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{} of {} failed: {:?}", served.failed, served.ok, served.why);
    let mut rig = switched_off(watched).await?;
    rig.vm.under.clear();
    restore(&rig, "while-read-only")?;
    let rig = switched_off(boots(rig, flavour).await?).await?;
    restore(&rig, "afterwards")?;
    let watched = boots(rig, flavour).await?;
    for name in ["while-read-only", "writable-again"] {
        watched.has(name).await?;
    }
    Ok(())
}

/// A machine that has kept what there is, and a small disk with that on it. The disk is gone with
/// each agent, so what is on it has to be [saved](save).
async fn with_disk(flavour: Flavour) -> Result<(Rig, Disk)> {
    let mut first = Watched::up(flavour, &[]).await?;
    has_taken(&first.rig, ONE_SERVICE).await?;
    first.agent.terminate().await?;
    let disk = Disk::small(&first.rig.file(SHELF), DISK).await?;
    Ok((first.rig, disk))
}

/// Without istiod, and it serves.
async fn boots(rig: Rig, flavour: Flavour) -> Result<Watched> {
    let watched = Watched::on(rig, flavour, &[]).await?;
    ensure!(watched.rig.request().await?.status == 200, "{}", watched.agent.tail());
    let stale = watched.status("/relay/stale").await?;
    ensure!(stale["of"].is_number(), "istiod is not away: {stale}");
    Ok(watched)
}

/// Waits until the status says that it is not kept, and why.
async fn is_told(watched: &Watched, why: &str) -> Result<()> {
    wait_for("the trouble to be told", async || {
        let trouble = watched.status("/relay/kept/trouble").await?;
        ensure!(trouble.as_str().is_some_and(|told| told.contains(why)), "{trouble}");
        Ok(())
    })
    .await?;
    let told = said_by_status(&watched.rig).await?;
    ensure!(told.contains("not kept for a start without istiod: "), "{told}");
    Ok(())
}

/// Waits until all that Envoy has is kept, and nothing else is said.
async fn is_over(watched: &Watched, resources: u64) -> Result<()> {
    let kept = has_taken(&watched.rig, resources).await;
    kept.with_context(|| watched.agent.tail())?;
    let told = said_by_status(&watched.rig).await?;
    ensure!(!told.contains("not kept"), "{told}");
    Ok(())
}

/// Copies what is on the disk to a place that outlives it.
fn save(watched: &Watched, disk: &Disk, name: &str) -> Result<()> {
    let inside = disk.file(watched.agent.pid(), ".");
    let place = watched.rig.file(name);
    std::fs::create_dir(&place)?;
    copy(&[text(&inside)?, text(&place)?])
}

/// Makes that what is there when no small disk is.
fn restore(rig: &Rig, name: &str) -> Result<()> {
    let shelf = rig.file(SHELF);
    std::fs::remove_dir_all(&shelf)?;
    copy(&[text(&rig.file(name))?, text(&shelf)?])
}

fn copy(paths: &[&str]) -> Result<()> {
    let output = Command::new("cp").args(["-a", "--"]).args(paths).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

const DISK: usize = 4 << 20;
const PIECE: usize = 64 << 10;
