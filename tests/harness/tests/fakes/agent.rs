//! Processes under a notification socket; a script stands in for the agent.

use std::fs;
use std::path::Path;

use hawser_harness::agent::{Agent, alive, hawser};
use hawser_harness::wait::wait_for;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/agent.py");

async fn start(root: &Path, act: &str) -> anyhow::Result<Agent> {
    Agent::start(Path::new(SCRIPT), root, &["--flag"], &[("ACT", act)]).await
}

#[tokio::test]
async fn an_agent_is_up_when_it_says_so_and_ends_when_it_is_told_to() {
    let root = tempfile::tempdir().unwrap();
    let mut agent = start(root.path(), "serve").await.unwrap();
    agent.until("the status", |told| told.status.len() == 2).await.unwrap();
    assert_eq!(agent.notified().status, ["waiting", "serving"]);
    assert!(alive(agent.pid()));

    let status = agent.terminate().await.unwrap();

    assert_eq!(status.code(), Some(3));
    assert!(!alive(agent.pid()));
    agent.until("STOPPING=1", |told| told.stopping).await.unwrap();
    let log = agent.tail();
    assert!(log.contains("'run', '--root'") && log.contains("'--flag'"), "{log}");
    assert!(log.contains("ACT") && !log.contains("HOME"), "{log}");
}

#[tokio::test]
async fn an_agent_that_dies_on_its_way_up_is_reported_with_its_log() {
    let root = tempfile::tempdir().unwrap();
    let error = start(root.path(), "die").await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("no such bundle") && text.contains("78"), "{text}");
}

#[tokio::test]
async fn what_an_agent_has_started_goes_with_its_handle() {
    let root = tempfile::tempdir().unwrap();
    let mut agent = start(root.path(), "father").await.unwrap();
    let told = agent.until("the pid", |told| !told.status.is_empty()).await.unwrap();
    let child: i32 = told.status[0].parse().unwrap();
    agent.kill().await.unwrap();
    assert!(alive(child), "SIGKILL is for the agent alone");

    drop(agent);

    wait_for("the child to end", async || {
        // Whoever inherits it may leave it unburied.
        let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        anyhow::ensure!(state.is_empty() || state.contains(") Z "), "{state}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_command_runs_to_its_end() {
    let output = hawser(Path::new(SCRIPT), &["status"], &[("ACT", "die")]).await.unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stdout).contains("status"));
}
