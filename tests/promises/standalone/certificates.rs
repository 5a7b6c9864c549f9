//! The certificate comes from wherever the machine has one: from a program, a SPIFFE Workload API, an
//! ACME client; and the far end sees whose it is.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    ca::{Certified, Shape, TestCa, spiffe_id},
    eastwest::Member,
    spire::{FakeSpire, Manner},
    standalone::{CERTIFICATES, members},
    wait::wait_for,
    workload::Answer,
};

use super::Machine;
use crate::rig::{said, text};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A machine that nobody has given a certificate. Each of its requests needs another handshake.
async fn bare() -> Result<Machine> {
    let members: Vec<_> =
        members().into_iter().map(|member| Member { brief: true, ..member }).collect();
    let machine = Machine::with(&members, 1).await?;
    fs::remove_dir_all(machine.vm.root().join(CERTIFICATES))?;
    Ok(machine)
}

fn setting(machine: &Machine, line: &str) -> Result<()> {
    machine.vm.settings(&format!("{}\n[identity]\n{line}\n", machine.vm.toml()?))
}

fn put(machine: &Machine, name: &str, text: &str) -> Result<PathBuf> {
    let path = machine.vm.root().join(name);
    fs::create_dir_all(path.parent().context("no directory")?)?;
    hawser_state::write_file(&path, 0o600, text.as_bytes())?;
    Ok(path)
}

/// Waits until a service is called by this one.
async fn called_by(machine: &Machine, agent: &Agent, id: &str) -> Result<()> {
    wait_for("the caller at the far end", async || {
        let answer: Answer = machine.answers("reviews").await?.json()?;
        ensure!(answer.caller == id, "{answer:?} {}", agent.tail());
        Ok(())
    })
    .await
}

