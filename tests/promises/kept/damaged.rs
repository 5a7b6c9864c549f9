//! Files that are no longer what they were: what is left of them is used, what is not ours is set
//! aside and named, and nothing that istiod has not sent is ever served.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt as _, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    istiod::{Flavour, Reach},
    wait::wait_for,
};
use nix::{sys::stat::Mode, unistd::mkfifo};

use super::{Chance, SHELF, book, logs};
use crate::{
    last_good::{ONE_SERVICE, has_taken, said_by_status, stat, waits},
    outages::watched::delta,
    rig::Rig,
};

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// One bit of one byte is another.
    Flipped,
    CutShort,
    /// Of a format that is to come.
    Format,
    Empty,
    Foreign,
    Link,
    Pipe,
    Directory,
    /// It belongs to somebody else.
    Owner,
}

const HARMS: [Harm; 17] = [
    Harm::Format,
    Harm::Empty,
    Harm::Foreign,
    Harm::Link,
    Harm::Pipe,
    Harm::Directory,
    Harm::Owner,
    Harm::Flipped,
    Harm::Flipped,
    Harm::Flipped,
    Harm::Flipped,
    Harm::Flipped,
    Harm::CutShort,
    Harm::CutShort,
    Harm::CutShort,
    Harm::CutShort,
    Harm::CutShort,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_harmed_store_serves_nothing_wrong_and_heals_with_istiod_in_delta() -> Result<()> {
    harmed(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmed_store_serves_nothing_wrong_and_heals_with_istiod_in_sotw() -> Result<()> {
    harmed(Flavour::SotW).await
}

/// One boot for each harm; it takes a while because there are many.
async fn harmed(flavour: Flavour) -> Result<()> {
    let mut chance = Chance::new();
    let seed = chance.seed;
    let rig = Rig::with_envoy().await?;
    // Nothing is open through Envoy when it ends.
    let flags = ["--set", delta(flavour), "--set", "envoy.drain=10ms"];
    let mut agent = rig.vm.start_with(&flags, &[]).await?;
    rig.envoy_ready().await.with_context(|| agent.tail())?;
    for harm in HARMS {
        has_taken(&rig, ONE_SERVICE).await.with_context(|| agent.tail())?;
        agent.terminate().await?;
        rig.mesh.istiod.reach(Reach::Down).await?;
        let log = chance.one_of(&logs(&book(&rig)?)?)?;
        let at = chance.below(fs::metadata(&log)?.len());
        let what = format!("seed {seed}: {harm:?} at {at} of {}", log.display());
        harm.happen(&rig, &log, at).context(what.clone())?;
        let said_before = fs::metadata(agent.log())?.len();

        agent = rig.vm.start_with(&flags, &[]).await.context(what.clone())?;

        let outcome = overcome(&rig, &agent).await;
        outcome.with_context(|| format!("{what}\n{}", agent.tail()))?;
        let said = fs::read(agent.log())?.split_off(usize::try_from(said_before)?);
        let said = String::from_utf8_lossy(&said);
        ensure!(said.contains(harm.named()), "{what} is not named by {:?}: {said}", harm.named());
    }
    Ok(())
}

/// What is left is served; then istiod returns, and shows by what Envoy has to change whether that
/// was right.
async fn overcome(rig: &Rig, agent: &Agent) -> Result<()> {
    wait_for("Envoy to be answered, or to wait", async || {
        let relay = rig.status().await?["relay"].take();
        let (stale, attempts) = (&relay["stale"]["of"], relay["attempts"].as_u64());
        ensure!(relay["streams"] == 1, "{relay}");
        ensure!(stale.is_number() || attempts > Some(1), "{relay}");
        Ok(())
    })
    .await?;
    rig.mesh.istiod.reach(Reach::Up).await?;
    rig.envoy_ready().await?;
    wait_for("istiod to be joined", async || {
        let relay = rig.status().await?["relay"].take();
        ensure!(relay["joined"] == 1 && relay["stale"].is_null(), "{relay}");
        ensure!(rig.request().await?.status == 200, "no request passes yet");
        Ok(())
    })
    .await?;
    for (type_url, seen) in rig.status().await?["relay"]["types"].as_object().context("types")? {
        ensure!(seen["rejections"] == 0, "{type_url}: {seen}");
    }
    for name in NEVER {
        ensure!(stat(rig, name).await? == 0, "{name}: something else was served");
    }
    ensure!(stat(rig, "cluster.xds-grpc;.upstream_rq_total").await? == 1, "not one stream");
    ensure!(!agent.notified().stopping, "the agent is ending");
    Ok(())
}

impl Harm {
    fn happen(self, rig: &Rig, log: &Path, at: u64) -> Result<()> {
        match self {
            Self::Flipped => change(log, at, |byte| byte ^ (1 << (at % 8))),
            Self::CutShort => Ok(OpenOptions::new().write(true).open(log)?.set_len(at)?),
            Self::Format => of_format(log, 2),
            Self::Empty => Ok(OpenOptions::new().write(true).open(log)?.set_len(0)?),
            Self::Foreign => replace(log, |path| put(path, b"what is this?\n")),
            Self::Link => {
                let target = rig.file("elsewhere");
                fs::copy(log, &target)?;
                replace(log, |path| Ok(symlink(&target, path)?))
            }
            Self::Pipe => replace(log, |path| Ok(mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?)),
            Self::Directory => replace(log, |path| Ok(fs::create_dir(path)?)),
            Self::Owner => chown(log, Some(NOBODY), None).context("give it away: run as root"),
        }
    }

    /// What the journal says of it.
    fn named(self) -> &'static str {
        match self {
            // Not every byte matters, and every place may be the end.
            Self::Flipped | Self::CutShort => "",
            Self::Format => "it has format 2, expected 1",
            Self::Empty => "it is cut short",
            Self::Foreign => "it is not a log",
            Self::Link => "it is a symbolic link",
            Self::Pipe | Self::Directory => "it is not a regular file",
            Self::Owner => "it belongs to user 65534",
        }
    }
}

fn change(path: &Path, at: u64, to: impl Fn(u8) -> u8) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    Ok(file.write_all_at(&byte.map(to), at)?)
}

fn replace(path: &Path, by: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    fs::remove_file(path)?;
    by(path)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    Ok(file.write_all_at(bytes, 0)?)
}

/// Gives a log another format: the number behind the magic, and the checksum of the header.
fn of_format(log: &Path, format: u16) -> Result<()> {
    let mut bytes = fs::read(log)?;
    let [low, high] = format.to_le_bytes();
    (bytes[8], bytes[9]) = (low, high);
    let length = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let end = 22 + length(18) + length(20);
    let crc = crc(&bytes[..end]).to_le_bytes();
    bytes[end..end + 4].copy_from_slice(&crc);
    replace(log, |path| put(path, &bytes))
}

/// CRC-32, a bit at a time.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, byte)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_others_could_have_written_is_not_believed() -> Result<()> {
    for harm in [Shelf::Shared, Shelf::Elsewhere, Shelf::File] {
        let rig = Rig::with_envoy().await?;
        let mut agent = rig.vm.start().await?;
        rig.envoy_ready().await.with_context(|| agent.tail())?;
        has_taken(&rig, ONE_SERVICE).await?;
        agent.terminate().await?;
        rig.mesh.istiod.reach(Reach::Down).await?;
        let shelf = rig.file(SHELF);
        harm.happen(&shelf).with_context(|| format!("{harm:?}"))?;

        let agent = rig.vm.start().await?;

        waits(&rig).await.with_context(|| format!("{harm:?}: {}", agent.tail()))?;
        rig.mesh.istiod.reach(Reach::Up).await?;
        rig.envoy_ready().await.with_context(|| agent.tail())?;
        ensure!(rig.request().await?.status == 200, "{harm:?}: it serves");
        let told = said_by_status(&rig).await?;
        for expected in ["not kept for a start without istiod: ", harm.named()] {
            ensure!(told.contains(expected), "{harm:?} is not named by {expected:?}: {told}");
        }

        harm.mend(&shelf).with_context(|| format!("{harm:?}"))?;
        rig.mesh.istiod.world().push_again();
        has_taken(&rig, ONE_SERVICE)
            .await
            .with_context(|| format!("{harm:?}: {}", agent.tail()))?;
    }
    Ok(())
}

