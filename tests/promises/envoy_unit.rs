//! What hawser-envoy.service runs, each command as systemd runs it, around a real Envoy.

mod bare;
mod booted;
mod meshed;
mod newest;

use std::{io::Read as _, net::TcpListener, os::unix::net::UnixStream, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::wait::wait_for;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use bare::Bare;

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_says_reaches_a_journal_that_cannot_be_opened() -> Result<()> {
    let bare = Bare::new()?;
    let (journal, theirs) = UnixStream::pair()?;
    let envoy = bare.start_into(theirs).await?;

    let reply = bare.ask("/some-path").await?;
    ensure!(reply.status == 200, "{}", reply.body);

    let told = read_until(&journal, "/some-path")?;
    let line = told.lines().find(|line| line.contains("/some-path")).context("no line")?;
    ensure!(line.starts_with("<6>[20") && line.contains("\"GET /some-path"), "{line}");
    ensure!(told.contains("<6>starts envoy 1."), "{told}");
    ensure!(told.contains("<4>["), "what it warns of at its start: {told}");
    drop(envoy);
    Ok(())
}

/// What comes, up to a text; for ever if that never comes, which is what the runner is for.
fn read_until(mut from: &UnixStream, text: &str) -> Result<String> {
    let mut told = String::new();
    from.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut buffer = [0; 4096];
    while !told.contains(text) {
        let count = from.read(&mut buffer).with_context(|| told.clone())?;
        ensure!(count > 0, "the end, after {told}");
        told.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
    }
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_says_goes_into_a_file_that_is_begun_anew_when_it_is_large() -> Result<()> {
    let mut bare = Bare::new()?;
    let path = bare.log_to_a_file(2000, 2)?;
    let _envoy = bare.start().await?;

    for number in 0..40 {
        bare.ask(&format!("/request-{number}")).await?;
    }

    wait_for("the last line in the file", async || {
        let text = std::fs::read_to_string(&path)?;
        ensure!(text.contains("/request-39"), "{text}");
        Ok(())
    })
    .await?;
    let size = |number: u32| {
        let path = path.with_extension(format!("log.{number}"));
        std::fs::metadata(path).map(|it| it.len()).unwrap_or_default()
    };
    ensure!(size(1) > 0 && size(2) > 0 && size(3) == 0, "{} {} {}", size(1), size(2), size(3));

    // Whoever moves it finds that it goes on under its name.
    std::fs::rename(&path, path.with_extension("moved"))?;
    bare.ask("/after-it-was-moved").await?;
    wait_for("a new file", async || {
        let text = std::fs::read_to_string(&path)?;
        ensure!(text.contains("/after-it-was-moved"), "{text}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_explained_by_systemd_and_by_envoys_last_words() -> Result<()> {
    let bare = Bare::new()?;
    let table = [
        (Signal::SIGKILL, ["signal", "killed", "KILL"], "envoy ended (killed) after"),
        (Signal::SIGSEGV, ["core-dump", "dumped", "SEGV"], "envoy ended (crashed) after"),
    ];
    for (signal, said, expected) in table {
        let mut envoy = bare.start().await?;
        kill(Pid::from_raw(envoy.pid()?), signal)?;
        envoy.ends().await?;
        let told = bare.ended(said).await?;
        ensure!(told.starts_with(expected), "{told}");
    }

    // Ended soon a second time in a row, it is not started at once; and this time it cannot be.
    let _taken = TcpListener::bind(bare.listener)?;
    let mut envoy = bare.spawn(None)?;
    envoy.ends().await?;
    let told = envoy.said()?;
    ensure!(told.contains("envoy has ended soon 2 times in a row"), "{told}");
    ensure!(told.contains("it is started in 1 s"), "{told}");
    let told = bare.ended(["exit-code", "exited", "1"]).await?;
    ensure!(told.starts_with("envoy ended (port taken) after"), "{told}");
    ensure!(told.contains(&bare.listener.to_string()), "{told}");
    ensure!(told.contains("`ss -ltnp` says who has it"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_told_to_end_is_no_trouble() -> Result<()> {
    let bare = Bare::new()?;
    let mut envoy = bare.start().await?;
    let pid = envoy.pid()?;

    let told = bare.run(&["drain"], &[("MAINPID", &pid.to_string())]).await?;
    ensure!(told.contains("drain: the mesh cannot be told"), "{told}");
    ensure!(told.contains("drain: no connections"), "{told}");
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    envoy.ends().await?;

    let told = bare.ended(["success", "exited", "0"]).await?;
    ensure!(told.starts_with("envoy ended as told, after"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_connections_and_not_longer_than_for_them() -> Result<()> {
    let bare = Bare::new()?;
    let _envoy = bare.start().await?;
    let connection = tokio::net::TcpStream::connect(bare.listener).await?;
    bare.counts(1).await?;

    let draining = bare.run(&["drain", "--limit", "600"], &[]);
    let close = async {
        wait_for("the drain to begin", async || {
            let reply = bare.admin("/stats?filter=listener_manager.total_listeners_draining").await;
            reply.map(drop)
        })
        .await?;
        drop(connection);
        Ok(())
    };
    let (told, closed): (Result<String>, Result<()>) = tokio::join!(draining, close);
    closed?;
    let told = told?;
    ensure!(told.ends_with("drain: no connections\n"), "{told}");

    // One that stays is cut when the time is up, and it is said.
    let bare = Bare::new()?;
    let _envoy = bare.start().await?;
    let _stays = tokio::net::TcpStream::connect(bare.listener).await?;
    bare.counts(1).await?;
    let told = bare.run(&["drain", "--limit", "1"], &[]).await?;
    ensure!(told.contains("drain: 1 connection, 1 s left"), "{told}");
    ensure!(told.contains("drain: time is up, 1 connection cut; envoy.drain says"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_envoy_the_ways_to_one_are_told_and_it_is_not_tried_again() -> Result<()> {
    let mut bare = Bare::new()?;
    bare.binary("/nonexistent/envoy")?;
    let mut envoy = bare.spawn(None)?;
    ensure!(envoy.ends().await?.code() == Some(78), "{}", envoy.said()?);
    let told = envoy.said()?;
    ensure!(told.contains("there is no Envoy at /nonexistent/envoy"), "{told}");
    let told = bare.ended(["exit-code", "exited", "78"]).await?;
    ensure!(told.starts_with("envoy ended (not started)"), "{told}");
    Ok(())
}
