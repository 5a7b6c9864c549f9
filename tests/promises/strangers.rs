//! A stranger at the agent's sockets is refused, counted and told of, and disturbs nobody.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    istiod::Flavour,
    wait::{PATIENCE, wait_for},
    xds::{Program, Report, XdsClient},
};
use hawser_proto::type_url::CLUSTER;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

use crate::{
    last_good::{metric, said_by_status},
    outages::watched::Watched,
    rig::Rig,
};

/// Somebody who is neither root nor the agent, and a group that nobody is in.
const NOBODY: u32 = 65534;
const FRIENDS: u32 = 47_110;
const SOCKETS: [&str; 2] = ["run/hawser/xds.sock", "run/hawser/sds.sock"];
/// At each socket.
const VISITS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_counted_and_told_of_and_envoy_hears_nothing_of_it_in_delta()
-> Result<()> {
    strangers(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_counted_and_told_of_and_envoy_hears_nothing_of_it_in_sotw()
-> Result<()> {
    strangers(Flavour::SotW).await
}

async fn strangers(flavour: Flavour) -> Result<()> {
    let program = as_others()?;
    let rig = Rig::with_envoy().await?;
    let_others_in(&rig)?;
    let watched = Watched::on(rig, flavour, &[]).await?;
    watched.joined().await?;
    let (rig, secrets) = (&watched.rig, watched.status("/secrets").await?);

    for _ in 0..VISITS {
        for socket in SOCKETS {
            let report = visit(&program, [NOBODY, NOBODY], &rig.file(socket)).await?;
            ensure!(report.responses.is_empty(), "{socket}: {report:?}");
            ensure!(report.unconnected.is_some() || report.ended.is_some(), "{socket}: {report:?}");
        }
    }

    let all = VISITS * 2;
    let refused = watched.status("/relay/refused_peers").await?;
    ensure!(refused == all, "{refused} were refused");
    let told = said_by_status(rig).await?;
    ensure!(told.contains(&format!("{all} strangers were refused")), "{told}");
    #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
    let counted = metric(rig, "hawser_xds_refused_peers").await? - all as f64;
    ensure!(counted.abs() < f64::EPSILON, "off by {counted}");
    let log = fs::read_to_string(watched.agent.log())?;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("stranger refused")).collect();
    ensure!(!lines.is_empty() && lines.len() < usize::try_from(all)?, "{lines:?}");
    ensure!(lines.iter().all(|line| line.contains(&format!("uid={NOBODY}"))), "{lines:?}");

    watched.noticed_nothing().await?;
    let after = watched.status("/secrets").await?;
    ensure!(after == secrets, "certificates: {secrets} became {after}");
    ensure!(rig.request().await?.status == 200, "and it serves on");
    watched.hears("after-the-strangers").await
}

#[tokio::test]
async fn who_is_in_the_group_or_is_envoys_user_gets_in_and_the_group_gets_no_key() -> Result<()> {
    let program = as_others()?;
    let rig = Rig::joined().await?;
    let_others_in(&rig)?;
    let socket = rig.file("run/hawser/xds.sock");
    let (group, user) = (format!("xds.group={FRIENDS}"), format!("envoy.user={NOBODY}"));

    let mut agent = rig.vm.start_with(&["--set", &group], &[]).await?;
    let friend = visit(&program, [NOBODY, FRIENDS], &socket).await?;
    let stranger = visit(&program, [NOBODY, NOBODY], &socket).await?;
    // Who may ask for configuration may not have the machine's key for that.
    let for_the_key = visit(&program, [NOBODY, FRIENDS], &rig.file(SOCKETS[1])).await?;
    let refused = rig.status().await?["relay"]["refused_peers"].take();
    agent.terminate().await?;
    let _agent = rig.vm.start_with(&["--set", &user], &[]).await?;
    let envoy = visit(&program, [NOBODY, NOBODY], &socket).await?;

    ensure!(friend.responses.contains_key(CLUSTER), "{friend:?}");
    ensure!(stranger.responses.is_empty(), "{stranger:?}");
    ensure!(for_the_key.responses.is_empty() && refused == 2, "{refused}: {for_the_key:?}");
    ensure!(envoy.responses.contains_key(CLUSTER), "{envoy:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_somebody_takes_away_is_there_again_and_nothing_is_cut() -> Result<()> {
    let watched = Watched::up(Flavour::Delta, &[]).await?;
    watched.joined().await?;
    let rig = &watched.rig;
    let sockets = [SOCKETS.as_slice(), &["run/hawser/admin.sock"]].concat();
    for socket in &sockets {
        fs::remove_file(rig.file(socket)).with_context(|| (*socket).to_owned())?;
    }

    for socket in &sockets {
        wait_for("the socket to be bound again", async || {
            Ok(fs::metadata(rig.file(socket)).with_context(|| (*socket).to_owned())?.mode())
        })
        .await
        .with_context(|| watched.agent.tail())?;
    }
    watched.joined().await?;
    watched.noticed_nothing().await?;
    watched.hears("after-the-theft").await?;

    let client = XdsClient::envoy(&rig.file(SOCKETS[0]), Flavour::Delta).await?;
    client.subscribe(CLUSTER, &[])?;
    client.until("clusters", |held| held.names(CLUSTER).contains(&"after-the-theft")).await?;
    another_envoy(&watched).await
}

/// Its Envoy dies; the next one finds both sockets.
async fn another_envoy(watched: &Watched) -> Result<()> {
    let first = watched.status("/envoy/pid").await?;
    let accepted = watched.status("/secrets/accepted").await?.as_u64();
    let pid = i32::try_from(first.as_i64().context("no pid")?)?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    wait_for("another Envoy", async || {
        let pid = watched.status("/envoy/pid").await?;
        ensure!(pid.is_number() && pid != first, "{pid}");
        ensure!(watched.status("/secrets/accepted").await?.as_u64() > accepted, "no certificate");
        Ok(())
    })
    .await
    .with_context(|| watched.agent.tail())?;
    watched.rig.envoy_ready().await?;
    watched.has("after-the-theft").await?;
    ensure!(watched.rig.request().await?.status == 200, "and it serves on");
    Ok(())
}

/// A client that can be run as somebody else.
fn as_others() -> Result<Program> {
    ensure!(geteuid().is_root(), "this test runs a program as another user and needs root");
    Program::new()
}

async fn visit(program: &Program, who: [u32; 2], socket: &Path) -> Result<Report> {
    program.run_as(who, socket, PATIENCE).await
}

/// A machine's root is open to all; that of a test is not.
fn let_others_in(rig: &Rig) -> Result<()> {
    for dir in rig.vm.root().ancestors().take(2) {
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    Ok(())
}
