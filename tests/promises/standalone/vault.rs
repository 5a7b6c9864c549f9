//! Certificates from Vault: a real one (OpenBao), and a double that fails as it is told to.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    ca::{Shape, TestCa},
    eastwest::Member,
    mesh::{ACCOUNT, NAMESPACE},
    standalone::members,
    traffic::{Served, Traffic},
    vault::{FakeVault, JWT, ROLE_ID, SECRET_ID, bao::Bao},
    wait::wait_for,
    workload::Answer,
};
use serde_json::Value;

use super::Machine;
use crate::rig::said;

/// A machine without a certificate, whose Vault signs for the mesh. The double's address is the
/// only thing that says so.
async fn vaulted(login: &str) -> Result<(Machine, FakeVault)> {
    // Connections as short as a request show each certificate.
    let members = members().into_iter().map(|member| Member { brief: true, ..member });
    let machine = Machine::with(&members.collect::<Vec<_>>(), 1).await?;
    let own = TestCa::new(Shape::SelfSigned)?;
    let vault = FakeVault::start(&machine.ca, &own).await?;
    put(&machine, "ca.pem", &own.root_pem())?;
    for (name, text) in [("role-id", ROLE_ID), ("secret-id", SECRET_ID), ("jwt", JWT)] {
        put(&machine, name, text)?;
    }
    put(&machine, "token", &vault.token())?;
    from_vault(
        &machine,
        &vault.address(),
        &machine.vm.root().join("etc/hawser/vault/ca.pem"),
        login,
    )?;
    Ok((machine, vault))
}

fn from_vault(machine: &Machine, address: &str, ca: &Path, login: &str) -> Result<()> {
    fs::remove_dir_all(machine.vm.root().join("etc/certs")).context("take the pair away")?;
    let settings = format!(
        "[node]\nnamespace = \"{NAMESPACE}\"\nservice_account = \"{ACCOUNT}\"\n\n\
         [identity]\nttl = \"1h\"\n\n[identity.vault]\naddress = \"{address}\"\nca = \"{}\"\n\
         role = \"mesh\"\nlogin = \"{login}\"\ntimeout = \"2s\"\n\n{}",
        ca.display(),
        machine.vm.toml()?,
    );
    machine.vm.settings(&settings)
}

fn put(machine: &Machine, name: &str, text: &str) -> Result<()> {
    let dir = machine.vm.root().join("etc/hawser/vault");
    fs::create_dir_all(&dir).context("create directory")?;
    hawser_state::write_file(&dir.join(name), 0o600, text.as_bytes()).context("write secret")
}

async fn identity(machine: &Machine) -> Result<Value> {
    Ok(machine.status().await?["identity"].clone())
}

/// Waits until the trouble is told with this text.
async fn troubled(machine: &Machine, agent: &Agent, text: &str) -> Result<Value> {
    wait_for("the trouble", async || {
        let identity = identity(machine).await?;
        let trouble = identity["trouble"].as_str().unwrap_or_default();
        ensure!(trouble.contains(text), "{identity} {}", agent.tail());
        Ok(identity)
    })
    .await
}