/// What happens to the directory.
#[derive(Debug, Clone, Copy)]
enum Shelf {
    /// Everybody may write to it.
    Shared,
    /// A link leads to it.
    Elsewhere,
    /// There is a file in its place.
    File,
}

impl Shelf {
    fn happen(self, shelf: &Path) -> Result<()> {
        match self {
            Self::Shared => Ok(fs::set_permissions(shelf, PermissionsExt::from_mode(0o777))?),
            Self::Elsewhere => {
                fs::rename(shelf, aside(shelf))?;
                Ok(symlink(aside(shelf), shelf)?)
            }
            Self::File => {
                fs::rename(shelf, aside(shelf))?;
                put(shelf, b"")
            }
        }
    }

    fn mend(self, shelf: &Path) -> Result<()> {
        match self {
            Self::Shared => Ok(fs::set_permissions(shelf, PermissionsExt::from_mode(0o700))?),
            Self::Elsewhere | Self::File => {
                fs::remove_file(shelf)?;
                Ok(fs::rename(aside(shelf), shelf)?)
            }
        }
    }

    fn named(self) -> &'static str {
        match self {
            Self::Shared => "can be written to by others (mode 777): chmod it to 700",
            Self::Elsewhere | Self::File => "is not a directory: move it away",
        }
    }
}

fn aside(shelf: &Path) -> PathBuf {
    shelf.with_extension("aside")
}

const NOBODY: u32 = 65534;
/// istiod's own state has not changed: Envoy has nothing to change when it returns.
const NEVER: [&str; 4] = [
    "listener_manager.listener_modified",
    "listener_manager.listener_removed",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
];
