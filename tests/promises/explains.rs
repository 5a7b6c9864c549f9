//! `status`, `check` and `config` say what is, what is wrong, where it came from and what to do.

use anyhow::{Context as _, Result, ensure};

use crate::rig::{Rig, said};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_has_not_joined_is_told_how() -> Result<()> {
    let rig = Rig::new().await?;
    for command in ["run", "check"] {
        let output = rig.vm.hawser(&[command]).await?;
        assert_eq!(output.status.code(), Some(78), "{command}");
        ensure!(said(&output).contains("run `hawser join BUNDLE`"), "{}", said(&output));
    }
    let output = rig.vm.hawser(&["status"]).await?;
    assert_eq!(output.status.code(), Some(3));
    ensure!(said(&output).contains("next     hawser join BUNDLE"), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_run_tell_every_problem_and_its_source_and_end_with_78() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.settings("[dns]\nlisten = 'here'\n[envoy]\nadmin_prot = 1\n")?;
    for command in ["check", "run"] {
        let output = rig.vm.hawser(&[command, "--set", "identity.ttl=soon"]).await?;

        let said = said(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        for part in [
            "dns.listen = \"here\" (from ",
            "expected ip:port",
            "did you mean envoy.admin_port?",
            "identity.ttl = \"soon\" (from --set): expected a duration",
            "3 problems",
        ] {
            ensure!(said.contains(part), "{part} is not in:\n{said}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_setting_does_not_hide_a_bad_file_or_a_bad_header() -> Result<()> {
    let rig = Rig::joined().await?;
    hawser_state::write_file(&rig.file("etc/hawser/mesh/root-cert.pem"), 0o600, b"nothing")?;
    hawser_state::write_file(&rig.file("etc/hawser/mesh/istio-token"), 0o600, b"nothing")?;

    let output = rig.vm.hawser(&["check", "--set", "dns.listen=here"]).await?;

    let told = said(&output);
    for part in ["dns.listen = \"here\"", "root-cert.pem: ", "istio-token: not a JWT", "3 problems"]
    {
        ensure!(told.contains(part), "{part} is not in:\n{told}");
    }
    let env = rig.file("etc/hawser/mesh/cluster.env");
    let text = std::fs::read_to_string(&env)? + "CA_HEADER_X='a\nb'\n";
    hawser_state::write_file(&env, 0o600, text.as_bytes())?;
    let output = rig.vm.hawser(&["run"]).await?;
    assert_eq!(output.status.code(), Some(78));
    ensure!(said(&output).contains("header \"x\" cannot be sent"), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn config_shows_each_value_and_who_said_it() -> Result<()> {
    let rig = Rig::joined().await?;

    let output = rig.vm.hawser(&["config", "--json"]).await?;

    let config: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(config["node.namespace"]["value"], "vms");
    let source = config["node.namespace"]["source"].as_str().unwrap_or_default();
    ensure!(source.contains("ISTIO_NAMESPACE in ") && source.contains("cluster.env:"), "{source}");
    assert_eq!(config["xds.delta"]["source"], "default");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_ready_and_what_of() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;

    let output = rig.vm.hawser(&["status"]).await?;

    assert_eq!(output.status.code(), Some(0));
    let screen = said(&output);
    for part in ["ready", rig.mesh.identity().as_str(), "1 from istiod", "127.0.0.1:"] {
        ensure!(screen.contains(part), "{part} is not in:\n{screen}");
    }
    ensure!(!screen.contains("PRIVATE KEY"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_json_on_request_and_never_holds_a_secret() -> Result<()> {
    let rig = Rig::joined().await?;
    let flags = ["--set", "log.format=json", "--set", "log.level=trace"];
    let mut agent = rig.vm.start_with(&flags, &[]).await?;
    agent.terminate().await?;

    let log = std::fs::read_to_string(agent.log())?;

    let events: Result<Vec<serde_json::Value>, _> = log.lines().map(serde_json::from_str).collect();
    let obtained = |event: &serde_json::Value| event["message"] == "certificate obtained";
    let events = events?;
    let event = events.iter().find(|event| obtained(event)).context("no certificate in the log")?;
    assert_eq!(event["id"], rig.mesh.identity());
    let token = std::fs::read_to_string(rig.file("etc/hawser/mesh/istio-token"))?;
    ensure!(!log.contains(token.trim()), "the token is in the log");
    ensure!(!log.contains("PRIVATE KEY"), "the key is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_explains_itself_and_misuse_ends_with_64() -> Result<()> {
    let rig = Rig::new().await?;
    for command in ["join", "run", "check", "config", "status", "version"] {
        let output = rig.vm.hawser(&[command, "--help"]).await?;
        assert_eq!(output.status.code(), Some(0), "{command}");
        ensure!(said(&output).contains("Usage: hawser"), "{}", said(&output));
    }
    for misuse in [&["jion"][..], &["join"], &["run", "--nonsense"], &["check", "--set", "x"]] {
        assert_eq!(rig.vm.hawser(misuse).await?.status.code(), Some(64), "{misuse:?}");
    }
    let version = rig.vm.hawser(&["version"]).await?;
    assert_eq!(said(&version), format!("hawser {}\n", env!("CARGO_PKG_VERSION")));
    Ok(())
}