/// Asks for another certificate, and waits until it is there.
async fn renewed(machine: &Machine, agent: &Agent) -> Result<()> {
    let before = identity(machine).await?["obtained"]["at"].clone();
    let asked = machine.vm.identity(&["renew"]).await?;
    ensure!(asked.status.success(), "{} {} after {before}", said(&asked), agent.tail());
    ensure!(identity(machine).await?["trouble"].is_null());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_each_login_the_far_end_knows_who_calls_by_what_vault_has_signed() -> Result<()> {
    for login in ["approle", "token", "jwt", "kubernetes"] {
        let (machine, vault) = vaulted(login).await?;
        let agent = machine.serving().await.context(login)?;

        let answer: Answer = machine.get("reviews", "/").await?.json()?;

        ensure!(answer.caller == machine.identity(), "{login}: {answer:?}");
        let identity = identity(&machine).await?;
        ensure!(identity["source"] == "Vault" && identity["trouble"].is_null(), "{identity}");
        let log = fs::read_to_string(agent.log())?;
        for secret in [ROLE_ID, SECRET_ID, JWT, "s.token"] {
            ensure!(!log.contains(secret), "{login}: {secret} in the log:\n{log}");
        }
        ensure!(vault.count("pki/sign/mesh") == 1, "{:?}", vault.asked());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_sealed_silent_or_away_costs_no_request_and_is_told() -> Result<()> {
    let (machine, mut vault) = vaulted("approle").await?;
    let mut agent = machine.serving().await?;
    let traffic = Traffic::start(&machine.service("reviews").await?, 2);

    vault.faults(|faults| faults.sealed = true);
    machine.vm.identity(&["renew"]).await?;
    let identity = troubled(&machine, &agent, "is sealed: it signs nothing until").await?;
    ensure!(identity["expires_in"].as_i64() > Some(3000), "{identity}");

    vault.faults(|faults| (faults.sealed, faults.silent) = (false, true));
    machine.vm.identity(&["renew"]).await?;
    troubled(&machine, &agent, "does not answer within 2 s").await?;

    vault.down().await;
    vault.faults(|faults| faults.silent = false);
    machine.vm.identity(&["renew"]).await?;
    troubled(&machine, &agent, "cannot connect to https://127.0.0.1:").await?;

    vault.up().await?;
    let serials = traffic.so_far().serials;
    renewed(&machine, &agent).await?;
    let other = |served: &Served| served.serials.difference(&serials).next().is_some();
    traffic.until("requests with the new certificate", other).await?;
    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{served:?}");

    // A start while it is away lives on what was kept.
    vault.down().await;
    agent.terminate().await?;
    let agent = machine.serving().await?;
    let identity = self::identity(&machine).await?;
    ensure!(identity["expires_in"].as_i64() > Some(3000), "{identity} {}", agent.tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_or_over_is_followed_by_another_login() -> Result<()> {
    let (machine, vault) = vaulted("approle").await?;
    // So short that half of it is over before the test is.
    vault.rules(|rules| rules.ttl = Duration::from_secs(6));
    let agent = machine.serving().await?;
    vault
        .until("a renewal of the token", |asked| {
            asked.iter().any(|asked| asked.place == "auth/token/renew-self" && asked.status == 200)
        })
        .await?;
    ensure!(vault.count("auth/approle/login") == 1, "{:?}", vault.asked());

    vault.revoke();
    renewed(&machine, &agent).await?;
    ensure!(vault.count("auth/approle/login") == 2, "{:?}", vault.asked());

    vault.rules(|rules| rules.renewable = false);
    vault.revoke();
    put(&machine, "secret-id", "used-up")?;
    machine.vm.identity(&["renew"]).await?;
    let identity =
        troubled(&machine, &agent, "write fresh ones into identity.vault.role_id").await?;
    ensure!(identity["expires_in"].as_i64() > Some(3000), "{identity}");
    // Nobody has to tell the agent that there is a fresh one.
    put(&machine, "secret-id", SECRET_ID)?;
    wait_for("another certificate", async || {
        let identity = self::identity(&machine).await?;
        ensure!(identity["trouble"].is_null(), "{identity} {}", agent.tail());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_vault_signs_renews_is_sealed_and_denies() -> Result<()> {
    let machine = Machine::new().await?;
    let dir = machine.dir().join("bao");
    fs::create_dir_all(&dir)?;
    let bao = Bao::start(&dir).await?;
    put(&machine, "role-id", &bao.role_id().await?)?;
    put(&machine, "secret-id", &bao.secret_id(2).await?)?;
    from_vault(&machine, bao.address(), &bao.ca(), "approle")?;
    let agent = machine.vm.start().await?;

    let first = identity(&machine).await?;
    ensure!(first["spiffe_id"] == machine.identity(), "{first}");
    ensure!(first["source"] == "Vault" && first["trouble"].is_null(), "{first}");
    let left = first["expires_in"].as_i64();
    ensure!(left > Some(3000) && left <= Some(3600), "the hour that was asked for: {first}");
    renewed(&machine, &agent).await?;

    // All tokens of the login at once.
    bao.run(&["lease", "revoke", "-prefix", "-force", "auth/approle"]).await?;
    renewed(&machine, &agent).await?;

    // The secret id is used up now.
    bao.run(&["lease", "revoke", "-prefix", "-force", "auth/approle"]).await?;
    machine.vm.identity(&["renew"]).await?;
    troubled(&machine, &agent, "invalid role or secret ID; the secret id has expired").await?;
    put(&machine, "secret-id", &bao.secret_id(9).await?)?;
    renewed(&machine, &agent).await?;

    let role = async |what| bao.run(&["patch", "pki/roles/mesh", what]).await;
    for (wrong, right, told) in [
        (
            "allowed_uri_sans=spiffe://elsewhere/*",
            "allowed_uri_sans=spiffe://cluster.local/*",
            "`vault patch pki/roles/mesh allowed_uri_sans=",
        ),
        ("require_cn=true", "require_cn=false", "`vault patch pki/roles/mesh require_cn=false`"),
        ("key_type=rsa", "key_type=any", "`vault patch pki/roles/mesh key_type=any`"),
    ] {
        role(wrong).await?;
        machine.vm.identity(&["renew"]).await?;
        troubled(&machine, &agent, told).await?;
        role(right).await?;
        renewed(&machine, &agent).await.context(right)?;
    }

    bao.run(&["delete", "sys/policies/acl/sign"]).await?;
    machine.vm.identity(&["renew"]).await?;
    troubled(&machine, &agent, "path \"pki/sign/mesh\" { capabilities = [\"update\"] }").await?;

    bao.run(&["operator", "seal"]).await?;
    machine.vm.identity(&["renew"]).await?;
    let identity = troubled(&machine, &agent, "is sealed: it signs nothing until").await?;
    ensure!(identity["expires_in"].as_i64() > Some(3000), "{identity}");
    Ok(())
}
