//! `hawser status` says how it is, in each state and in each form: for people, for programs, once and
//! again and again; and what to do next.

mod terminal;

use std::{
    fs::Permissions,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use hawser_harness::{
    http1,
    istiod::Reach,
    schema::Schema,
    wait::{PATIENCE, wait_for},
};
use http::Method;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use self::terminal::Terminal;
use crate::{
    HAWSER,
    last_good::{ONE_SERVICE, has_taken},
    rig::{Rig, said, text},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_works_is_ready_and_one_whose_istiod_is_away_says_what_and_what_next()
-> Result<()> {
    let rig = Rig::with_envoy().await?;
    let mut agent = rig.serving().await?;
    rig.names_known().await?;
    has_taken(&rig, ONE_SERVICE).await?;

    let ready = shown(&rig, "ready", 0).await.with_context(|| agent.tail())?;
    ensure!(ready["troubles"] == json!([]) && ready["envoy"]["says"]["ready"] == true, "{ready}");
    ensure!(ready["envoy"]["says"]["version"].is_string(), "{ready}");
    let types = ready["relay"]["types"].as_object().context("no types")?;
    ensure!(types.values().any(|seen| seen["accepted"]["at"].as_u64() > Some(0)), "{ready}");
    ensure!(ready["istiod"]["peer"].as_str().is_some_and(|peer| peer.contains("127.")), "{ready}");
    let screen = fits(&rig, 80).await?;
    ensure!(screen.lines().count() < 24, "{screen}");
    for part in ["hawser     ready", "valid for ", "last message ", "clusters ", "envoy      live "]
    {
        ensure!(screen.contains(part), "{part} is not in:\n{screen}");
    }
    fits(&rig, 120).await?;
    counted(&rig, &["hawser_state{state=\"ready\"} 1", "hawser_istiod_connected 1"]).await?;

    rig.mesh.istiod.reach(Reach::Down).await?;
    let told = troubled(&rig, &["istiod-away"]).await?;
    ensure!(told["istiod"]["away"].is_u64() && told["istiod"]["connected"] == false, "{told}");
    ensure!(fits(&rig, 80).await?.contains("what Envoy took before"), "not said");

    agent.terminate().await?;
    let agent = rig.serving().await?;
    let told = troubled(&rig, &["istiod-away", "stale"]).await.with_context(|| agent.tail())?;
    ensure!(told["relay"]["stale"].is_object(), "{told}");
    let screen = fits(&rig, 80).await?;
    let next = "\n  next     hawser doctor\n";
    for part in ["degraded", "stale: works with what it took up to", next] {
        ensure!(screen.contains(part), "{part} is not in:\n{screen}");
    }
    let lines = [
        "hawser_state{state=\"degraded\"} 1",
        "hawser_istiod_connected 0",
        "hawser_trouble{code=\"stale\",part=\"config\"} 1",
        "hawser_envoy_ready 1",
        "hawser_xds_accepted_timestamp_seconds{type=\"Cluster\"} ",
    ];
    counted(&rig, &lines).await?;

    rig.mesh.istiod.reach(Reach::Up).await?;
    wait_for("all to be well", async || shown(&rig, "ready", 0).await.map(drop)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_has_no_certificate_yet_is_starting_and_certificates_alone_are_enough()
-> Result<()> {
    let rig = Rig::joined().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let mut agent = rig.vm.spawn(&[], &[])?;
    let told = wait_for("the reason", async || {
        let told = shown(&rig, "starting", 1).await?;
        ensure!(told["troubles"][0]["code"] == "identity-none", "{told}");
        Ok(told)
    })
    .await?;
    ensure!(told["waits_for"] == json!(["identity"]), "{told}");
    fits(&rig, 80).await?;
    let waits = rig.vm.hawser(&["status", "--wait-ready", "300ms"]).await?;
    assert_eq!(waits.status.code(), Some(75), "{}", said(&waits));
    for part in ["hawser: waits for identity (", "not ready: identity: ", "`hawser status` says"] {
        ensure!(said(&waits).contains(part), "{part} is not in:\n{}", said(&waits));
    }
    agent.kill().await?;

    rig.mesh.istiod.reach(Reach::Up).await?;
    let mut agent = rig.vm.start_with(&["--set", "identity.only=true"], &[]).await?;
    let told = shown(&rig, "ready", 0).await?;
    ensure!(told["past"]["restarts"] == 1, "{told}");
    ensure!(told["past"]["ended"]["asked"] == false, "nobody asked for its end: {told}");
    ensure!(fits(&rig, 80).await?.contains("killed, or it crashed"), "not said");
    agent.terminate().await?;

    let _next = rig.vm.start_with(&["--set", "identity.only=true"], &[]).await?;
    let told = shown(&rig, "ready", 0).await?;
    ensure!(told["past"]["ended"]["asked"] == true && told["past"]["restarts"] == 2, "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_answers_it_is_down_with_how_the_last_agent_ended_and_what_to_do() -> Result<()>
{
    let rig = Rig::new().await?;
    let root = text(rig.vm.root())?.to_owned();
    let told = shown(&rig, "down", 3).await?;
    ensure!(told["troubles"][0]["code"] == "not-joined", "{told}");
    ensure!(told["troubles"][0]["next"] == format!("hawser join BUNDLE --root {root}"), "{told}");

    rig.vm.join(&rig.mesh.bundle_dir).await?;
    rig.vm.start().await?.terminate().await?;
    let told = shown(&rig, "down", 3).await?;
    ensure!(told["since"].is_u64() && told["ended"]["how"] == "stopped", "{told}");
    ensure!(told["troubles"][0]["next"] == format!("hawser run --root {root}"), "{told}");
    let screen = fits(&rig, 120).await?;
    ensure!(screen.starts_with("hawser     down since 20"), "{screen}");
    let waits = rig.vm.hawser(&["status", "--wait-ready", "300ms"]).await?;
    assert_eq!(waits.status.code(), Some(3), "{}", said(&waits));
    ensure!(said(&waits).contains("  next     hawser run --root "), "{}", said(&waits));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_pipe_a_block_follows_the_other_across_a_restart_until_it_is_ended() -> Result<()> {
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    let root = text(rig.vm.root())?.to_owned();
    let mut watching = Command::new(HAWSER)
        .args(["status", "--watch", "200ms", "--root", &root])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = i32::try_from(watching.id())?;
    let mut out = BufReader::new(watching.stdout.take().context("no output")?);

    out = until(out, "hawser     ready").await?;
    agent.terminate().await?;
    out = until(out, "hawser     down since 20").await?;
    out = until(out, "  next     hawser run --root").await?;
    let _next = rig.vm.start().await?;
    out = until(out, "hawser     ready").await?;
    out = until(out, "1 restart").await?;
    kill(Pid::from_raw(pid), Signal::SIGINT)?;
    let rest = spawn_blocking(move || {
        let mut rest = String::new();
        out.read_to_string(&mut rest).map(|_| rest)
    });
    tokio::time::timeout(PATIENCE, rest).await???;
    assert_eq!(watching.wait()?.code(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn for_programs_it_is_an_object_a_line_and_it_ends_when_nobody_reads_on() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    let root = text(rig.vm.root())?.to_owned();
    let mut watching = Command::new(HAWSER)
        .args(["status", "--json", "--watch", "200ms", "--root", &root])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let out = BufReader::new(watching.stdout.take().context("no output")?);
    let read = spawn_blocking(move || out.lines().take(3).collect::<Result<Vec<_>, _>>());
    let lines = tokio::time::timeout(PATIENCE, read).await???;

    let schema = schema()?;
    for line in &lines {
        schema.holds(&serde_json::from_str(line)?)?;
    }
    let ended = tokio::time::timeout(PATIENCE, spawn_blocking(move || watching.wait_with_output()));
    let ended = ended.await???;
    assert_eq!(
        (ended.status.code(), said(&ended).as_str()),
        (Some(0), ""),
        "a closed pipe is no trouble"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_is_drawn_in_its_place_and_in_its_width_and_ctrl_c_ends_it() -> Result<()>
{
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start().await?;
    let root = text(rig.vm.root())?.to_owned();
    let arguments = ["status", "--watch", "200ms", "--root", &root];
    let mut terminal = Terminal::run(HAWSER, &arguments, (100, 40))?;

    terminal.shows("hawser     ready").await?;
    agent.terminate().await?;
    terminal.shows("hawser     down since 20").await?;
    let screen = terminal.screen();
    ensure!(!screen.iter().any(|line| line.contains("ready")), "drawn over: {screen:#?}");
    let _next = rig.vm.start().await?;
    terminal.shows("hawser     ready").await?;
    ensure!(terminal.had("\x1b[32m"), "no colour");
    terminal.resize((60, 12))?;
    terminal.shows("more lines").await?;
    terminal.ctrl_c()?;
    assert_eq!(terminal.ended().await?, Some(0));

    let mut plain =
        Terminal::run_with(HAWSER, &["status", "--root", &root], (60, 40), &[("NO_COLOR", "1")])?;
    assert_eq!(plain.ended().await?, Some(0));
    ensure!(!plain.had("\x1b["), "there is colour");
    ensure!(plain.screen().iter().all(|line| line.chars().count() <= 60), "{:#?}", plain.screen());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_is_told_so_and_nothing_is_made_up() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    let root = rig.vm.root().to_owned();
    for directory in [root.parent().context("a parent")?, &root] {
        open(directory)?;
    }
    let stranger = spawn_blocking(move || {
        let root = root.to_string_lossy().into_owned();
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .args([HAWSER, "status", "--root", &root])
            .output()
    });
    let output = stranger.await??;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    ensure!(said(&output).contains("ask as root"), "{}", said(&output));
    ensure!(output.stdout.is_empty(), "{}", said(&output));
    Ok(())
}

/// Waits until these are wrong and nothing else.
async fn troubled(rig: &Rig, wanted: &[&str]) -> Result<Value> {
    wait_for("what is wrong", async || {
        let told = shown(rig, "degraded", 1).await?;
        let troubles = told["troubles"].as_array().into_iter().flatten();
        let codes: Vec<_> = troubles.filter_map(|it| it["code"].as_str()).collect();
        ensure!(codes == wanted, "{codes:?}");
        Ok(told)
    })
    .await
}

/// The state and the exit code are these; answers what is said in JSON, which is as it is described.
async fn shown(rig: &Rig, state: &str, code: i32) -> Result<Value> {
    let output = rig.vm.hawser(&["status", "--json"]).await?;
    let told: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    ensure!(told["state"] == state, "{} instead of {state}: {told}", told["state"]);
    ensure!(output.status.code() == Some(code), "{:?}", output.status);
    schema()?.holds(&told)?;
    Ok(told)
}

/// What people see over a pipe of that width: no line is wider, and there is no colour.
async fn fits(rig: &Rig, width: usize) -> Result<String> {
    let root = text(rig.vm.root())?.to_owned();
    let output: Output = spawn_blocking(move || {
        let mut command = Command::new(HAWSER);
        command.args(["status", "--root", &root]).env_clear().env("COLUMNS", width.to_string());
        command.output()
    })
    .await??;
    let screen = String::from_utf8(output.stdout)?;
    ensure!(!screen.contains('\x1b'), "{screen}");
    let wide = screen.lines().find(|line| line.chars().count() > width);
    ensure!(wide.is_none(), "wider than {width}: {wide:?}");
    Ok(screen)
}

/// What is counted has lines that begin so.
async fn counted(rig: &Rig, lines: &[&str]) -> Result<()> {
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let port: SocketAddr = settings["status"]["listen"].as_str().context("no port")?.parse()?;
    let text = http1::call(port, &Method::GET, "/stats/prometheus", &[]).await?.body;
    for line in lines {
        ensure!(text.lines().any(|it| it.starts_with(line)), "{line} is not in:\n{text}");
    }
    Ok(())
}

fn schema() -> Result<Schema> {
    Schema::read(include_str!("../../packaging/docs/status.schema.json"))
}

/// Reads on until there is a line with that in it.
async fn until<R: std::io::Read + Send + 'static>(
    mut out: BufReader<R>,
    wanted: &'static str,
) -> Result<BufReader<R>> {
    let read = spawn_blocking(move || {
        let mut all = String::new();
        loop {
            let before = all.len();
            if out.read_line(&mut all)? == 0 {
                bail!("it ended without {wanted:?}:\n{all}");
            }
            if all.get(before..).is_some_and(|line| line.contains(wanted)) {
                return Ok(out);
            }
        }
    });
    tokio::time::timeout(PATIENCE, read).await.with_context(|| format!("no {wanted:?}"))??
}

/// Lets everybody look into a directory.
fn open(directory: &std::path::Path) -> Result<()> {
    Ok(std::fs::set_permissions(directory, Permissions::from_mode(0o755))?)
}