/// What `hawser identity show` says, and with which code it ends.
async fn shown(machine: &Machine) -> Result<(String, Option<i32>)> {
    let output = machine.vm.identity(&["show"]).await?;
    Ok((said(&output), output.status.code()))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_certificate_every_way_to_one_is_named_and_nothing_starts() -> Result<()> {
    let machine = bare().await?;
    for command in [&["check"][..], &["run"]] {
        let output = machine.vm.hawser(command).await?;
        let told = said(&output);
        ensure!(output.status.code() == Some(78), "{:?} {told}", output.status);
        for way in [
            "identity.source: there is no certificate",
            "key.pem, cert-chain.pem and root-cert.pem in /etc/certs",
            "identity.files",
            "identity.command",
            "identity.vault.address",
            "identity.spiffe_socket",
        ] {
            ensure!(told.contains(way), "{way} is not named: {told}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_prints_the_certificate_and_is_run_again_when_asked() -> Result<()> {
    let machine = bare().await?;
    let (first, second) = (spiffe_id("vms", "first"), spiffe_id("vms", "second"));
    let pair = |id: &str| {
        let Certified { key, chain } = machine.ca.workload(id, DAY)?;
        let roots = machine.ca.root_pem();
        let document = serde_json::json!({"key": key, "chain": chain, "roots": roots});
        put(&machine, "srv/pair", &document.to_string())
    };
    let printed = pair(&first)?;
    let script = put(&machine, "srv/issue.sh", &format!("exec cat {}\n", printed.display()))?;
    setting(&machine, &format!("command = \"/bin/sh {}\"", script.display()))?;
    let agent = machine.vm.start().await?;
    called_by(&machine, &agent, &first).await?;
    let (screen, code) = shown(&machine).await?;
    ensure!(screen.contains(&format!("identity     {first}\nsource       command")), "{screen}");
    ensure!(screen.contains("obtained ") && screen.contains("the program /bin/sh"), "{screen}");
    ensure!(!screen.contains("istiod") && code == Some(0), "{code:?} {screen}");

    pair(&second)?;
    let renewed = machine.vm.identity(&["renew"]).await?;
    ensure!(renewed.status.success(), "{}", said(&renewed));
    called_by(&machine, &agent, &second).await?;

    hawser_state::write_file(&script, 0o600, b"echo 'no more quota' >&2; exit 7\n")?;
    let failed = machine.vm.identity(&["renew"]).await?;
    let told = said(&failed);
    ensure!(failed.status.code() == Some(1), "{told}");
    ensure!(told.contains("failed with exit status: 7: no more quota"), "{told}");
    called_by(&machine, &agent, &second).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_api_that_is_there_is_used_and_followed() -> Result<()> {
    let machine = bare().await?;
    let socket = machine.vm.root().join("run/spire/agent/public/api.sock");
    let spire = FakeSpire::start(&socket)?;
    spire.manner(Manner::WithoutSds);
    let (first, second) = ("spiffe://cluster.local/vms/web/1", "spiffe://cluster.local/vms/web/2");
    let give = |id: &str| {
        spire.give(&machine.ca.workload(id, DAY)?, &machine.ca.root_pem());
        anyhow::Ok(())
    };
    give(first)?;
    let agent = machine.vm.start().await?;
    called_by(&machine, &agent, first).await?;
    let (screen, code) = shown(&machine).await?;
    ensure!(screen.contains(&format!("identity     {first}")), "{screen}");
    ensure!(screen.contains("source       SPIFFE provider") && code == Some(0), "{screen}");

    give(second)?;
    called_by(&machine, &agent, second).await?;
    ensure!(spire.seen().fetches == 1, "one stream is enough: {:?}", spire.seen());

    spire.die().await;
    wait_for("its absence to be told", async || {
        let (screen, code) = shown(&machine).await?;
        ensure!(code == Some(1) && screen.contains(text(&socket)?), "{screen}");
        Ok(())
    })
    .await?;
    called_by(&machine, &agent, second).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_of_an_acme_client_is_served_and_what_services_make_of_it_is_said() -> Result<()> {
    let machine = bare().await?;
    let acme = TestCa::new(Shape::Intermediate)?;
    let give = |pair: &Certified| {
        put(&machine, "live/privkey.pem", &pair.key)?;
        put(&machine, "live/fullchain.pem", &pair.chain)
    };
    give(&acme.serving(&["vm.example.org"])?)?;
    let live = machine.vm.root().join("live");
    setting(&machine, &format!("files = \"{}\"", live.display()))?;
    let output = machine.vm.hawser(&["check"]).await?;
    ensure!(said(&output).contains("identity.roots: has to be said"), "{}", said(&output));

    let roots = put(&machine, "mesh.pem", &machine.ca.root_pem())?;
    let lines = format!("files = \"{}\"\nroots = \"{}\"", live.display(), roots.display());
    setting_instead(&machine, &lines)?;
    let agent = machine.vm.start().await?;
    let (screen, code) = shown(&machine).await?;
    ensure!(screen.contains("identity     vm.example.org\nsource       files"), "{screen}");
    ensure!(screen.contains("remark       it is for vm.example.org, without"), "{screen}");
    ensure!(code == Some(0), "it is valid, and nothing is wrong with it: {screen}");
    let status = machine.status().await?;
    let troubles = status["troubles"].to_string();
    ensure!(troubles.contains("identity-not-believed"), "{troubles}");
    let found = machine.vm.hawser(&["doctor", "--only", "spiffe-id"]).await?;
    ensure!(said(&found).contains("it is for vm.example.org, without"), "{}", said(&found));
    machine.fails("reviews", 503, "").await?;
    ensure!(machine.requests("reviews")? == 0, "it was let in");

    // A host of the mesh's own authority: rooted where it has to be, and nameless all the same.
    give(&machine.ca.serving(&["vm.example.org"])?)?;
    wait_for("another remark", async || {
        let (screen, _) = shown(&machine).await?;
        ensure!(screen.contains("remark       it has no SPIFFE id"), "{screen}");
        Ok(())
    })
    .await?;
    called_by(&machine, &agent, "").await?;

    give(&machine.ca.workload(&machine.identity(), DAY)?)?;
    called_by(&machine, &agent, &machine.identity()).await?;
    let (screen, _) = shown(&machine).await?;
    ensure!(!screen.contains("remark"), "{screen}");
    Ok(())
}

/// Replaces what stands below `[identity]`.
fn setting_instead(machine: &Machine, lines: &str) -> Result<()> {
    let toml = machine.vm.toml()?;
    let before = toml.split("[identity]").next().unwrap_or_default();
    machine.vm.settings(&format!("{before}[identity]\n{lines}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_does_not_lead_to_the_roots_beside_it_is_not_served_and_named() -> Result<()> {
    let machine = bare().await?;
    let other = TestCa::new(Shape::SelfSigned)?;
    machine.vm.provision_roots(CERTIFICATES, &machine.ca.root_pem())?;
    machine.vm.provision(CERTIFICATES, &other.workload(&machine.identity(), DAY)?)?;
    let agent = machine.vm.spawn(&[], &[])?;
    wait_for("what is wrong", async || {
        let (screen, code) = shown(&machine).await?;
        ensure!(screen.contains("identity     none yet") && code == Some(1), "{screen}");
        ensure!(screen.contains("does not chain to any of the 1 trusted roots"), "{screen}");
        ensure!(screen.contains("identity.roots"), "it does not say what to do: {screen}");
        Ok(())
    })
    .await?;

    machine.certify(DAY)?;

    called_by(&machine, &agent, &machine.identity()).await
}
